"""Builds a container's file system out of the host's programs and the image's tree.

/usr and /etc are the host's with the image's laid over them; everything else is the image's or
empty. What a container writes goes to a folder of its own. The host's home folders, /var and /opt
are not seen. An overlay of "/" itself is refused by the kernel, because the writable layer would
lie below its own lower one.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from localjuju import system

_FROM_HOST = ("usr", "etc")
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_EMPTY = {
    "tmp": 0o1777, "run": 0o755, "var": 0o755, "var/tmp": 0o1777, "var/log": 0o755,
    "var/lib": 0o755, "var/cache": 0o755, "root": 0o700, "home": 0o755, "mnt": 0o755,
    "opt": 0o755, "srv": 0o755, "proc": 0o755, "sys": 0o755, "dev": 0o755,
}  # fmt: skip
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


def build(spec: dict[str, Any]) -> None:
    """Mounts the file system and makes it the root of this process's mount namespace.

    Called in the container's own mount and process namespace.

    Args:
        spec: `folder` (the container's own, writable), `image` (the image's tree or None),
            `binds` (host paths seen read-only), `mounts` (source, target, read_only), `files`
            (text by absolute path), `read_only` (whether the root is).

    Raises:
        OSError: as the kernel refuses.
    """
    folder = Path(spec["folder"])
    root = folder / "rootfs"
    root.mkdir(parents=True, exist_ok=True)
    system.bind(str(root), str(root))
    for name, mode in _EMPTY.items():
        (root / name).mkdir(exist_ok=True)
        (root / name).chmod(mode)
    image = Path(spec["image"]) if spec["image"] else None
    for name in _FROM_HOST:
        _overlay(folder, root, name, image)
    for name in _MERGED:
        _merged(root, name)
    if image is not None:
        for entry in image.iterdir():
            if entry.name not in (*_FROM_HOST, *_MERGED):
                _place(folder, root, entry)
    for path in spec["binds"]:
        _bind(path, root, path, read_only=True)
    for path, text in spec["files"].items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            target.unlink()
        target.write_text(text)
    _devices(root)
    _proc_and_sys(root)
    for mount in sorted(spec["mounts"], key=lambda mount: mount["target"].count("/")):
        _bind(mount["source"], root, mount["target"], read_only=mount["read_only"])
    if spec["read_only"]:
        system.mount("none", str(root), None, system.MS_BIND | system.MS_REMOUNT | 1)
    system.pivot_root(str(root))


def _overlay(folder: Path, root: Path, name: str, image: Path | None) -> None:
    lower = [f"/{name}"]
    if image is not None and (image / name).is_dir():
        lower.insert(0, str(image / name))
    upper, work = folder / "upper" / name, folder / "work" / name
    for path in (upper, work, root / name):
        path.mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={':'.join(lower)},upperdir={upper},workdir={work}"
    if _in_user_namespace():
        options += ",userxattr"
    system.mount("overlay", str(root / name), "overlay", 0, options)


def _in_user_namespace() -> bool:
    return Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]


def _merged(root: Path, name: str) -> None:
    """/bin and the like: links into /usr on today's distributions, folders on older ones."""
    host, target = Path("/", name), root / name
    if host.is_symlink():
        with contextlib.suppress(FileExistsError):
            target.symlink_to(host.readlink())
    elif host.is_dir():
        _bind(str(host), root, f"/{name}", read_only=True)


def _place(folder: Path, root: Path, entry: Path) -> None:
    """Puts a top-level entry of the image in place: a folder writable, a file as it is."""
    target = root / entry.name
    if entry.is_dir():
        upper, work = folder / "upper" / entry.name, folder / "work" / entry.name
        for path in (upper, work, target):
            path.mkdir(parents=True, exist_ok=True)
        options = f"lowerdir={entry},upperdir={upper},workdir={work}"
        if _in_user_namespace():
            options += ",userxattr"
        system.mount("overlay", str(target), "overlay", 0, options)
        for name, mode in _EMPTY.items():
            if name.startswith(f"{entry.name}/"):
                (root / name).mkdir(exist_ok=True)
                (root / name).chmod(mode)
    elif entry.is_symlink():
        with contextlib.suppress(FileExistsError):
            target.symlink_to(entry.readlink())
    else:
        _bind(str(entry), root, f"/{entry.name}", read_only=True)


def _bind(source: str, root: Path, target: str, *, read_only: bool) -> None:
    place = root / target.lstrip("/")
    if Path(source).is_dir():
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_symlink():
            place.unlink()
        place.touch()
    system.bind(source, str(place), read_only=read_only)


def _devices(root: Path) -> None:
    device = root / "dev"
    system.mount("tmpfs", str(device), "tmpfs", system.MS_NOSUID, "mode=755")
    for name in _DEVICES:
        (device / name).touch()
        system.bind(f"/dev/{name}", str(device / name))
    for name in ("pts", "shm"):
        (device / name).mkdir()
    system.mount("tmpfs", str(device / "shm"), "tmpfs", system.MS_NOSUID, "mode=1777")
    system.mount(
        "devpts", str(device / "pts"), "devpts", system.MS_NOSUID, "newinstance,ptmxmode=0666"
    )
    for name, target in (
        ("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2"),
    ):  # fmt: skip
        (device / name).symlink_to(target)


def _proc_and_sys(root: Path) -> None:
    flags = system.MS_NOSUID | system.MS_NODEV | system.MS_NOEXEC
    system.mount("proc", str(root / "proc"), "proc", flags)
    with contextlib.suppress(OSError):  # not everywhere for a user without root
        system.mount("sysfs", str(root / "sys"), "sysfs", flags | system.MS_RDONLY)
