#!/usr/bin/env python3
"""Kubeflow's web app for TensorBoards: https://www.tensorflow.org/tensorboard"""

from __future__ import annotations

import ops

from charmed_mlops import Link, WebAppCharm


class TensorboardsUI(WebAppCharm):
    """All units answer."""

    def __init__(self, framework: ops.Framework):
        link = Link("TensorBoards", "/tensorboards/", icon="assessment")
        super().__init__(framework, container="tensorboards-ui", link=link)

    def reconcile(self) -> None:
        self.run_web_app()


if __name__ == "__main__":
    ops.main(TensorboardsUI)
