"""The engine's two processes: the outer one on the host's network, the inner one in namespaces.

The outer process (`outer`) builds images, because only it has a network, and owns the inner one.
The inner process (`inner`) runs the control plane, the node and the model in namespaces of its
own, so that the host's network, mounts and process table are never touched and the end of either
process, `kill -9` included, ends everything that it had started.
"""
