"""The engine's node: runs the pods that are bound to it as processes in namespaces."""

from localjuju.node.node import Node
from localjuju.node.runtime import ExecResult

__all__ = ["ExecResult", "Node"]
