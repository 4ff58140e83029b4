"""The hook commands that a unit finds in its pod."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import localjuju.agent.commands as commands

_MODULE = Path(__file__).parents[2] / "inpod"


def test_every_hook_command_that_the_agent_knows_is_there(tmp_path: Path):
    program = tmp_path / "containeragent"
    subprocess.run(
        ["go", "build", "-o", program, "."],
        cwd=_MODULE,
        check=True,
        env={**os.environ, "CGO_ENABLED": "0"},
    )
    data, programs = tmp_path / "data", tmp_path / "bin"
    programs.mkdir()
    for _ in range(2):  # an init container may run again
        subprocess.run([program, "init", "--data-dir", data, "--bin-dir", programs], check=True)
    found = {path.name: path.resolve() for path in (data / "tools").iterdir()}
    assert {*commands.COMMANDS, *commands.REFUSED} <= set(found)
    assert set(found.values()) == {programs / "containeragent"}
    assert (programs / "pebble").resolve() == programs / "containeragent"
