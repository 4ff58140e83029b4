"""A real Kubernetes control plane on one machine: etcd, API server, controllers, scheduler."""

from localjuju.controlplane.plane import ControlPlane
from localjuju.controlplane.programs import ensure_programs

__all__ = ["ControlPlane", "ensure_programs"]
