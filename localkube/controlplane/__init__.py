"""A real Kubernetes control plane on one machine: etcd, API server, controllers, scheduler."""

from localkube.controlplane.plane import ControlPlane
from localkube.controlplane.programs import ensure_programs

__all__ = ["ControlPlane", "ensure_programs"]
