"""Our own implementation of the API of Pebble, the service manager in workload containers.

Contract: docs/specs/openapi.yaml and docs/reference of canonical/pebble, and `ops.pebble`.
"""

from localjuju.pebble.daemon import main

__all__ = ["main"]
