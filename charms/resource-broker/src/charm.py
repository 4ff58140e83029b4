#!/usr/bin/env python3
"""Applies the cluster objects of the model's applications, within a policy."""

from __future__ import annotations

import json
import os
from typing import Any

import ops
from broker import Broker, grants
from watcher import NOTICE

from charmed_mlops import ServiceCharm
from charmed_mlops.results import listing

FOLDER = "/tmp/watcher"


class ResourceBroker(ServiceCharm):
    """The one application with rights over the cluster; the others ask it."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="watcher")
        self.broker = Broker(self, "manifests")
        framework.observe(self.on.remove, self._on_remove)

    def reconcile(self) -> None:
        granted = grants(str(self.config["allow"]))
        if not self.unit.is_leader():
            self.workload.stop()  # the leader's is the one that somebody listens to
            return
        everything = bool(self.config["remove-custom-resources"])
        try:
            self.broker.serve(granted, everything=everything)
        finally:
            self._watch()

    def _watch(self) -> None:
        """Have the watcher run, where its container is there: without it all goes slower."""
        if not self.workload.can_connect:
            return
        watched = {**self.broker.watched(), "user": os.getuid()}
        self.workload.run(
            command=f"/usr/local/bin/python3 -u {FOLDER}/watcher.py {FOLDER}/watched.json",
            files={
                f"{FOLDER}/watcher.py": (self.charm_dir / "src" / "watcher.py").read_text(),
                f"{FOLDER}/watched.json": json.dumps(watched, indent=1, sort_keys=True),
            },
        )

    def _on_event(self, event: ops.EventBase) -> None:
        noticed = isinstance(event, ops.PebbleCustomNoticeEvent) and event.notice.key == NOTICE
        if noticed or isinstance(event, (ops.UpdateStatusEvent, ops.StartEvent)):
            self.broker.look_for_missing()
        super()._on_event(event)

    def _on_remove(self, _: ops.RemoveEvent) -> None:
        if self.app.planned_units() == 0:  # the application goes, not one of its units
            self.broker.remove_all(everything=bool(self.config["remove-custom-resources"]))

    def action_inventory(self, params: dict) -> dict[str, Any]:
        """What is applied, by application."""
        found = self.broker.inventory(str(params.get("application", "")))
        rows = [
            {"application": application, "object": each}
            for application, names in found.items()
            for each in names
        ]
        return listing("objects", rows)

    def action_leftovers(self, _: dict) -> dict[str, Any]:
        """What is there of applications that have gone."""
        found = self.broker.leftovers()
        return listing("objects", found)

    def action_reapply(self, params: dict) -> dict[str, Any]:
        """Apply again what is declared, changed since or not."""
        granted = grants(str(self.config["allow"]))
        done = self.broker.reapply(granted, str(params.get("application", "")))
        return listing("problems", done)

    def action_adopt(self, params: dict) -> dict[str, Any]:
        """Make existing objects an application's."""
        names = str(params["objects"]).replace(",", " ").split()
        adopted = self.broker.adopt(str(params["application"]), names)
        self.converge()
        return listing("adopted", adopted)

    def action_policy(self, params: dict) -> dict[str, Any]:
        """What applications ask for: what the rules give, what an exception, what is refused."""
        found = self.broker.explain(
            grants(str(self.config["allow"])), str(params.get("application", ""))
        )
        return {"count": str(len(found)), "applications": found}


if __name__ == "__main__":
    ops.main(ResourceBroker)
