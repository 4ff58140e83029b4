"""A real Juju controller on the local engine's Kubernetes, for a `juju` that has none.

The cluster and its addresses are in a network of the engine's own, so `juju` runs there too, by
nsenter(1). Cloud and controller are known to the user's own `juju` as `localkube`.
Commands: https://documentation.ubuntu.com/juju/latest/reference/juju-cli/
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from installer import kubectl, target
from installer.target import Target
from localjuju.engine.choices import Choices
from localkube.host import paths
from localkube.host.errors import EngineError
from localkube.host.progress import Progress
from localkube.node.storage import CLASS

_BOOTSTRAP_SECONDS = 1800.0
# https://documentation.ubuntu.com/juju/latest/howto/manage-controllers/
_REGISTRIES = ("docker.io", "ghcr.io", "public.ecr.aws")


def require_images(asked: Choices) -> None:
    """Raises EngineError where Juju's own images cannot be had, before anything is started."""
    from localjuju.images import layers
    from localkube.images import upstream

    if layers.has_juju():
        return
    if asked.images == "catalogue" or not upstream.answering(_REGISTRIES):
        raise EngineError(
            "Juju's own images (jujud-operator) cannot be had: none of "
            f"{', '.join(_REGISTRIES)} answers or may be asked: name a mirror with "
            "LOCALJUJU_MIRRORS, give them with LOCALJUJU_IMAGES, or ./mlops up --engine local"
        )


def bootstrap(chosen: Target, more: Sequence[str], progress: Progress) -> None:
    """Makes the cluster a cloud of the user's `juju`, and a controller there; once.

    Args:
        chosen: the target; its engine runs.
        more: further options of `juju bootstrap`.
        progress: told of the steps.

    Raises:
        EngineError: juju refuses; the line is its own.
    """
    name = target.ON_ENGINE
    bootstrapped = paths.state() / "juju-bootstrapped"
    if bootstrapped.exists():
        return
    if name in target.known_controllers():
        raise EngineError(
            f"juju knows a controller {name} that is not this engine's, or was not finished: "
            f"./mlops down, or juju unregister {name}; then again"
        )
    clouds = chosen.json("clouds", "--client") or {}
    if name not in clouds:
        options = ("--client", f"--storage={CLASS}")
        chosen.run("add-k8s", name, *options, stdin=kubectl.flattened())
    with progress.step("juju bootstrap"):
        chosen.run(
            "bootstrap", name, name, "--no-switch", "--config",
            "controller-service-type=loadbalancer", *more, timeout=_BOOTSTRAP_SECONDS,
        )  # fmt: skip
    bootstrapped.touch()


def forget() -> list[str]:
    """Has the user's `juju` know nothing of the controller any more, nor of its cloud.

    The controller itself goes with the engine's cluster. Returns what was forgotten.
    """
    program, name = shutil.which("juju"), target.ON_ENGINE
    if program is None:
        return []
    juju = Target("juju")  # these commands ask no controller
    forgotten = []
    if name in target.known_controllers():
        juju.run("unregister", name, "--no-prompt")
        forgotten.append(f"controller {name} of {program}")
    if name in (juju.json("clouds", "--client") or {}):
        juju.run("remove-k8s", name, "--client")
        forgotten.append(f"cloud {name} of {program}")
    return forgotten
