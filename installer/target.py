"""Where the bundle is deployed: on the local engine, or on a real Juju controller at hand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from localkube.host import ownership, paths
from localkube.host.errors import EngineError

MODEL = "mlops"
_LOCAL_CONTROLLER = "localjuju"
ON_ENGINE = "localkube"
"""The engine of a target whose cluster is the local engine's, with a real Juju on it; and what
that controller and its cloud are called."""

# https://documentation.ubuntu.com/juju/latest/reference/model/
_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True)
class Target:
    """A model, and how to reach the Juju that has it.

    Attributes:
        engine: `local`, `juju`, or `localkube`: a real Juju on the local engine's cluster.
        model: the model's name, which is also the Kubernetes namespace's.
    """

    engine: str
    model: str = MODEL

    @property
    def is_local(self) -> bool:
        """Whether the local engine plays Juju's part."""
        return self.engine == "local"

    @property
    def has_engine(self) -> bool:
        """Whether its cluster is the local engine's."""
        return self.engine in ("local", ON_ENGINE)

    def juju(self) -> list[str]:
        """The start of a juju command line.

        Raises:
            EngineError: a real Juju is the target and `juju` is not on the PATH, or it is on
                the engine's cluster and no engine runs.
        """
        if self.is_local:
            return [sys.executable, "-m", "localjuju.cli"]
        program = shutil.which("juju")
        if program is None:
            raise EngineError("juju is not on the PATH: snap install juju, or ./mlops down first")
        return [*(_in_engine_s_network() if self.has_engine else []), program]

    def environment(self) -> dict[str, str]:
        """The environment for juju: it acts on this model unless told otherwise."""
        if self.engine == ON_ENGINE:
            model = f"{ON_ENGINE}:{self.model}"
            return {**os.environ, "JUJU_CONTROLLER": ON_ENGINE, "JUJU_MODEL": model}
        return {**os.environ, "JUJU_MODEL": self.model}

    def run(
        self,
        *arguments: str,
        timeout: float = 300,
        cwd: Path | None = None,
        stdin: str | None = None,
    ) -> str:
        """Runs juju; returns its standard output.

        Raises:
            EngineError: it failed, with its own last line, or took longer than `timeout` s.
        """
        try:
            result = subprocess.run(
                [*self.juju(), *arguments],
                env=self.environment(),
                input=stdin or "",
                capture_output=True,
                text=True,
                timeout=timeout,
                cwd=cwd,
            )
        except subprocess.TimeoutExpired:
            raise EngineError(f"juju {arguments[0]} did not answer in {timeout:.0f} s") from None
        if result.returncode:
            lines = (result.stderr or result.stdout).strip().splitlines()
            said = lines[-1].removeprefix("ERROR ") if lines else f"exit code {result.returncode}"
            raise EngineError(f"juju {arguments[0]}: {said}")
        return result.stdout

    def json(self, *arguments: str, timeout: float = 300) -> Any:
        """Runs juju with `--format json`; returns what it printed, read.

        Raises:
            EngineError: as `run`.
        """
        text = self.run(*arguments, "--format", "json", timeout=timeout)
        return json.loads(text or "null")

    def remember(self) -> None:
        """Has later commands use this target; `forget` undoes it.

        Raises:
            EngineError: the state folder that the user named holds other things.
        """
        ownership.claim_state()
        file = _file()
        new = file.with_suffix(".new")
        new.write_text(json.dumps(asdict(self)))
        new.rename(file)


def _in_engine_s_network() -> list[str]:
    from localjuju.engine import lifecycle

    program = shutil.which("nsenter")
    if program is None:
        raise EngineError("nsenter is not on the PATH: apt-get install util-linux")
    return [program, f"--net={lifecycle.network()}", "--"]


def _file() -> Path:
    return paths.state() / "target.json"


def forget() -> None:
    """Makes no model the one in use."""
    _file().unlink(missing_ok=True)


def current() -> Target:
    """The target that `./mlops up` used last; the local engine's default model without one."""
    try:
        kept = json.loads(_file().read_text())
        return Target(kept["engine"], kept["model"])
    except (OSError, ValueError, KeyError, TypeError):
        return Target("local")


def require_name(model: str | None) -> None:
    """Raises EngineError if no model can have the name; None is fine."""
    if model is not None and not _MODEL_NAME.fullmatch(model):
        raise EngineError(
            f"model name {model!r}: lower-case letters, digits and hyphens, no hyphen first"
        )


def choose(engine: str | None, model: str | None) -> Target:
    """The target for `./mlops up`: as asked, as last time, else a real controller at hand.

    Args:
        engine: `local`, `juju`, or None to find out.
        model: the model's name, or None for the default.

    Raises:
        EngineError: `juju` is asked for and there is none.
    """
    kept = current() if _file().exists() else None
    if engine is None:
        if kept is not None:
            return Target(kept.engine, model or kept.model)
        return Target("juju" if controllers() else "local", model or MODEL)
    if engine != "juju":
        return Target(engine, model or MODEL)
    if not has_juju():
        raise EngineError("no juju on the PATH: snap install juju, or ./mlops up --engine local")
    on_engine = kept is not None and kept.engine == ON_ENGINE
    return Target(ON_ENGINE if on_engine or not controllers() else "juju", model or MODEL)


def has_juju() -> bool:
    """Whether this user has a `juju`."""
    return shutil.which("juju") is not None


def controller() -> str:
    """The name of the controller that this user's juju talks to, for messages."""
    known = _known_controllers()
    name = known.get("current-controller")
    cloud = ((known.get("controllers") or {}).get(name) or {}).get("cloud")
    return f"controller {name} (cloud {cloud})" if name and cloud else "the current controller"


def controllers() -> list[str]:
    """The real Juju controllers of this user's juju; without the one on the local engine."""
    return sorted(known_controllers() - {_LOCAL_CONTROLLER, ON_ENGINE})


def known_controllers() -> set[str]:
    """Every controller that this user's juju knows; empty without juju."""
    return set(_known_controllers().get("controllers") or {})


def _known_controllers() -> dict[str, Any]:
    program = shutil.which("juju")
    if program is None:
        return {}
    try:
        result = subprocess.run(
            [program, "controllers", "--format", "json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )
        found = json.loads(result.stdout or "{}")
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return {}
    return found if isinstance(found, dict) else {}
