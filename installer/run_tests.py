"""`./mlops test`: the test tiers of tox.ini, with the locked versions."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from installer.charm_python import ROOT
from localjuju import pythons
from localkube.host.errors import EngineError

_TIERS = ["lint", "unit", "localkube", "integration"]
_HELP = """usage: ./mlops test [-e TIER[,TIER…]] [TOX'S OPTIONS] [-- PYTEST'S]

Without -e: lint, unit, python312, localkube and integration.

  lint         style, spelling and types
  unit         charms, library, engine and installer; no cluster
  python312    agents and model of the engine on Python 3.12
  localkube    the engine's Kubernetes: a real node in namespaces of its own; as root
  integration  the bundle, deployed; on a real Juju with -- --juju
  load         no request fails while applications scale and are refreshed; 15 minutes
  faults       the engine's programs killed at random moments; with -- --seeds 50; as root
  bench        what a deploy costs; with -- --full, -- --edge
  pack         the quick packer's tree against charmcraft's; as root

examples:
  ./mlops test -e unit -- -k gateway
  ./mlops test -e integration -- -k first_light"""


def main(arguments: list[str]) -> int:
    """Becomes tox, and does not return but for `--help`.

    Args:
        arguments: tox's own; without `-e` the tiers lint, unit, python312, localkube and
            integration run, and what follows `--` goes to pytest.
    """
    if arguments[:1] in (["-h"], ["--help"]):
        print(_HELP)
        return 0
    tox = Path(sys.prefix) / "bin" / "tox"
    if not tox.exists():
        raise EngineError("tox is not in .venv: remove the .venv folder and run the command again")
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    named = any(text.startswith("-e") for text in before)
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
    return ["lint", "unit", "python312", "localkube", "integration"]
