"""What images share: a small Debian root of unpacked packages, and what of it no program lacks.

The packages are those of this machine's own archive, but nothing is taken from its files. No
script of a package runs: what they would have set is set here.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from localkube.building import builds, debian
from localkube.host import paths
from localkube.host.progress import Progress
from localkube.host.trees import remove_tree

MERGED = {name: f"usr/{name}" for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32")}
"""Folders that are links into /usr on every release in support, and where those lead."""

# What a shell script, a program of Python or a Debian package's own may take for granted.
_PACKAGES = (
    "base-files", "base-passwd", "bash", "ca-certificates", "coreutils", "dash", "debianutils",
    "diffutils", "findutils", "grep", "gzip", "hostname", "libc-bin", "libstdc++6", "login",
    "mawk", "media-types", "ncurses-base", "netbase", "passwd", "procps", "sed", "tar", "tzdata",
    "usr-is-merged", "util-linux",
)  # fmt: skip
_NOT_NEEDED = ("doc", "info", "lintian", "locale", "man")
_CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
# What the packages' scripts would link, by Debian's alternatives and for OpenSSL.
_LINKS = {
    "usr/bin/awk": "mawk",
    "usr/bin/which": "which.debianutils",
    "etc/ssl/cert.pem": f"/{_CERTIFICATES}",
    "etc/localtime": "/usr/share/zoneinfo/Etc/UTC",
}
_COPIES = {
    "usr/share/base-passwd/passwd.master": "etc/passwd",
    "usr/share/base-passwd/group.master": "etc/group",
    "usr/share/libc-bin/nsswitch.conf": "etc/nsswitch.conf",
}
_FOLDERS = ("media", "mnt", "opt", "srv", "usr/local/bin", "usr/local/lib", "usr/local/sbin")
_VERSION = 2  # of what is done here beside the packages


def root(progress: Progress) -> Path:
    """The root of the base; made where it is not in the cache.

    Raises:
        EngineError: it cannot be made; names the log.
    """

    def make(target: Path) -> None:
        (target / "none").write_text("")
        with progress.step("Base of images") as step:
            tree = target / "root"
            tree.mkdir()
            debian.unpack(_PACKAGES, tree, step, installed=target / "none")
            tidy(tree)
            _set_up(tree)

    return builds.make_once(_kept("base", (*_PACKAGES, str(_VERSION))), make) / "root"


def bare(progress: Progress) -> Path:
    """The root of an image that has one static program: users, certificates, links, /tmp.

    Raises:
        EngineError: it cannot be made; names the log.
    """
    whole = root(progress)

    def make(target: Path) -> None:
        for name in (_CERTIFICATES, "etc/passwd", "etc/group", "etc/nsswitch.conf"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(whole / name, target / name)
        for name in ("bin", "sbin", "lib"):
            (target / MERGED[name]).mkdir(parents=True)
            (target / name).symlink_to(MERGED[name])
        (target / "tmp").mkdir()
        (target / "tmp").chmod(0o1777)

    return builds.make_once(whole.parent.with_name(f"{whole.parent.name}-bare"), make)


def over(packages: Sequence[str], progress: Progress, version: str = "") -> Path:
    """The files of packages, and of what of theirs the base has not.

    Args:
        packages: names in this system's archive.
        progress: shows how far it is.
        version: as `debian.unpack` has it.

    Raises:
        OtherVersionError: the first package has another version.
        EngineError: they cannot be had; names the log.
    """
    below = root(progress)

    def make(target: Path) -> None:
        tree = target / "root"
        tree.mkdir()
        with progress.step(f"{packages[0]} over the base of images") as step:
            debian.unpack(packages, tree, step, version=version, installed=below / debian.STATUS)
            tidy(tree)

    made_from = (below.parent.name, version, *packages)
    return builds.make_once(_kept(packages[0], made_from), make) / "root"


def tidy(tree: Path) -> None:
    """Leaves out what no program reads, and has /bin and the like below /usr."""
    for name in _NOT_NEEDED:
        remove_tree(tree / "usr" / "share" / name)
    for name, place in MERGED.items():
        if (tree / name).is_symlink() or not (tree / name).is_dir():
            continue
        (tree / place).mkdir(parents=True, exist_ok=True)
        _move(tree / name, tree / place)
        (tree / name).symlink_to(place)


def _move(source: Path, target: Path) -> None:
    for entry in list(source.iterdir()):
        other = target / entry.name
        if entry.is_dir() and not entry.is_symlink() and other.is_dir():
            _move(entry, other)
        else:
            entry.rename(other)
    source.rmdir()


def _set_up(tree: Path) -> None:
    for source, place in _COPIES.items():
        shutil.copy(tree / source, tree / place)
    authorities = sorted((tree / "usr" / "share" / "ca-certificates").rglob("*.crt"))
    (tree / _CERTIFICATES).write_text("".join(file.read_text() for file in authorities))
    for place in _FOLDERS:
        (tree / place).mkdir(parents=True)
    for place, to in _LINKS.items():
        (tree / place).symlink_to(to)


def _kept(name: str, made_from: Sequence[str]) -> Path:
    key = hashlib.sha256("\n".join(made_from).encode()).hexdigest()[:12]
    return paths.cache() / "builds" / f"root-{name}-{debian.release()}-{key}"
