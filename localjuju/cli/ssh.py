"""ssh and scp: programs in a unit's containers, by the engine's own exec and not by SSH."""

from __future__ import annotations

import argparse
import base64
import io
import os
import select
import shlex
import shutil
import stat
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from localjuju.cli.context import Context, UsageError
from localjuju.cli.registry import command
from localkube.host.errors import EngineError

_LARGEST = 64 << 20  # a request to the engine holds it all
_INPUT_SECONDS = 2.0


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--container", default="", help="the charm's unless given")
    for flag in ("--no-host-key-checks", "--remote", "--proxy"):
        parser.add_argument(flag, action="store_true", help="ignored: there is no SSH")


def _ssh_arguments(parser: argparse.ArgumentParser) -> None:
    _common(parser)
    parser.add_argument("--pty", help="ignored: there is no terminal")
    parser.add_argument("target", metavar="UNIT")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")


@command("ssh", "Runs a command in a unit's container.", _ssh_arguments, flags_first=True)
def ssh(options: argparse.Namespace, context: Context) -> int:
    """A shell reads the command, as on Juju; what it prints comes when it has ended."""
    words = options.words + options.after
    if not words:
        raise UsageError("name a command: a terminal is not supported by localjuju")
    result = _run(context, options.target, options.container, " ".join(words), _input())
    for stream, data in ((sys.stdout, result["stdout"]), (sys.stderr, result["stderr"])):
        stream.buffer.write(data)
        stream.flush()
    return result["code"]


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
    data = _checked(_run(context, unit, container, script))
    with tempfile.TemporaryDirectory() as folder:
        try:
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                archive.extractall(folder, filter="data")
        except (tarfile.TarError, OSError) as error:
            raise EngineError(f"cannot copy {path}: {error}") from None
        got = Path(folder) / remote.name
        target = to / remote.name if to.is_dir() else to
        try:
            if got.is_dir():
                shutil.copytree(got, target, symlinks=True, dirs_exist_ok=True)
            else:
                shutil.copyfile(got, target)
        except (OSError, shutil.Error) as error:
            raise EngineError(f"cannot write {target}: {error}") from None


def _send(context: Context, unit: str, container: str, path: Path, to: str) -> None:
    if not path.exists():
        raise EngineError(f'"{path}" does not exist on local')
    test = f"test -d {shlex.quote(to)}"
    inside = _run(context, unit, container, test)["code"] == 0
    target = PurePosixPath(to) / path.name if inside else PurePosixPath(to)
    packed = io.BytesIO()
    try:
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(path, arcname=target.name)
    except OSError as error:
        raise EngineError(f"cannot read {error.filename}: {error.strerror}") from None
    script = shlex.join(["tar", "--no-same-owner", "-xmf", "-", "-C", str(target.parent)])
    _checked(_run(context, unit, container, script, packed.getvalue()))


def _checked(result: dict[str, Any]) -> bytes:
    if result["code"]:
        lines = result["stderr"].decode(errors="replace").split("\n")
        raise EngineError(lines[0] or f"exit status {result['code']}")
    return result["stdout"]


def _run(
    context: Context, unit: str, container: str, script: str, data: bytes = b""
) -> dict[str, Any]:
    if len(data) > _LARGEST:
        raise EngineError(f"localjuju passes at most {_LARGEST >> 20} MiB at once")
    found = context.call(
        "exec_container", unit=unit, container=container, script=script,
        stdin=base64.b64encode(data).decode(),
    )  # fmt: skip
    streams = {name: base64.b64decode(found[name]) for name in ("stdout", "stderr")}
    return {"code": found["code"], **streams}


def _input() -> bytes:
    """What the caller passes on; nothing of a terminal or of a pipe in which nobody writes."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return b""
    if stat.S_ISCHR(mode):
        return b""
    # Whoever passes input has it ready; one who only left a pipe open must not be waited for.
    if not select.select([0], [], [], _INPUT_SECONDS)[0]:
        return b""
    return sys.stdin.buffer.read()
