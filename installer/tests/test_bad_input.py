"""What a user may get wrong, or a machine may lack: one line each, and an exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.pack import ROOT

UP = ("-m", "installer", "up", "--engine", "local")
_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def _refusal(
    *arguments: str, through: tuple[str, ...] = (), **environment: str
) -> tuple[int, str]:
    """Runs Python; returns the exit code and the only line that it may say."""
    result = subprocess.run(
        [*through, sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert result.stdout == ""
    return result.returncode, lines[0]


@pytest.mark.parametrize("option", ["--bundle", "--overlay"])
def test_up_with_a_wrong_path(option: str, state: Path):
    code, line = _refusal(*UP, option, str(state / "none.yaml"))
    assert code == 1
    assert line.startswith(f"ERROR no {option[2:]} at {state}/none.yaml")
    assert not list(state.iterdir())


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 4 MiB."""
    folder = tmp_path / "cache"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@_root
@pytest.mark.parametrize("command", [UP, ("-m", "localjuju.engine", "start")])
def test_no_disk(command: tuple[str, ...], full_disk: Path):
    code, line = _refusal(*command, CHARMED_MLOPS_CACHE=str(full_disk))
    assert code == 1
    assert line.startswith("ERROR ")
    assert str(full_disk) in line
    assert "CHARMED_MLOPS_CACHE" in line


def _limited(who: tuple[str, ...], *kinds: str) -> tuple[str, ...]:
    """A user namespace of its own in which no further namespace of these kinds may be made."""
    lower = "".join(f"echo 0 >/proc/sys/user/max_{kind}_namespaces && " for kind in kinds)
    through = ("unshare", "--user", *who, "sh", "-c", f'{lower}exec "$0" "$@"')
    tried = subprocess.run([*through, "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"this machine does not let the limit be lowered: {tried.stderr.strip()}")
    return through


@pytest.mark.parametrize(
    ("who", "kind"),
    [(("--map-root-user",), "mnt"), (("--map-user=1000", "--keep-caps"), "user")],
    ids=["root", "user"],
)
@pytest.mark.parametrize("command", ["inner", "up"])
def test_refused_namespaces(who: tuple[str, ...], kind: str, command: str, state: Path):
    inner = ("-m", "localjuju.engine", "inner", *[str(state)] * 3)
    through = _limited(who, kind)
    code, line = _refusal(*(inner if command == "inner" else UP), through=through)
    assert code == 1
    assert "this kernel refuses namespaces" in line
    assert f"sysctl -w user.max_{kind}_namespaces=" in line
