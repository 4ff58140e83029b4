"""Makes the project's `.venv` from uv.lock; run by `mlops` with the system's python3.

Standard library only, and no import from this project: nothing is installed yet.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MARKER = ".charmed-mlops"  # as in localkube.host.ownership
_STEP = "Python environment"


class BootstrapError(Exception):
    """A condition a user can fix; str() is one line naming the fix."""


def cache() -> Path:
    """The folder for all that can be made again; the same as `localkube.host.paths.cache()`."""
    named = os.environ.get("CHARMED_MLOPS_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "charmed-mlops"


def stamp(root: Path) -> str:
    """What `mlops` compares: the environment is made for this lock, at this place."""
    return f"{hashlib.sha256((root / 'uv.lock').read_bytes()).hexdigest()} {root}"


def check_python() -> None:
    """Raises BootstrapError where this Python cannot make virtual environments."""
    try:
        import ensurepip
        import venv
    except ImportError:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise BootstrapError(
            f"{sys.executable} cannot make virtual environments: "
            f"apt-get install python{version}-venv"
        ) from None
    del ensurepip, venv


def uv_requirement(lock: str) -> str:
    """The requirement line, with hashes, of the uv that uv.lock itself pins.

    Raises:
        BootstrapError: uv.lock pins none.
    """
    block = re.search(r'\[\[package\]\]\nname = "uv"\nversion = "([^"]+)"\n(.*?)\n\n', lock, re.S)
    if block is None:
        raise BootstrapError("uv.lock does not pin uv: run uv add --group dev tox-uv")
    hashes = re.findall(r'hash = "(sha256:[0-9a-f]{64})"', block[2])
    return " ".join([f"uv=={block[1]}", *(f"--hash={value}" for value in hashes)])


def run(argv: list[str], log: Path, what: str, **environment: str) -> None:
    """Runs a program with its output in a log.

    Raises:
        BootstrapError: it failed; the line tells its own last words and the log.
        OSError: the disk is full.
    """
    with log.open("ab") as output:
        begin = output.tell()
        code = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
        ).returncode
    if code == 0:
        return
    with log.open("rb") as text:
        text.seek(begin)
        lines = [line.strip() for line in text.read().decode(errors="replace").splitlines()]
    # on a full disk the program's own words may be missing from the log
    if any("No space left" in line for line in lines) or _full(log.parent):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    said = next((line for line in reversed(lines) if line), f"exit code {code}")
    raise BootstrapError(f"{what} failed: {said} (log: {log})")


def _full(folder: Path) -> bool:
    return shutil.disk_usage(folder).free < 1 << 20


def uv(folder: Path, lock: str, log: Path) -> Path | None:
    """The pinned uv in an environment of its own; None where there is none for this machine."""
    program = folder / "bin" / "uv"
    wanted = uv_requirement(lock)
    requirement = folder / "requirement.txt"
    if program.exists() and requirement.exists() and requirement.read_text() == wanted:
        return program
    run([sys.executable, "-m", "venv", "--clear", str(folder)], log, "making an environment")
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    new = folder / "requirement.new"
    new.write_text(wanted)
    try:
        run(
            [*pip, "install", "--only-binary=:all:", "--require-hashes", "-r", str(new)],
            log,
            "installing uv",
        )
    except BootstrapError as error:
        if "No matching distribution" in str(error):
            return None
        raise
    new.rename(requirement)
    return program


def sync_with_pip(root: Path, venv: Path, log: Path) -> None:
    """Installs with pip alone: the locked versions wherever uv.lock has one for a package."""
    run([sys.executable, "-m", "venv", "--clear", str(venv)], log, "making .venv")
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run([*pip, "install", "pip>=25.1"], log, "installing pip")
    project = (root / "pyproject.toml").read_text()
    pinned = re.findall(
        r'\[\[package\]\]\nname = "([^"]+)"\nversion = "([^"]+)"\nsource = \{ registry',
        (root / "uv.lock").read_text(),
    )
    names = [name for name, _ in pinned]
    constraints = venv / "constraints.txt"
    constraints.write_text(
        "".join(f"{name}=={version}\n" for name, version in pinned if names.count(name) == 1)
    )
    dependencies = re.search(r"^dependencies = \[\n(.*?)^\]", project, re.M | re.S)
    groups = re.search(r"^default-groups = \[(.*?)\]", project, re.M | re.S)
    if dependencies is None or groups is None:
        raise BootstrapError("pyproject.toml has no dependencies or default-groups")
    run(
        [
            *pip, "install", "--constraint", str(constraints),
            *re.findall(r'^\s*"([^"]+)"', dependencies[1], re.M),
            *(f"--group={root / 'pyproject.toml'}:{name}"
              for name in re.findall(r'"([^"]+)"', groups[1])),
        ],
        log,
        "installing the dependencies",
    )  # fmt: skip


def make(root: Path) -> None:
    """Makes or updates `root/.venv`; returns at once where another process just did.

    Raises:
        BootstrapError: it cannot be made.
    """
    venv = root / ".venv"
    home = cache()
    home.mkdir(parents=True, exist_ok=True)
    if not any(home.iterdir()):  # ours from now on: `down --all` may remove it
        (home / MARKER).write_text(f"{secrets.token_hex(8)}\n")
    with (home / "bootstrap.lock").open("w") as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)
        mark = venv / "mlops.stamp"
        if mark.exists() and mark.read_text().strip() == stamp(root):
            return
        check_python()
        mark.unlink(missing_ok=True)
        times = _Times(home / "timings.json")
        print(f"{_STEP}: .venv from uv.lock{times.hint(_STEP)}", file=sys.stderr)
        begin = time.monotonic()
        log = home / "bootstrap.log"
        log.unlink(missing_ok=True)
        # A working .venv keeps its Python; a new one gets the Python that runs this.
        python = venv / "bin" / "python"
        usable = python.exists() and (venv / "pyvenv.cfg").exists()
        program = uv(home / "uv", (root / "uv.lock").read_text(), log)
        if program is None:
            print(f"uv has no build for {platform.machine()}: pip instead", file=sys.stderr)
            sync_with_pip(root, venv, log)
        else:
            command = [str(program), "sync", "--frozen", "--project", str(root)]
            if not usable:
                command += ["--python", sys.executable]
            run(
                command,
                log,
                "uv sync",
                UV_PROJECT_ENVIRONMENT=str(venv),
                UV_PYTHON_DOWNLOADS="never",
            )
        mark.write_text(stamp(root) + "\n")
        times.keep(_STEP, time.monotonic() - begin)


class _Times:
    """How long a step took last time; the same file as `localkube.host.progress` keeps."""

    def __init__(self, file: Path):
        self._file = file
        try:
            self._seconds: dict[str, float] = json.loads(file.read_text())
        except (OSError, ValueError):
            self._seconds = {}

    def hint(self, step: str) -> str:
        last = self._seconds.get(step)
        return f" (last time {last:.0f} s)" if isinstance(last, (int, float)) else ""

    def keep(self, step: str, seconds: float) -> None:
        self._seconds[step] = round(seconds, 1)
        # A figure for next time: whatever goes wrong here, the step itself is done.
        with contextlib.suppress(OSError):
            descriptor, new = tempfile.mkstemp(prefix=".timings.", dir=self._file.parent)
            with os.fdopen(descriptor, "w") as text:
                text.write(json.dumps(self._seconds))
            Path(new).replace(self._file)


def main() -> int:
    """Makes `.venv`; returns an exit code."""
    try:
        make(ROOT)
    except BootstrapError as error:
        print(f"ERROR {error}", file=sys.stderr)
        return 1
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        fix = ": free some, or name a folder on another disk with CHARMED_MLOPS_CACHE"
        where = error.filename or f"{ROOT / '.venv'} or {cache()}"
        print(f"ERROR {error.strerror}: {where}{fix if full else ''}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command continues", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
