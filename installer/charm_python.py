"""The Python that runs charms on the local engine, and the packages all charms share there."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from localjuju import paths
from localjuju.errors import EngineError
from localjuju.progress import Progress

ROOT = Path(__file__).resolve().parent.parent
VERSION = "3.12"  # of the base, ubuntu@24.04


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


@cache
def interpreter() -> tuple[Path, str]:
    """The Python to run charms with and its version: 3.12 wherever found, else the launcher's."""
    for candidate in _candidates():
        version = _version(candidate)
        if version == VERSION:
            return candidate, version
    return Path(sys.executable).resolve(), f"{sys.version_info[0]}.{sys.version_info[1]}"


def _candidates() -> Iterator[Path]:
    """Pythons that may be 3.12, as real paths: a shim would not work where its tool is not."""
    name = f"python{VERSION}"
    if f"{sys.version_info[0]}.{sys.version_info[1]}" == VERSION:
        yield Path(sys.base_prefix) / "bin" / name
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        yield Path(folder) / name
    yield from (Path("/usr/bin") / name, Path("/usr/local/bin") / name)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    managed = Path(
        os.environ.get("UV_PYTHON_INSTALL_DIR") or Path.home() / ".local/share/uv/python"
    )
    for folder, pattern in (
        (pyenv / "versions", f"{VERSION}*/bin/{name}"),
        (managed, f"cpython-{VERSION}*/bin/{name}"),
    ):
        yield from sorted(folder.glob(pattern), reverse=True)


def _version(program: Path) -> str | None:
    """Its version, asked of the program itself; None where it does not run."""
    if not os.access(program, os.X_OK):
        return None
    try:
        result = subprocess.run(
            [str(program), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def shared(progress: Progress) -> Path:
    """The environment that holds the charms' packages, made first where needed.

    Its path contains a hash of what is in it, so a charm packed earlier keeps its own.

    Raises:
        EngineError: it cannot be made.
    """
    python, version = interpreter()
    text = f"{python.resolve()}\n{version}\n{requirements()}"
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
            run_uv("venv", "--quiet", "--no-project", "--python", str(python), str(folder))
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
                new.parent, "--target", str(new), "--python-version", VERSION,
                "--python-platform", f"{platform}-manylinux_2_39",
            )  # fmt: skip
        new.rename(folder)
    return folder


def _install(folder: Path, *options: str) -> None:
    file = folder / "requirements.txt"
    file.write_text(requirements())
    run_uv(
        "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:", "--no-deps",
        *options, "--requirement", str(file),
    )  # fmt: skip
