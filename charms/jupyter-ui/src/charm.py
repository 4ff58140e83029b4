#!/usr/bin/env python3
"""Kubeflow's web app for notebooks: https://www.kubeflow.org/docs/components/notebooks/"""

from __future__ import annotations

import ops
import spawner

from charmed_mlops import Link, WebAppCharm

CONFIG = "/etc/config/spawner_ui_config.yaml"  # fixed in the app; the image's user is root
LOGOS = "/src/apps/default/static/assets/logos"
# What stands on the page's buttons, by the files that it looks for.
LETTERS = {
    "jupyter-icon": "J",
    "jupyterlab-logo": "JupyterLab",
    "group-one-icon": "V",
    "group-one-logo": "VS Code",
    "group-two-icon": "R",
    "group-two-logo": "RStudio",
}


class JupyterUI(WebAppCharm):
    """All units answer."""

    def __init__(self, framework: ops.Framework):
        link = Link("Notebooks", "/jupyter/", icon="book")
        super().__init__(framework, container="jupyter-ui", link=link)

    def reconcile(self) -> None:
        options = self.options(spawner.Options)
        config = spawner.render(options, self.images())
        logos = {
            f"{LOGOS}/{name}.svg": self.render("logo.svg.j2", text=text, size=size(text))
            for name, text in LETTERS.items()
        }
        self.run_web_app(files={CONFIG: config, **logos}, environment={"UI": "default"})


def size(text: str) -> int:
    """Height of letters so that the text fills its box."""
    return 64 if len(text) == 1 else 160 // len(text)


if __name__ == "__main__":
    ops.main(JupyterUI)
