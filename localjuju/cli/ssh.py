"""ssh and scp: programs in a unit's containers, by Kubernetes' exec and not by SSH."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from localjuju.cli.context import Context, UsageError
from localjuju.cli.registry import command
from localjuju.cli.remote import Remote
from localjuju.cli.terminal import at_terminal
from localkube.host.errors import EngineError


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--container", default="", help="the charm's unless given")
    for flag in ("--no-host-key-checks", "--remote", "--proxy"):
        parser.add_argument(flag, action="store_true", help="ignored: there is no SSH")


def _ssh_arguments(parser: argparse.ArgumentParser) -> None:
    _common(parser)
    # Juju's reader of flags takes the value of such a flag only after `=`.
    for flag, value in (("--pty", True), ("--pty=true", True), ("--pty=false", False)):
        parser.add_argument(
            flag, dest="pty", action="store_const", const=value,
            help="with a terminal, or without; as the input is, unless given",
        )  # fmt: skip
    parser.add_argument("target", metavar="UNIT")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")


@command("ssh", "Runs a command in a unit's container.", _ssh_arguments, flags_first=True)
def ssh(options: argparse.Namespace, context: Context) -> int:
    """A shell reads the command, as on Juju; without one it is a shell."""
    words = options.words + options.after or ["exec", "sh"]
    terminal = os.isatty(0) if options.pty is None else options.pty
    run = Remote(
        context, options.target, options.container, " ".join(words),
        terminal=os.environ.get("TERM", "dumb") if terminal else None,
    )  # fmt: skip
    with at_terminal(run) if terminal else run.with_input(0):
        return run.copy_to(sys.stdout.fileno(), sys.stderr.fileno())


def _scp_arguments(parser: argparse.ArgumentParser) -> None:
    _common(parser)
    parser.add_argument("words", nargs="*", metavar="SOURCE DESTINATION")


@command("scp", "Copies to or from a unit's container.", _scp_arguments)
def scp(options: argparse.Namespace, context: Context) -> None:
    """One of the two is UNIT:PATH; a folder is copied with what is in it."""
    # Flags of scp itself, such as -r and -C, change nothing: all is copied in any case.
    words = [word for word in options.words + options.after if not word.startswith("-")]
    if len(words) < 2:
        raise UsageError("source and destination are required")
    if len(words) > 2:
        raise UsageError("only one source and one destination are allowed for a k8s application")
    ends = [_end(word) for word in words]
    (unit, source), (other, destination) = ends
    if unit and other:
        raise UsageError("cross pods copy is not supported")
    if not unit and not other:
        raise UsageError("copy either from a pod or to a pod: name it as UNIT:PATH")
    if unit:
        _fetch(context, unit, options.container, source, Path(destination))
    else:
        _send(context, other, options.container, Path(source), destination)


def _end(word: str) -> tuple[str, str]:
    """(unit, path) of `unit:path`; a path of this machine has no unit."""
    unit, colon, path = word.partition(":")
    if not colon:
        return "", word
    if not unit or not path:
        raise UsageError("target must match format: [pod[/container]:]path")
    return unit, path


def _fetch(context: Context, unit: str, container: str, path: str, to: Path) -> None:
    remote = PurePosixPath(path)
    script = shlex.join(["tar", "-cf", "-", "-C", str(remote.parent), "--", remote.name])
    target = to / remote.name if to.is_dir() else to
    try:
        # Beside its place, so that it can be moved there however large it is.
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".scp-") as folder:
            _unpack(Remote(context, unit, container, script), path, Path(folder))
            got = Path(folder) / remote.name
            if got.is_dir():
                shutil.copytree(got, target, symlinks=True, dirs_exist_ok=True)
            else:
                shutil.move(got, target)
    except (OSError, shutil.Error) as error:
        raise EngineError(f"cannot write {target}: {error}") from None


def _unpack(run: Remote, path: str, folder: Path) -> None:
    """The program's own error comes first: what it printed is then no archive."""
    failure: Exception | None = None
    with run.output() as packed:
        try:
            with tarfile.open(fileobj=packed, mode="r|") as archive:
                archive.extractall(folder, filter="data")
        except (tarfile.TarError, OSError) as error:
            failure = error
    run.check()
    if failure:
        raise EngineError(f"cannot copy {path}: {failure}")


def _send(context: Context, unit: str, container: str, path: Path, to: str) -> None:
    if not path.exists():
        raise EngineError(f'"{path}" does not exist on local')
    test = Remote(context, unit, container, f"test -d {shlex.quote(to)}")
    target = PurePosixPath(to) / path.name if test.wait() == 0 else PurePosixPath(to)
    script = shlex.join(["tar", "--no-same-owner", "-xmf", "-", "-C", str(target.parent)])
    run = Remote(context, unit, container, script)
    try:
        with run.input() as packed, tarfile.open(fileobj=packed, mode="w|") as archive:
            archive.add(path, arcname=target.name)
    except BrokenPipeError:
        pass  # it has ended, and tells why
    except OSError as error:
        raise EngineError(f"cannot read {error.filename}: {error.strerror}") from None
    run.check()
