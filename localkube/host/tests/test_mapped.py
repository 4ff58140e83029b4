"""Which ids a plain user has, and what is done with them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from localkube.host import mapped
from localkube.host.errors import EngineError
from localkube.tests import plain

_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="becomes a plain user")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """What stands for /etc/subuid and /etc/subgid; this process's user is root."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path / "subuid", tmp_path / "subgid"


def test_the_first_range_that_is_long_enough_counts(files: tuple[Path, Path]):
    files[0].write_text("other:5:65536\nroot:100:1000\nroot:200000:65536\nroot:900000:65536\n")
    files[1].write_text("# a comment\n\n0:300000:70000\n")
    assert mapped.ranges(files) == [200000, 300000]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "other:100000:65536",
        "root:100000:65535",
        "root",
        "root:100000",
        "root:100000:",
        "root::65536",
        "root:x:65536",
        "root:100000:65536:1",
    ],
)
def test_what_is_no_range_of_this_user_names_the_fix(files: tuple[Path, Path], text: str):
    files[0].write_text("root:100000:65536\n")
    files[1].write_text(f"{text}\n")
    with pytest.raises(EngineError, match=rf"for root in {files[1]}: .*usermod --add-subuids"):
        mapped.ranges(files)


def test_a_system_that_sets_no_ids_aside_names_the_fix(files: tuple[Path, Path]):
    with pytest.raises(EngineError, match=rf"for root in {files[0]}: .*usermod --add-subuids"):
        mapped.ranges(files)


@_ROOT
@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("os.getpid()", ""),
        ("os.getuid() and 1 / 0", ""),
        ("os.kill(os.getpid(), signal.SIGKILL)", "the process in a user namespace ended with -9"),
        ("1 / 0", "the process in a user namespace ended with 1"),
        ("os.stat('/none')", "[Errno 2] No such file or directory: '/none'"),
        ("refuse()", "of a name that is no text: \\udcff"),
    ],
)
def test_what_is_called_in_a_namespace_has_not_failed_unheard(function: str, said: str):
    code = (
        "import os, signal\n"
        "from localkube.host import mapped\n"
        "from localkube.host.errors import EngineError\n"
        "def refuse():\n"
        "    raise EngineError('of a name that is no text: \\udcff')\n"
        "try:\n"
        f"    mapped.run(lambda: {function})\n"
        "except EngineError as error:\n"
        "    print(str(error).encode(errors='backslashreplace').decode(), end='')\n"
    )
    done = subprocess.run(
        [*plain.command(), sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == said


@_ROOT
def test_what_newuidmap_says_is_told():
    with tempfile.TemporaryDirectory() as folder:
        for name in ("newuidmap", "newgidmap"):
            program = Path(folder, name)
            program.write_text(f"#!/bin/sh\necho {name}: not allowed >&2\nexit 1\n")
            program.chmod(0o755)
        Path(folder).chmod(0o755)
        code = "from localkube.host import mapped; mapped.enter()"
        done = subprocess.run(
            [*plain.command("--no-uidmap"), sys.executable, "-c", code],
            env={**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.stderr.splitlines()[-1] == (
        "localkube.host.errors.EngineError: newuidmap: not allowed: run as root, or once as root: "
        "apt-get install --reinstall uidmap"
    )
