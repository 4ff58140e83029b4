"""`./mlops test`: the test tiers of tox.ini, with the locked versions."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from installer.charm_python import ROOT
from localjuju.errors import EngineError

_DEFAULT = ("-e", "lint,unit,integration")


def main(arguments: list[str]) -> int:
    """Becomes tox; does not return.

    Args:
        arguments: tox's own; without `-e` the tiers lint, unit and integration run, and what
            follows `--` goes to pytest.
    """
    tox = Path(sys.prefix) / "bin" / "tox"
    if not tox.exists():
        raise EngineError("tox is not in .venv: remove the .venv folder and run the command again")
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    named = any(text.startswith("-e") or text == "--help" for text in before)
    argv = [str(tox), "run", "-c", str(ROOT / "tox.ini"), *(() if named else _DEFAULT), *arguments]
    settings = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONSAFEPATH")
    }
    os.chdir(ROOT)
    os.execve(str(tox), argv, settings)
