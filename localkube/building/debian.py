"""Debian packages, unpacked into a folder: no root, nothing is installed on the host."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from localkube.building import builds
from localkube.host import paths
from localkube.host.errors import EngineError
from localkube.host.progress import Step

STATUS = "var/lib/dpkg/status"
"""Where dpkg keeps what is installed, from the root."""


_NEEDED = ("apt-get", "dpkg")


def release() -> str:
    """This system and its version, such as `debian-12`: packages of another are others.

    Raises:
        EngineError: it does not say what it is.
    """
    try:
        system = platform.freedesktop_os_release()
    except OSError as error:
        raise EngineError(f"{error}: packages come from Debian's archive: run on Debian") from None
    return f"{system['ID']}-{system.get('VERSION_ID', 'rolling')}"


def missing() -> list[str]:
    """The programs that packages are unpacked with and that this system does not have."""
    return [name for name in _NEEDED if shutil.which(name) is None]


class OtherVersionError(EngineError):
    """This system's archive has another version of the package."""


def unpack(
    packages: Sequence[str],
    target: Path,
    step: Step,
    *,
    version: str = "",
    installed: Path | None = None,
) -> None:
    """Downloads packages and what of theirs is not installed, and unpacks all.

    Args:
        packages: names in this system's archive.
        target: an existing folder; it becomes the root of their files, with a status file of its
            own where `installed` is given. `archives` beside it is made and removed.
        version: what the version of the first package has to contain, such as `10.11`, or one of
            several, such as `10.11 or 11.8`.
        installed: dpkg's status file that says what is; this machine's own where it is None.

    Raises:
        OtherVersionError: the first package has another version.
        EngineError: a download failed; names the log.
    """
    if lacks := missing():
        raise EngineError(
            f"{' and '.join(lacks)} missing: {packages[0]} comes from Debian's archive: run on "
            "Debian"
        )
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
    if installed is not None:
        options += ["-o", f"Dir::State::status={installed}"]
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
    if not first or not any(each in first[0] for each in version.split(" or ")):
        raise OtherVersionError(f"this system's {packages[0]} is {first}, not {version}")
    for number, file in enumerate(files):
        step.count("unpacking", number, len(files))
        builds.run(["dpkg", "-x", file, target], "dpkg", tries=1)
    if installed is not None:
        step.update("describing")
        status = target / STATUS
        status.parent.mkdir(parents=True, exist_ok=True)
        status.write_text(installed.read_text() + "".join(map(_described, files)))
    shutil.rmtree(archives)


def _described(file: Path) -> str:
    """A package as dpkg's status file has it once it is installed."""
    code, said, errors = builds.output(["dpkg", "--field", file])
    if code != 0:
        raise EngineError(f"{file.name}: {' '.join(errors.split())}")
    return f"{said.rstrip()}\nStatus: install ok installed\n\n"
