"""Builds a container's file system out of the host's programs and the image's tree.

/usr and /etc are the host's with the image's laid over them; an image's own /bin, /sbin and /lib
count as those below /usr. Everything else is the image's or empty, and root's, but for what the
image's user may write to. What a container writes goes to a folder of its own. The host's home
folders, /var and /opt are not seen. An overlay of "/" itself is refused by the kernel, because the
writable layer would lie below its own lower one.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from localjuju.node import identity
from localkube.host import system

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
            (text by absolute path), `cwd` (made where it is missing), `writable` (folders of the
            image's user), `owner` (that user and group), `read_only` (whether the root is).

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
    layered = []
    for name in _FROM_HOST:
        layered.append(_overlay(folder, root, name, [*_below(image, name), Path("/", name)]))
    for name in _MERGED:
        layered += _merged(folder, root, name, image)
    if image is not None:
        for entry in image.iterdir():
            if entry.name not in (*_FROM_HOST, *_MERGED):
                layered += _place(folder, root, entry)
    for path in spec["binds"]:
        _bind(path, root, path, read_only=True)
    for path, text in spec["files"].items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            target.unlink()
        target.write_text(text)
    _make_folder(root, spec["cwd"] or "/")
    for path in spec["writable"]:
        _give(_make_folder(root, path), root, *spec["owner"])
    _devices(root)
    _proc_and_sys(root)
    for mount in sorted(spec["mounts"], key=lambda mount: mount["target"].count("/")):
        _bind(mount["source"], root, mount["target"], read_only=mount["read_only"])
    seen = [*spec["binds"], *(mount["target"] for mount in spec["mounts"])]
    if any(path.startswith("/root/") for path in seen):
        # The host's Python may lie there; every user has to come through, to see nothing else.
        (root / "root").chmod(0o711)
    if spec["read_only"]:
        read_only = system.MS_BIND | system.MS_REMOUNT | system.MS_RDONLY
        for target in (*layered, root):
            system.mount("none", str(target), None, read_only)
    system.pivot_root(str(root))


def _below(image: Path | None, name: str) -> list[Path]:
    """The image's folder of that name, if it has one."""
    return [image / name] if image is not None and (image / name).is_dir() else []


def _overlay(folder: Path, root: Path, name: str, lower: list[Path]) -> Path:
    """Mounts the folders over one another, the first on top; what is written goes beside them."""
    target = root / name
    upper, work = folder / "upper" / name, folder / "work" / name.replace("/", "-")
    for path in (upper, work, target):
        path.mkdir(parents=True, exist_ok=True)
    layers = ":".join(map(str, lower))
    options = f"lowerdir={layers},upperdir={upper},workdir={work}"
    if system.in_user_namespace():
        options += ",userxattr"
    system.mount("overlay", str(target), "overlay", 0, options)
    return target


def _merged(folder: Path, root: Path, name: str, image: Path | None) -> list[Path]:
    """/bin and the like: links into /usr on today's distributions, folders on older ones."""
    host, target = Path("/", name), root / name
    own = [] if image is None or (image / name).is_symlink() else _below(image, name)
    if not host.is_symlink():
        lower = [*own, *_below(Path("/"), name)]
        if own:
            return [_overlay(folder, root, name, lower)]
        if lower:
            _bind(str(host), root, f"/{name}", read_only=True)
        return []
    with contextlib.suppress(FileExistsError):
        target.symlink_to(host.readlink())
    if not own:
        return []
    place = str(host.readlink()).lstrip("/")
    if not _is_own_layer(place):
        raise OSError(f"the image has a folder /{name}, the host has {host.readlink()} there")
    lower = [*own, *_below(image, place), *_below(Path("/"), place)]
    return [_overlay(folder / "merged", root, place, lower)]


def _is_own_layer(place: str) -> bool:
    return place.startswith("usr/") and ".." not in place.split("/")


def _place(folder: Path, root: Path, entry: Path) -> list[Path]:
    """Puts a top-level entry of the image in place: a folder writable, a file as it is."""
    target = root / entry.name
    if entry.is_symlink():
        with contextlib.suppress(FileExistsError):
            target.symlink_to(entry.readlink())
    elif entry.is_dir():
        _overlay(folder, root, entry.name, [entry])
        for name, mode in _EMPTY.items():
            if name == entry.name or name.startswith(f"{entry.name}/"):
                (root / name).mkdir(exist_ok=True)
                (root / name).chmod(mode)
        return [target]
    else:
        _bind(str(entry), root, f"/{entry.name}", read_only=True)
    return []


def _make_folder(root: Path, path: str) -> Path:
    """Makes a folder of the container, which links of the image lead to another of it only."""
    place = root
    for part in Path(path).parts[1:]:
        place = place / part
        if place.is_symlink():
            place = root / str(place.readlink()).lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
    return place


def _give(folder: Path, root: Path, user: int, group: int | None) -> None:
    """Has the image's user own a folder and what the image has in it."""
    if system.in_user_namespace():
        return
    group = identity.account(user, root).group if group is None else group
    os.chown(folder, user, group)
    for _, folders, files, descriptor in os.fwalk(folder):
        for name in (*folders, *files):
            os.chown(name, user, group, dir_fd=descriptor, follow_symlinks=False)


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
