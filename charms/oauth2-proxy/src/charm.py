#!/usr/bin/env python3
"""OAuth2 Proxy, asked about each request: https://oauth2-proxy.github.io/oauth2-proxy/"""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
from typing import Annotated

import msgspec
import ops

from charmed_mlops import (
    Address,
    Blocked,
    CaRequirer,
    ClusterResources,
    File,
    GatewayRoute,
    Http,
    Metrics,
    OauthClient,
    OauthRequirer,
    OidcRequirer,
    ServiceCharm,
    ServiceProvider,
)
from charmed_mlops.interfaces.oauth import OFFLINE

VERSION = "7.15.4"
PORT, METRICS = 4180, 44180
CONFIG, CA = "/tmp/oauth2-proxy.cfg", "/tmp/issuer-ca.pem"
CALLBACK = "/oauth2/callback"
_SECRET, _KEY = "cookie", "cookie-secret"
_DURATION = r"^([1-9]\d*[hms])+\Z"


class Options(msgspec.Struct, kw_only=True):
    """The charm's options."""

    session_lifetime: Annotated[str, msgspec.Meta(pattern=_DURATION)]
    session_refresh: Annotated[str, msgspec.Meta(pattern=r"^\Z|" + _DURATION)]
    email_domains: Annotated[str, msgspec.Meta(pattern=r"^(\*|[\w.-]+(\s*,\s*[\w.-]+)*)\Z")]

    def __post_init__(self) -> None:
        if self.session_refresh and _seconds(self.session_refresh) >= _seconds(
            self.session_lifetime
        ):
            raise ValueError(
                f"config session-refresh={self.session_refresh}: must be less than "
                f"session-lifetime={self.session_lifetime}"
            )


class OAuth2Proxy(ServiceCharm):
    """Every unit answers for every session, as all have the cookies' key."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="oauth2-proxy", ports=(PORT, METRICS))
        self.oidc = OidcRequirer(self, "oidc", [CALLBACK])
        self.oauth = OauthRequirer(self, "oauth")
        self.authorities = CaRequirer(self)
        self.gateway = GatewayRoute(self, "gateway")
        self.cluster = ClusterResources(self, "manifests")
        self.auth = ServiceProvider(self, "auth")
        self.metrics = Metrics(self, port=METRICS)

    def reconcile(self) -> None:
        options = self.options(Options)
        key = self.app_secret(_SECRET, _new_key)[_KEY]
        self.peers.set("cookie", hashlib.sha256(key.encode()).hexdigest())  # wakes followers
        client = self._client(options)
        self.cluster.apply()
        config = self.render(
            "oauth2-proxy.cfg.j2",
            options=options,
            domains=[each.strip() for each in options.email_domains.split(",")],
            client=client,
            relative=client.redirect_uri == CALLBACK,
            ca_file=CA,
            port=PORT,
            metrics=METRICS,
        )
        self.workload.run(
            command=f"/bin/oauth2-proxy --config={CONFIG}",
            files={CONFIG: File(config, mode=0o600), **({CA: client.ca} if client.ca else {})},
            environment={
                "OAUTH2_PROXY_CLIENT_ID": client.client_id,
                "OAUTH2_PROXY_CLIENT_SECRET": client.client_secret,
                "OAUTH2_PROXY_COOKIE_SECRET": key,
            },
            check=Http(PORT, "/ready"),
            alive=Http(PORT, "/ping"),
            version=VERSION,
        )
        self.auth.publish(Address(self.address, PORT))
        self.metrics.publish()

    def _client(self, options: Options) -> OauthClient:
        """The client of the one issuer that is related, by either interface."""
        name, inside, outside = self.app.name, self.oidc.provider, self.oauth.provider
        if inside and outside:
            remove = f"juju remove-relation {name}:oidc {inside}, or {name}:oauth {outside}"
            raise Blocked(f"two issuers: {remove}")
        scopes = ["openid", "email", "profile", "groups"]
        if options.session_refresh:
            scopes.append(OFFLINE)
        if outside:
            client = self.oauth.get(f"{self.gateway.require_url()}{CALLBACK}", scopes)
            return dataclasses.replace(client, ca=client.ca + self.authorities.get())
        if not inside:
            raise Blocked(
                f"no relation oidc: juju integrate {name}:oidc dex, or {name}:oauth hydra"
            )
        found = self.oidc.get()
        return OauthClient(
            found.issuer, found.client_id, found.client_secret, CALLBACK, " ".join(scopes)
        )

    def action_end_sessions(self, _: dict) -> dict[str, str]:
        self.require_leader()
        try:
            self.model.get_secret(label=_SECRET).set_content(_new_key())
        except ops.SecretNotFoundError:
            raise Blocked("there are no sessions yet") from None
        self.converge()
        return {"sessions": "ended"}


def _new_key() -> dict[str, str]:
    return {_KEY: secrets.token_urlsafe(32)}  # 32 bytes: AES-256


def _seconds(text: str) -> int:
    units, total, number = {"h": 3600, "m": 60, "s": 1}, 0, ""
    for each in text:
        if each in units:
            total, number = total + int(number) * units[each], ""
        else:
            number += each
    return total


if __name__ == "__main__":
    ops.main(OAuth2Proxy)
