#!/usr/bin/env python3
"""Kubeflow's web app for volumes: https://www.kubeflow.org/docs/components/central-dash/"""

from __future__ import annotations

from typing import Any

import ops
import volumes

from charmed_mlops import Link, WebAppCharm

VIEWER = "/etc/config/viewer-spec.yaml"  # fixed in the app; the image's user is root


class VolumesUI(WebAppCharm):
    """All units answer."""

    def __init__(self, framework: ops.Framework):
        link = Link("Volumes", "/volumes/", icon="device:storage")
        super().__init__(framework, container="volumes-ui", link=link)

    def reconcile(self) -> None:
        images = self.images()
        self.run_web_app(
            files={VIEWER: self.render("viewer-spec.yaml.j2")},
            environment={"VOLUME_VIEWER_IMAGE": images["volume-viewer"]},
        )

    def action_list_volumes(self, params: volumes.Which) -> dict[str, Any]:
        """What is there, and what uses it."""
        return volumes.listed(params)


if __name__ == "__main__":
    ops.main(VolumesUI)
