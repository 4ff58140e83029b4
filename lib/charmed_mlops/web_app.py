"""What the charms of upstream's web apps share: they have one back end, and differ in their pages.

KServe's app uses that of Kubeflow's, too.

Source of port, command and variables: components/crud-web-apps of kubeflow/kubeflow 1.10.
"""

from __future__ import annotations

from collections.abc import Mapping

import ops

from charmed_mlops.charm import ServiceCharm
from charmed_mlops.checks import Http
from charmed_mlops.cluster import ClusterResources
from charmed_mlops.interfaces.dashboard_links import DashboardLinks, Link
from charmed_mlops.interfaces.gateway_route import GatewayRoute, Route
from charmed_mlops.metrics import Metrics
from charmed_mlops.workload import File

PORT = 5000


class WebAppCharm(ServiceCharm):
    """Runs a web app behind the gateway, which says by a header who the user is.

    The app asks Kubernetes whether that user may do what the page asks for, and does it with its
    own rights. The charm declares the endpoints `manifests`, `gateway`, `dashboard-links` and
    `metrics-endpoint`.
    """

    version = "1.10.0"
    """The app's, shown as the workload's; Kubeflow's apps have one version."""

    def __init__(self, framework: ops.Framework, container: str, link: Link):
        """`link` is the dashboard's entry; its path is where the gateway has the app."""
        super().__init__(framework, container=container, ports=(PORT,))
        self.cluster = ClusterResources(self, "manifests")
        self.gateway = GatewayRoute(self)
        self.links = DashboardLinks(self)
        self.metrics = Metrics(self, port=PORT)
        self._link = link

    def run_web_app(
        self,
        files: Mapping[str, str | bytes | File] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Have the app run with these files and further variables, and the way to it published.

        Raises:
            Blocked: no broker, or it refuses an object.
            Waiting: the broker or the container does not answer yet.
        """
        self.cluster.apply()
        # a Secure cookie never comes back over plain HTTP, and every form would be refused
        secure = (self.gateway.url() or "").startswith("https:")
        self.workload.run(
            command=f"gunicorn -w 3 --bind 0.0.0.0:{PORT} --access-logfile - entrypoint:app",
            working_dir="/src",
            files=files,
            environment={
                "APP_PREFIX": self._link.link.rstrip("/"),
                "APP_SECURE_COOKIES": str(secure).lower(),
                "USERID_HEADER": "kubeflow-userid",
                "USERID_PREFIX": "",
                "METRICS": "1",
                **(environment or {}),
            },
            check=Http(PORT, "/healthz/readiness"),
            alive=Http(PORT, "/healthz/liveness"),
            version=self.version,
        )
        self.gateway.publish(
            Route("web", self._link.link, self.address, PORT, rewrite="/", access="user")
        )
        self.links.publish(self._link)
        self.metrics.publish()
