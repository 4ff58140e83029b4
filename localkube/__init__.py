"""A real Kubernetes of one node, in namespaces of its own, that leaves the host as it is."""
