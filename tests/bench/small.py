"""The charm of the growth bench: as little as a charm with a workload can be."""

from __future__ import annotations

import ops


class Small(ops.CharmBase):
    """Is active."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework)
        framework.observe(self.on.collect_unit_status, self._status)

    def _status(self, event: ops.CollectStatusEvent) -> None:
        event.add_status(ops.ActiveStatus())


if __name__ == "__main__":
    ops.main(Small)
