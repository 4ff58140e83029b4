"""Reads, lists, writes and removes files for the API."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fnmatch
import grp
import os
import pwd
import secrets
import shutil
import stat
from pathlib import Path
from typing import Any

from localjuju.pebble import processes, units
from localjuju.pebble.errors import ApiError

_TYPES = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink",
    stat.S_IFSOCK: "socket", stat.S_IFIFO: "named-pipe", stat.S_IFBLK: "device",
    stat.S_IFCHR: "device",
}  # fmt: skip


def failure(error: Exception, operation: str) -> dict[str, Any]:
    """The `error` of one file in an answer.

    Args:
        error: why the file could not be worked on.
        operation: the system call that Pebble names first, e.g. `open`.
    """
    kind = "generic-file-error"
    text = str(error)
    if isinstance(error, ApiError):
        kind = error.kind or kind
    elif isinstance(error, OSError):
        text = f"{(error.strerror or str(error)).lower()}"
        if error.filename:
            text = f"{operation} {error.filename}: {text}"
        if error.errno == errno.ENOENT:
            kind = "not-found"
        elif error.errno in (errno.EACCES, errno.EPERM):
            kind = "permission-denied"
    return {"message": text, "kind": kind}


def absolute(path: str) -> Path:
    """The path, if it is absolute.

    Raises:
        ApiError: it is not.
    """
    if not path.startswith("/"):
        raise ApiError(f'paths must be absolute, got "{path}"', kind="generic-file-error")
    return Path(path)


def read(path: str) -> bytes:
    """A file's content. Raises ApiError or OSError."""
    file = absolute(path)
    if not file.is_file() and file.exists():
        raise ApiError(f'can only read a regular file: "{path}"', kind="generic-file-error")
    return file.read_bytes()


def listing(path: str, pattern: str, itself: bool) -> list[dict[str, Any]]:
    """The entries of a folder that match, or the path itself. Raises ApiError or OSError."""
    folder = absolute(path)
    info = os.stat(path)  # noqa: PTH116  (an error names the path as it was given)
    if itself or not stat.S_ISDIR(info.st_mode):
        found = [(folder, info)]
    else:
        found = [(entry, entry.lstat()) for entry in sorted(folder.iterdir())]
    entries = [_entry(entry, status) for entry, status in found]
    return [
        entry for entry in entries if not pattern or fnmatch.fnmatchcase(entry["name"], pattern)
    ]


def _entry(path: Path, info: os.stat_result) -> dict[str, Any]:
    kind = _TYPES.get(stat.S_IFMT(info.st_mode), "unknown")
    time = datetime.datetime.fromtimestamp(info.st_mtime, datetime.timezone.utc)
    found: dict[str, Any] = {
        "path": str(path), "name": path.name or "/", "type": kind,
        "permissions": f"{stat.S_IMODE(info.st_mode):03o}", "last-modified": units.text(time),
        "user-id": info.st_uid, "user": "", "group-id": info.st_gid, "group": "",
    }  # fmt: skip
    if kind == "file":
        found["size"] = info.st_size
    with contextlib.suppress(KeyError):
        found["user"] = pwd.getpwuid(info.st_uid).pw_name
    with contextlib.suppress(KeyError):
        found["group"] = grp.getgrgid(info.st_gid).gr_name
    return found


def _owner(spec: dict[str, Any]) -> tuple[int, int]:
    """User and group id to give a file; -1 for our own."""
    user_id, user = spec.get("user-id"), spec.get("user")
    group_id, group = spec.get("group-id"), spec.get("group")
    if user_id is None and not user and group_id is None and not group:
        return -1, -1
    if (group_id is not None or group) and user_id is None and not user:
        raise ApiError("must specify user, not just group", kind="generic-file-error")
    options = processes.identity(user_id, user, group_id, group)
    return options.get("user", os.getuid()), options.get("group", os.getgid())


def _mode(text: str | None, default: int) -> int:
    if not text:
        return default
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if len(text) != 3 or not 0 <= mode <= 0o777:
        raise ApiError(
            f'permissions must be a 3-digit octal string, got "{text}"', kind="generic-file-error"
        )
    return mode


def write(spec: dict[str, Any], content: bytes) -> None:
    """Writes a file at once: it has the old content or all of the new.

    Raises:
        ApiError: no absolute path, no such user. OSError: as the kernel refuses.
    """
    path = absolute(spec["path"])
    mode = _mode(spec.get("permissions"), 0o644)
    owner = _owner(spec)
    if spec.get("make-dirs"):
        try:
            _make_parents(path, owner)
        except OSError as error:
            told = failure(error, "mkdir")
            message = f"cannot create directory: {told['message']}"
            raise ApiError(message, kind=told["kind"]) from None
    # Written through a link, as the upstream daemon does not replace the link itself.
    target = path.resolve() if path.is_symlink() else path
    new = target.with_name(f"{target.name}.{secrets.token_hex(4)}~")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as output:
            if owner != (-1, -1):
                os.fchown(output.fileno(), *owner)
            os.fchmod(output.fileno(), mode)
            output.write(content)
        new.replace(target)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _make_parents(path: Path, owner: tuple[int, int], mode: int = 0o755) -> None:
    missing = [parent for parent in path.parents if not parent.exists()]
    nearest = next((parent for parent in path.parents if parent.exists()), None)
    if nearest and not nearest.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(nearest))
    for parent in reversed(missing):
        parent.mkdir(mode)
        parent.chmod(mode)
        if owner != (-1, -1):
            os.chown(parent, *owner)


def make_folder(spec: dict[str, Any]) -> None:
    """Makes a folder. Raises ApiError or OSError."""
    path = absolute(spec["path"])
    mode = _mode(spec.get("permissions"), 0o755)
    owner = _owner(spec)
    if spec.get("make-parents"):
        if path.is_dir():
            return
        _make_parents(path, owner)
    try:
        path.mkdir()
    except FileExistsError:
        raise ApiError(f"mkdir {path}: file exists", kind="generic-file-error") from None
    path.chmod(mode)
    if owner != (-1, -1):
        os.chown(path, *owner)


def remove(spec: dict[str, Any]) -> None:
    """Removes a file or folder. Raises ApiError or OSError."""
    path = absolute(spec["path"])
    if spec.get("recursive"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        return
    if path.is_dir() and not path.is_symlink():
        try:
            path.rmdir()
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:
                raise ApiError(
                    f"remove {path}: directory not empty", kind="generic-file-error"
                ) from None
            raise
    else:
        path.unlink()
