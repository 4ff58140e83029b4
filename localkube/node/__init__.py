"""The node: containerd, kubelet, network, names, storage, and the limits of pods."""
