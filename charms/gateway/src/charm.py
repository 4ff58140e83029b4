#!/usr/bin/env python3
"""The gateway: Caddy (https://caddyserver.com) and an authorizer that asks Kubernetes."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

import inner
import msgspec
import ops
import routes
import tls

from charmed_mlops import (
    ActionFailed,
    Blocked,
    CaProvider,
    ClusterResources,
    File,
    Http,
    Metrics,
    Reach,
    ServiceCharm,
    ServiceRequirer,
    authorizers,
)
from charmed_mlops.interfaces.gateway_route import Entrance, GatewayRouteProvider
from charmed_mlops.results import listing

VERSION = "2.11.7"
HTTPS, HTTP, METRICS, AUTHORIZER = 8443, 8080, 2020, 9001
LEAVING, GRACE = 5, 30
"""Seconds that a stopping Caddy takes new requests, and that it gives those under way."""
FOLDER = "/tmp/gateway"
CONFIG = f"{FOLDER}/Caddyfile"
TOLD = f"{FOLDER}/told"
"""The digest of the configuration that Caddy was started with or told to load."""


class Options(msgspec.Struct, kw_only=True):
    """The charm's options."""

    hostname: Annotated[str, msgspec.Meta(pattern=rf"^{tls.HOST}\Z")]
    external_port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"]
    node_port: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    token_audience: Annotated[str, msgspec.Meta(pattern=r"^[\w.:/-]+\Z")]
    decision_ttl: Annotated[int, msgspec.Meta(ge=0, le=300)]


class Gateway(ServiceCharm):
    """Every unit serves; the certificate is the application's."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="caddy", ports=(HTTP, HTTPS, METRICS))
        self.authorizer = self.add_workload("authorizer")
        self.auth = ServiceRequirer(self, "auth")
        self.cluster = ClusterResources(self, "manifests")
        self.routes = GatewayRouteProvider(self)
        self.metrics = Metrics(self, port=METRICS)
        self.authorities = CaProvider(self)
        self.tls = tls.Tls(self)
        self.serving = self.serving_pods()
        self.inner = inner.InnerName(self, self.cluster)

    def reconcile(self) -> None:
        options = self.options(Options)
        found = routes.collected(self.routes.requests())
        certificate = self.tls.current()
        if self.cluster.related:
            self._tell(options, certificate)
        else:  # `apply` has clients given Juju's name, or leaves what they were given
            self.inner.withdraw()
        auth = self.auth.get()
        self.cluster.apply(
            Reach(anyone=(HTTPS, HTTP)),
            options=options,
            https=HTTPS,
            http=HTTP,
            metrics=METRICS,
            annotated=routes.ANNOTATED,
            selector=self.serving.selector,
        )
        authorizers.run(
            self,
            self.authorizer,
            AUTHORIZER,
            audience=options.token_audience,
            ttl=options.decision_ttl,
            leaving=LEAVING + 1,
        )
        config = self.render(
            "Caddyfile.j2",
            routes=found.routes,
            folder=FOLDER,
            certificate=certificate,
            name=options.hostname or self.juju_address,
            auth=f"{auth.host}:{auth.port}",
            authorizer=f"127.0.0.1:{AUTHORIZER}",
            https=HTTPS,
            http=HTTP,
            metrics=METRICS,
            external=options.external_port,
            leaving=LEAVING,
            grace=GRACE,
        )
        self._push(certificate, config)
        self.workload.run(
            command=f"/usr/bin/caddy run --config {CONFIG} --adapter caddyfile",
            environment={"XDG_CONFIG_HOME": FOLDER, "XDG_DATA_HOME": FOLDER},
            check=Http(METRICS, "/healthz"),
            alive=Http(METRICS, "/healthz"),
            version=VERSION,
            kill_delay=LEAVING + GRACE + 5,
        )
        if self.inner.shown(certificate.chain):
            self._tell(options, certificate)
        self.metrics.publish()
        self.tls.require_given()
        if found.problems:
            raise Blocked(found.problems[0])

    def _push(self, certificate: tls.Pair, config: str) -> None:
        """Not as the service's files, which would restart it: a signal has Caddy load its file.

        Its own `--watch` would read and translate the whole file every second. The certificate's
        files come first, as the configuration names them: another certificate has other names.
        What Caddy was told comes last: a hook that is killed before leaves the next one to tell.
        """
        self.workload.require()
        told = hashlib.sha256(config.encode()).hexdigest().encode()
        if self.workload.read(TOLD) == told:
            return
        self.workload.push(
            {
                f"{FOLDER}/{certificate.name}.crt": certificate.chain,
                f"{FOLDER}/{certificate.name}.key": File(certificate.key, mode=0o600),
            }
        )
        self.workload.push({CONFIG: config})
        self.workload.signal("SIGUSR1")
        self.workload.push({TOLD: told})

    def _tell(self, options: Options, certificate: tls.Pair) -> None:
        """Tell clients the ways in, and what to trust."""
        self.routes.publish(self._url(options), self._entrance(options, certificate))
        self.authorities.publish(certificate.ca)
        self.tls.told()

    def _url(self, options: Options) -> str:
        if not options.hostname:
            return f"https://{self.juju_address}:{HTTPS}"
        port = "" if options.external_port == 443 else f":{options.external_port}"
        return f"https://{options.hostname}{port}"

    def _entrance(self, options: Options, certificate: tls.Pair) -> Entrance:
        """The administrator's certificate has no name that only the cluster knows."""
        given = self.config.get("tls-secret")
        host = self.inner.current(certificate.chain)
        url = self._url(options) if given else f"https://{host}:{HTTPS}"
        return Entrance(url, certificate.ca, options.token_audience)

    def action_get_ca(self, _: dict) -> dict[str, str]:
        options = self.options(Options)
        return {"url": self._url(options), "ca": self.tls.current().ca}

    def action_renew_certificate(self, parameters: dict[str, Any]) -> dict[str, str]:
        if self.config.get("tls-secret"):
            raise ActionFailed("the certificate is config tls-secret's: juju update-secret")
        return super().action_renew_certificate(parameters)

    def action_list_routes(self, _: dict) -> dict[str, Any]:
        found = routes.collected(self.routes.requests())
        table = [
            {"application": each.application, "prefix": each.route.prefix,
             "to": f"{each.route.host}:{each.route.port}", "access": each.route.access}
            for each in found.routes
        ]  # fmt: skip
        return listing("routes", table)


if __name__ == "__main__":
    ops.main(Gateway)
