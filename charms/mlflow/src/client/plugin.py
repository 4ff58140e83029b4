"""Sends the pod's own token to MLflow.

The charm `mlflow` lays this beside notebooks of tenants; MLFLOW_TRACKING_AUTH names it. MLflow's
own Kubernetes provider sends the token that is for the Kubernetes API, and needs a package.
"""

from pathlib import Path

from mlflow.tracking.request_auth import (  # pyright: ignore[reportMissingImports]: notebook's
    abstract_request_auth_provider as base,
)

TOKEN = Path("/var/run/secrets/charmed-mlops/mlflow/token")


def authorize(request):
    """Adds the token, which the kubelet renews, to a request of the library requests."""
    request.headers["Authorization"] = f"Bearer {TOKEN.read_text().strip()}"
    return request


class ServiceAccount(base.RequestAuthProvider):
    """Provider `service-account`."""

    def get_name(self):
        return "service-account"

    def get_auth(self):
        return authorize
