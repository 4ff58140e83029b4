"""`./mlops test`: the test tiers of tox.ini, with the locked versions."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from installer.charm_python import ROOT
from localjuju import pythons
from localjuju.errors import EngineError

_TIERS = ["lint", "unit", "integration"]


def main(arguments: list[str]) -> int:
    """Becomes tox; does not return.

    Args:
        arguments: tox's own; without `-e` the tiers lint, unit, python312 and integration run,
            and what follows `--` goes to pytest.
    """
    tox = Path(sys.prefix) / "bin" / "tox"
    if not tox.exists():
        raise EngineError("tox is not in .venv: remove the .venv folder and run the command again")
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    named = any(text.startswith("-e") or text == "--help" for text in before)
    tiers = [] if named else ["-e", ",".join(_tiers())]
    argv = [str(tox), "run", "-c", str(ROOT / "tox.ini"), *tiers, *arguments]
    settings = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONSAFEPATH")
    }
    # pyenv's and uv's interpreters are not on the PATH by themselves; the user's own come first.
    folder = pythons.find().program.parent
    settings["PATH"] = f"{settings.get('PATH', os.defpath)}{os.pathsep}{folder}"
    os.chdir(ROOT)
    os.execve(str(tox), argv, settings)


def _tiers() -> list[str]:
    """The default ones; where there is no Python 3.12 to run python312 with, that is said."""
    running = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if running == pythons.VERSION:
        return _TIERS  # the tier unit runs on it
    if pythons.find().version != pythons.VERSION:
        print(
            f"WARNING no Python {pythons.VERSION} here: the tier python312 is left out, agents "
            f"and model are tested on {running} only; install python{pythons.VERSION} to run it",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        return _TIERS
    return ["lint", "unit", "python312", "integration"]
