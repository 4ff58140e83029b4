"""The agents' bench, for commands that need units."""

from localjuju.agent.tests.conftest import bench, tools

__all__ = ["bench", "tools"]
