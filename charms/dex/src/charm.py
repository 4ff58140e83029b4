#!/usr/bin/env python3
"""Dex, an OpenID Connect issuer: https://dexidp.io"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import ops
import reachability
import users

from charmed_mlops import (
    Blocked,
    ClusterResources,
    File,
    GatewayRoute,
    Http,
    Metrics,
    OidcProvider,
    Route,
    ServiceCharm,
)
from charmed_mlops.interfaces.oidc_client import Issuer

if TYPE_CHECKING:
    import connectors

VERSION = "2.45.0"
PORT, TELEMETRY = 5556, 5558
CONFIG = "/tmp/dex/config.yaml"  # the image's user may write nowhere else


class Options(msgspec.Struct, kw_only=True):
    """The charm's options."""

    admin: users.Email
    token_lifetime: Annotated[str, msgspec.Meta(pattern=r"^([1-9]\d*[hm])+\Z")]
    connectors: str


class Dex(ServiceCharm):
    """Every unit serves; what they share is in Kubernetes and in the application's secrets."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="dex", ports=(PORT, TELEMETRY))
        self.cluster = ClusterResources(self, "manifests")
        self.clients = OidcProvider(self, "oidc")
        self.gateway = GatewayRoute(self, "gateway")
        self.metrics = Metrics(self, port=TELEMETRY)
        self.users = users.Users(self)

    def reconcile(self) -> None:
        options = self.options(Options)
        known = self.users.load(options.admin)
        found = self._connectors(options)
        self.cluster.apply()
        requests = list(self.clients.requests())
        config = self.render(
            "config.yaml.j2",
            issuer=self._url,
            port=PORT,
            telemetry=TELEMETRY,
            lifetime=options.token_lifetime,
            users=known,
            connectors=[each.rendered() for each in found],
            clients=[
                {
                    "id": each.client_id,
                    "name": each.client_id,
                    "secret": self.clients.secret(each),
                    "redirectURIs": each.redirect_uris,
                }
                for each in requests
            ],
        )
        self.workload.run(
            command=f"/usr/local/bin/dex serve {CONFIG}",
            files={
                CONFIG: File(config, mode=0o600),
                **{each.ca_file: each.ca for each in found if each.ca},
            },
            environment={
                "KUBERNETES_POD_NAMESPACE": self.model.name,
                "DEX_EXPAND_ENV": "false",  # a password may hold a $
                # an issuer that does not answer when Dex starts keeps nobody else out
                "DEX_CONTINUE_ON_CONNECTOR_FAILURE": "true",
            },
            check=Http(PORT, "/dex/healthz"),
            alive=Http(TELEMETRY, "/healthz/live"),
            version=VERSION,
        )
        self.gateway.publish(Route("dex", "/dex/", self.address, PORT, access="public"))
        for request in requests:
            self.clients.answer(request, self._issuer())
        self.metrics.publish()
        self.clients.require_valid()

    @property
    def _url(self) -> str:
        """The issuer's name is in every token and in other programs' options: it never changes.

        Programs that look the issuer up under it are led by Juju's Service.
        """
        return f"http://{self.juju_address}:{PORT}/dex"

    def _issuer(self) -> Issuer:
        """Its clients get tokens and keys from units that serve."""
        url = f"http://{self.address}:{PORT}/dex"
        login = "/dex/auth"  # a path: people log in under whatever name the gateway has for them
        return Issuer(self._url, login, f"{url}/token", f"{url}/keys")

    def _connectors(self, options: Options) -> list[connectors.Connector]:
        secrets = self._secrets()
        if not options.connectors.strip():
            return []
        import connectors  # here, as it takes long to load

        return connectors.parsed(options.connectors, secrets, self.gateway.url())

    def _secrets(self) -> dict[str, str]:
        uri = self.config.get("connector-secrets")
        if not uri:
            return {}
        try:
            return self.model.get_secret(id=str(uri)).get_content(refresh=True)
        except (ops.SecretNotFoundError, ops.ModelError):
            raise Blocked(
                f"config connector-secrets: not readable: juju grant-secret {uri} {self.app.name}"
            ) from None

    def action_get_admin_password(self, _: dict) -> dict[str, str]:
        return self.users.admin()

    def action_add_user(self, params: users.User) -> dict[str, str]:
        return self._changed(self.users.add(params.email))

    def action_remove_user(self, params: users.User) -> dict[str, str]:
        return self._changed(self.users.remove(params.email))

    def action_list_users(self, _: dict) -> dict[str, str]:
        return self.users.listed()

    def action_reset_password(self, params: users.User) -> dict[str, str]:
        return self._changed(self.users.reset(params.email))

    def action_check_connectors(self, _: dict) -> dict[str, str]:
        return reachability.checked(self._connectors(self.options(Options)))

    def _changed(self, result: dict[str, str]) -> dict[str, str]:
        self.converge()
        return result


if __name__ == "__main__":
    ops.main(Dex)
