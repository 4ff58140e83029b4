"""`./mlops pack`: stages each charm in build/NAME/ and packs build/NAME.charm from it.

The staged folder is a complete charmcraft project: `charmcraft pack` in it makes the release.
The quick packer makes the same tree from the same folder within seconds and without root; only
`venv` differs. For the local engine it is the file `venv/.shared`, which names an environment
that all charms use; with `--full` the packages themselves, for a real Juju.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import io
import os
import platform
import re
import shutil
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import yaml

from installer import charm_python
from localjuju import pythons
from localkube.host.errors import EngineError
from localkube.host.progress import Progress

ROOT = charm_python.ROOT
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold
_SKIPPED = frozenset({"__pycache__", "tests", ".ruff_cache", ".pytest_cache"})
# charmcraft.yaml's keys that Juju reads from metadata.yaml under the same name
_METADATA = (
    "name", "summary", "description", "assumes", "charm-user", "containers", "devices",
    "extra-bindings", "peers", "provides", "requires", "resources", "storage", "subordinate",
    "terms",
)  # fmt: skip
_LINKS = {"documentation": "docs", "issues": "issues", "source": "source", "website": "website"}


def main(arguments: list[str]) -> int:
    """Runs `./mlops pack`; returns an exit code."""
    parser = argparse.ArgumentParser(prog="./mlops pack", description="Packs charms into build/.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="charms to pack; default: all")
    parser.add_argument(
        "--full", action="store_true", help="pack the packages too, as a real Juju needs it"
    )
    parser.add_argument(
        "--platform",
        choices=sorted(ARCHITECTURES.values()),
        help="architecture of the packages; default: this machine's",
    )
    options = parser.parse_args(arguments)
    packed = pack(options.names, full=options.full, architecture=options.platform)
    for charm in packed:
        print(f"build/{charm.name}")
    return 0


def pack(
    names: Iterable[str] = (),
    *,
    full: bool = False,
    architecture: str | None = None,
    root: Path = ROOT,
    progress: Progress | None = None,
) -> list[Path]:
    """Packs charms; returns the .charm files, which are untouched where nothing changed.

    Args:
        names: the charms' names; empty means all.
        full: pack the packages too, instead of naming the shared environment.
        architecture: amd64 or arm64; None means this machine's.
        root: the project's folder.
        progress: where to show what takes longer.

    Raises:
        EngineError: a charm does not exist or its files are wrong.
    """
    progress = progress or Progress()
    known = sorted(file.parent.name for file in root.glob("charms/*/charmcraft.yaml"))
    wanted = list(dict.fromkeys(names)) or known
    for name in wanted:
        if name not in known:
            raise EngineError(
                f"no charm {name} in charms/: there are {', '.join(known) or 'none'}"
            )
    machine = architecture or ARCHITECTURES.get(platform.machine())
    if machine is None:
        raise EngineError(f"charms are for amd64 and arm64, this machine is {platform.machine()}")
    venv = _packed_venv(machine, progress) if full else _shared_venv(progress)
    with _alone(root / "build"):
        return [_pack_one(root, name, machine, venv) for name in wanted]


@contextlib.contextmanager
def _alone(build: Path) -> Iterator[None]:
    """One packer at a time on a folder: the next waits, and then finds nothing to do."""
    build.mkdir(exist_ok=True)
    folder = os.open(build, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _shared_venv(progress: Progress) -> dict[str, bytes]:
    folder = charm_python.shared(progress)
    version = pythons.find().version
    if version != pythons.VERSION:
        print(
            f"python{pythons.VERSION} is not on this machine: charms run on {version}",
            file=sys.stderr,
        )
    return {"venv/.shared": f"{folder}\n".encode()}


def _packed_venv(architecture: str, progress: Progress) -> dict[str, bytes]:
    folder = charm_python.packed(architecture, progress)
    prefix = f"venv/lib/python{pythons.VERSION}/site-packages"
    files = _tree(folder, skipped={"__pycache__"})
    return {f"{prefix}/{name}": files[name] for name in files if not name.startswith("bin/")}


def _pack_one(root: Path, name: str, architecture: str, venv: Mapping[str, bytes]) -> Path:
    project = merge(root, name)
    staged = _staged(root, name, project)
    _write_tree(root / "build" / name, staged)
    files = {
        path: data
        for path, data in staged.items()
        if path.startswith(("src/", "lib/"))
        or path in ("dispatch", "README.md", "LICENSE", "icon.svg")
    }
    files.update(generated(project, architecture))
    data = zipped({**files, **venv})
    charm = root / "build" / f"{name}.charm"
    if not charm.exists() or charm.read_bytes() != data:
        new = charm.with_suffix(".new")
        new.write_bytes(data)
        new.rename(charm)
    return charm


def merge(root: Path, name: str) -> dict[str, Any]:
    """The root charmcraft.yaml with the charm's laid over it.

    Mappings are merged one level deep. What a charm assumes comes after what all assume.

    Raises:
        EngineError: a file is missing, is no YAML mapping, or lacks what Juju needs.
    """
    own = _mapping(root / "charms" / name / "charmcraft.yaml", root)
    project = _mapping(root / "charmcraft.yaml", root)
    for key, value in own.items():
        project[key] = _laid_over(key, project.get(key), value)
    file = f"charms/{name}/charmcraft.yaml"
    for key in ("name", "summary", "description"):
        if not isinstance(project.get(key), str) or not project[key].strip():
            raise EngineError(f"{file}: {key} is missing")
    if project["name"] != name:
        raise EngineError(f"{file}: name is {project['name']}, the folder says {name}")
    for container, spec in (project.get("containers") or {}).items():
        resource = (spec or {}).get("resource")
        if resource is not None and resource not in (project.get("resources") or {}):
            raise EngineError(f"{file}: container {container} names no resource: {resource}")
    return project


def _laid_over(key: str, shared: Any, own: Any) -> Any:
    if isinstance(own, dict) and isinstance(shared, dict):
        return {**shared, **own}
    if key == "assumes" and isinstance(own, list) and isinstance(shared, list):
        return [*shared, *own]
    return own


def _mapping(file: Path, root: Path) -> dict[str, Any]:
    shown = file.relative_to(root)
    try:
        value = yaml.safe_load(file.read_text())
    except FileNotFoundError:
        raise EngineError(f"{shown} is missing") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise EngineError(f"{shown}:{line} {getattr(error, 'problem', error)}") from None
    if not isinstance(value, dict):
        raise EngineError(f"{shown}: not a mapping")
    return value


def _staged(root: Path, name: str, project: Mapping[str, Any]) -> dict[str, bytes]:
    """The charmcraft project: path in build/NAME/ to content."""
    charm = root / "charms" / name
    files = {f"src/{path}": data for path, data in _tree(charm / "src").items()}
    if "src/charm.py" not in files:
        raise EngineError(f"charms/{name}/src/charm.py is missing")
    files |= {
        f"lib/{path}": data
        for path, data in _tree(root / "lib").items()
        if path != "charmed_mlops/testing.py"
    }
    files["dispatch"] = (root / "installer" / "dispatch").read_bytes()
    for extra, source in (("README.md", charm), ("icon.svg", charm), ("LICENSE", root)):
        if (source / extra).exists():
            files[extra] = (source / extra).read_bytes()
    staged = [extra for extra in project["parts"]["files"]["stage"] if extra in files]
    parts = {**project["parts"], "files": {**project["parts"]["files"], "stage": staged}}
    files["charmcraft.yaml"] = _yaml({**project, "parts": parts})
    files["pyproject.toml"] = _pyproject(root)
    files["uv.lock"] = lock_of_charms((root / "uv.lock").read_text()).encode()
    return files


def _tree(folder: Path, skipped: Set[str] = _SKIPPED) -> dict[str, bytes]:
    """Every file below a folder by its relative path, but for what is in folders so named."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not skipped & set(path.relative_to(folder).parts)
    }


def _write_tree(folder: Path, files: Mapping[str, bytes]) -> None:
    """Makes the folder hold exactly these files; unchanged ones keep their time."""
    wanted = {folder / path for path in files}
    for path in sorted(folder.rglob("*"), reverse=True) if folder.exists() else ():
        if path.is_dir() and not path.is_symlink():
            if not any(path in file.parents for file in wanted):
                shutil.rmtree(path)
        elif path not in wanted:
            path.unlink(missing_ok=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)
        path.chmod(0o755 if _executable(name) else 0o644)


def _executable(name: str) -> bool:
    return name in ("dispatch", "src/charm.py")


def _pyproject(root: Path) -> bytes:
    """A project whose dependencies are the group `charm` of ours."""
    text = (root / "pyproject.toml").read_text()
    group = re.search(r"^charm = \[\n(.*?)^\]", text, re.M | re.S)
    version = re.search(r'^requires-python = "(.*)"$', text, re.M)
    if group is None or version is None:
        raise EngineError("pyproject.toml: no dependency group charm, or no requires-python")
    return (
        '[project]\nname = "charmed-mlops"\nversion = "0.1.0"\n'
        f'requires-python = "{version[1]}"\ndependencies = [\n{group[1]}]\n\n'
        "[tool.uv]\npackage = false\n"
    ).encode()


def lock_of_charms(text: str) -> str:
    """Our uv.lock with the group `charm` as the project's dependencies, the same pins.

    Raises:
        EngineError: the lock has no such group.
    """
    block = re.search(
        r'\[\[package\]\]\nname = "charmed-mlops"\n.*?(?=\n\[\[package\]\])', text, re.S
    )
    groups = re.findall(r"^charm = \[\n(.*?)^\]", block[0], re.M | re.S) if block else []
    if block is None or len(groups) != 2:
        raise EngineError("uv.lock: no dependency group charm; run uv lock")
    locked, asked = groups
    ours = (
        '[[package]]\nname = "charmed-mlops"\nversion = "0.1.0"\nsource = { virtual = "." }\n'
        f"dependencies = [\n{locked}]\n\n[package.metadata]\nrequires-dist = [\n{asked}]\n"
    )
    return text.replace(block[0], ours)


def generated(project: Mapping[str, Any], architecture: str) -> dict[str, bytes]:
    """The files that charmcraft derives from charmcraft.yaml for Juju."""
    metadata: dict[str, Any] = {key: project[key] for key in _METADATA if key in project}
    if "title" in project:
        metadata["display-name"] = project["title"]
    links = project.get("links") or {}
    for link, key in _LINKS.items():
        if link in links:
            metadata[key] = links[link]
    if "contact" in links:
        contact = links["contact"]
        metadata["maintainers"] = [contact] if isinstance(contact, str) else contact
    distribution, _, channel = project["base"].partition("@")
    manifest = {
        "charmcraft-version": "0+quick",
        "charmcraft-started-at": "1980-01-01T00:00:00Z",
        "bases": [{"name": distribution, "channel": channel, "architectures": [architecture]}],
        "analysis": {
            "attributes": [
                {"name": "language", "result": "python"},
                {"name": "framework", "result": "unknown"},  # as charmcraft finds with uv
            ]
        },
    }
    files = {"metadata.yaml": _yaml(metadata), "manifest.yaml": _yaml(manifest)}
    if project.get("config"):
        files["config.yaml"] = _yaml(project["config"])
    if project.get("actions"):
        files["actions.yaml"] = _yaml(project["actions"])
    return files


def _yaml(value: Mapping[str, Any]) -> bytes:
    return yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, width=99).encode()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip of these files that depends on nothing but their names and content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix: the permissions below count
            entry.external_attr = (0o100755 if _executable(name) else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name])
    return buffer.getvalue()
