"""Debian packages, unpacked into a folder: no root, nothing is installed on the host."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from localjuju import builds, paths
from localjuju.errors import EngineError
from localjuju.progress import Step


class OtherVersionError(EngineError):
    """This system's archive has another version of the package."""


def unpack(packages: Sequence[str], target: Path, step: Step, *, version: str = "") -> None:
    """Downloads packages and what of theirs is not installed here, and unpacks all.

    Args:
        packages: names in this system's archive.
        target: an existing folder; it becomes the root of their files. `archives` beside it is
            made and removed.
        version: what the version of the first package has to contain, such as `10.11`.

    Raises:
        OtherVersionError: the first package has another version.
        EngineError: a download failed; names the log.
    """
    lists = paths.cache() / "builds" / "apt"
    archives = target.with_name("archives")
    for folder in (lists / "lists" / "partial", archives / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    # Folders of our own: no root, and the host's package lists stay as they are.
    options = [
        "-o", f"Dir::State::lists={lists / 'lists'}", "-o", f"Dir::Cache={lists}",
        "-o", f"Dir::Cache::archives={archives}", "-o", "Debug::NoLocking=1",
        "-o", "APT::Sandbox::User=", "-o", "APT::Install-Recommends=0",
    ]  # fmt: skip
    step.update("reading package lists")
    builds.run(["apt-get", *options, "-q", "update"], "apt-update")
    step.update("downloading packages")
    builds.run(
        [
            "apt-get", *options, "-q", "-y", "--download-only", "--reinstall", "install",
            *packages,
        ],
        "apt-download",
    )  # fmt: skip
    files = sorted(archives.glob("*.deb"))
    first = [file.name for file in files if file.name.startswith(f"{packages[0]}_")]
    if not first or version not in first[0]:
        raise OtherVersionError(f"this system's {packages[0]} is {first}, not {version}")
    for number, file in enumerate(files):
        step.update(f"unpacking, {number} of {len(files)}")
        builds.run(["dpkg", "-x", file, target], "dpkg", tries=1)
    shutil.rmtree(archives)
