"""What a user may get wrong, or a machine may lack: one line each, and an exit code."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer import __main__ as commands
from installer import open_application
from installer.pack import ROOT
from installer.tests import limited
from localkube.tests import plain

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
def full_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on a file system of 4 MiB."""
    folder = tmp_path_factory.mktemp("cache")  # a short path, which an engine needs
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


@_root
@pytest.mark.parametrize("command", ["inner", "up"])
def test_refused_namespaces(command: str, state: Path):
    inner = ("-m", "localjuju.engine", "inner", "--parent", "PARENT", str(state))
    code, line = _refusal(*(inner if command == "inner" else UP), through=limited.command("mnt"))
    assert code == 1
    assert "this kernel refuses namespaces" in line
    assert "sysctl -w user.max_mnt_namespaces=" in line


@_root
def test_a_plain_user_whom_the_kernel_refuses_a_namespace():
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, plain.ID, plain.ID)
        through = (*limited.command("user"), *plain.command())
        code, line = _refusal(*UP, through=through, CHARMED_MLOPS_STATE=f"{folder}/state")
    assert code == 1
    assert "this kernel refuses namespaces" in line
    assert "sysctl -w user.max_user_namespaces=" in line


def test_a_wrong_model_name_is_refused_before_anything_is_kept(state: Path):
    code, line = _refusal(*UP, "--model", "Bad Model")
    assert code == 1
    assert line.startswith("ERROR model name 'Bad Model': lower-case letters")
    assert not list(state.iterdir())


def test_a_port_that_is_none_is_refused(state: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        open_application.main(["mlflow", "--port", "99999"])
    assert ended.value.code == 2
    assert "99999 is not a port" in capsys.readouterr().err


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path):
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m installer help | head -1; true"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.stdout.startswith("usage")
    assert done.stderr == ""


def test_what_nobody_thought_of_is_one_line_with_the_details_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def broken(_: list[str]) -> int:
        raise KeyError("sandbox")

    monkeypatch.setattr("installer.status.main", broken)
    assert commands.main(["status"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ERROR KeyError: 'sandbox'; this is a mistake of ours")
    details = Path(line.rpartition(" ")[2])
    assert "in broken" in details.read_text()
    details.unlink()
