#!/usr/bin/env python3
"""KServe's web app for models that are served: https://github.com/kserve/models-web-app"""

from __future__ import annotations

import ops

from charmed_mlops import Link, WebAppCharm


class ModelsUI(WebAppCharm):
    """All units answer."""

    version = "0.16.1"

    def __init__(self, framework: ops.Framework):
        link = Link("KServe Endpoints", "/kserve-endpoints/", icon="kubeflow:models")
        super().__init__(framework, container="models-ui", link=link)

    def reconcile(self) -> None:
        self.run_web_app(
            environment={
                "APP_VERSION": "v1beta1",
                # gunicorn's own limit is too short for the cookies and tokens of a login
                "GUNICORN_CMD_ARGS": "--limit-request-field_size 32000",
            }
        )


if __name__ == "__main__":
    ops.main(ModelsUI)
