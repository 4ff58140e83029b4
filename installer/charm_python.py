"""The Python that runs charms on the local engine, and the packages all charms share there."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from localjuju import pythons
from localkube.host import paths
from localkube.host.errors import EngineError
from localkube.host.progress import Progress

ROOT = Path(__file__).resolve().parent.parent


def uv() -> str:
    """The uv to run: the environment's own, else the launcher's.

    Raises:
        EngineError: there is none.
    """
    for folder in (Path(sys.prefix), ROOT / ".venv", paths.cache() / "uv"):
        program = folder / "bin" / "uv"
        if program.exists():
            return str(program)
    raise EngineError("uv is not in .venv: remove the .venv folder and run the command again")


def run_uv(*arguments: str) -> str:
    """Runs uv in the project; returns its output.

    Raises:
        EngineError: it failed; the line is its own last one.
    """
    result = subprocess.run(
        [uv(), *arguments],
        cwd=ROOT,
        env={**os.environ, "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if result.returncode:
        said = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        raise EngineError(f"uv {arguments[0]}: {said[-1] if said else result.returncode}")
    return result.stdout


@cache
def requirements() -> str:
    """The locked packages of the dependency group `charm`, with hashes, as pip reads them."""
    return run_uv(
        "export", "--frozen", "--only-group", "charm", "--no-emit-project", "--no-header",
        "--no-annotate", "--quiet",
    )  # fmt: skip


def shared(progress: Progress) -> Path:
    """The environment that holds the charms' packages, made first where needed.

    Its path contains a hash of what is in it, so a charm packed earlier keeps its own.

    Raises:
        EngineError: it cannot be made.
    """
    python = pythons.find()
    text = f"{python.program}\n{python.version}\n{requirements()}"
    folder = paths.cache() / "charm-venvs" / hashlib.sha256(text.encode()).hexdigest()[:16]
    done = folder / ".complete"
    if done.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists():
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        with progress.step("packages of the charms"):
            run_uv("venv", "--quiet", "--no-project", "--python", str(python.program), str(folder))
            _install(folder, "--python", str(folder / "bin" / "python"), "--compile-bytecode")
        done.touch()
    return folder


def packed(architecture: str, progress: Progress) -> Path:
    """A folder with the packages for ubuntu@24.04 on `architecture` (amd64 or arm64).

    Raises:
        EngineError: a package has no wheel for it, or cannot be had.
    """
    platform = {"amd64": "x86_64", "arm64": "aarch64"}[architecture]
    name = hashlib.sha256(f"{architecture}\n{requirements()}".encode()).hexdigest()[:16]
    folder = paths.cache() / "charm-packages" / name
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder
        new = folder.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        with progress.step(f"packages of the charms for {architecture}"):
            _install(
                new.parent, "--target", str(new), "--python-version", pythons.VERSION,
                "--python-platform", f"{platform}-manylinux_2_39",
            )  # fmt: skip
        (new / ".lock").unlink(missing_ok=True)  # uv's own
        new.rename(folder)
    return folder


def _install(folder: Path, *options: str) -> None:
    file = folder / "requirements.txt"
    file.write_text(requirements())
    run_uv(
        "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:", "--no-deps",
        *options, "--requirement", str(file),
    )  # fmt: skip
