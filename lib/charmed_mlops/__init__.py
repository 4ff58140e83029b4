"""What all charms of this repository share: one reconciling base class and its helpers.

Names are imported when first used, so a charm loads only what it needs: `import charmed_mlops`
alone loads neither ops nor jinja2, lightkube, msgspec or cryptography.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charmed_mlops.certificates import Certificate as Certificate
    from charmed_mlops.certificates import ServingCertificate as ServingCertificate
    from charmed_mlops.certificates import WebhookCertificate as WebhookCertificate
    from charmed_mlops.charm import ServiceCharm as ServiceCharm
    from charmed_mlops.checks import Exec as Exec
    from charmed_mlops.checks import Http as Http
    from charmed_mlops.checks import Tcp as Tcp
    from charmed_mlops.cluster import ClusterResources as ClusterResources
    from charmed_mlops.errors import ActionFailed as ActionFailed
    from charmed_mlops.errors import Blocked as Blocked
    from charmed_mlops.errors import CommandFailed as CommandFailed
    from charmed_mlops.errors import Waiting as Waiting
    from charmed_mlops.interfaces.certificate_transfer import CaProvider as CaProvider
    from charmed_mlops.interfaces.certificate_transfer import CaRequirer as CaRequirer
    from charmed_mlops.interfaces.dashboard_links import DashboardLinks as DashboardLinks
    from charmed_mlops.interfaces.dashboard_links import Link as Link
    from charmed_mlops.interfaces.gateway_route import GatewayRoute as GatewayRoute
    from charmed_mlops.interfaces.gateway_route import Route as Route
    from charmed_mlops.interfaces.mysql import DatabaseProvider as DatabaseProvider
    from charmed_mlops.interfaces.mysql import DatabaseRequirer as DatabaseRequirer
    from charmed_mlops.interfaces.oauth import OauthClient as OauthClient
    from charmed_mlops.interfaces.oauth import OauthRequirer as OauthRequirer
    from charmed_mlops.interfaces.oidc_client import OidcProvider as OidcProvider
    from charmed_mlops.interfaces.oidc_client import OidcRequirer as OidcRequirer
    from charmed_mlops.interfaces.s3 import S3Provider as S3Provider
    from charmed_mlops.interfaces.s3 import S3Requirer as S3Requirer
    from charmed_mlops.interfaces.service import Address as Address
    from charmed_mlops.interfaces.service import ServiceProvider as ServiceProvider
    from charmed_mlops.interfaces.service import ServiceRequirer as ServiceRequirer
    from charmed_mlops.manager import ManagerCharm as ManagerCharm
    from charmed_mlops.manager import object_route as object_route
    from charmed_mlops.metrics import Metrics as Metrics
    from charmed_mlops.network import Reach as Reach
    from charmed_mlops.options import Named as Named
    from charmed_mlops.options import Quantity as Quantity
    from charmed_mlops.options import Where as Where
    from charmed_mlops.web_app import WebAppCharm as WebAppCharm
    from charmed_mlops.workload import File as File
    from charmed_mlops.workload import Workload as Workload

_HOME = {
    "ActionFailed": "errors",
    "Address": "interfaces.service",
    "Blocked": "errors",
    "CaProvider": "interfaces.certificate_transfer",
    "CaRequirer": "interfaces.certificate_transfer",
    "Certificate": "certificates",
    "ClusterResources": "cluster",
    "CommandFailed": "errors",
    "DashboardLinks": "interfaces.dashboard_links",
    "DatabaseProvider": "interfaces.mysql",
    "DatabaseRequirer": "interfaces.mysql",
    "Exec": "checks",
    "File": "workload",
    "GatewayRoute": "interfaces.gateway_route",
    "Http": "checks",
    "Link": "interfaces.dashboard_links",
    "ManagerCharm": "manager",
    "Metrics": "metrics",
    "Named": "options",
    "OauthClient": "interfaces.oauth",
    "OauthRequirer": "interfaces.oauth",
    "OidcProvider": "interfaces.oidc_client",
    "OidcRequirer": "interfaces.oidc_client",
    "Quantity": "options",
    "Reach": "network",
    "Route": "interfaces.gateway_route",
    "S3Provider": "interfaces.s3",
    "S3Requirer": "interfaces.s3",
    "ServiceCharm": "charm",
    "ServiceProvider": "interfaces.service",
    "ServiceRequirer": "interfaces.service",
    "ServingCertificate": "certificates",
    "Tcp": "checks",
    "Waiting": "errors",
    "WebAppCharm": "web_app",
    "WebhookCertificate": "certificates",
    "Where": "options",
    "Workload": "workload",
    "object_route": "manager",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
