"""A Juju-compatible model on a real Kubernetes API, on one machine."""
