"""The hook commands that a unit finds in its pod."""

from __future__ import annotations

import subprocess
from pathlib import Path

import localjuju.agent.commands as commands
from localjuju.inpod.tests.program import build


def test_every_hook_command_that_the_agent_knows_is_there(tmp_path: Path):
    program = build(tmp_path / "containeragent")
    data, programs = tmp_path / "data", tmp_path / "bin"
    programs.mkdir()
    for _ in range(2):  # an init container may run again
        subprocess.run([program, "init", "--data-dir", data, "--bin-dir", programs], check=True)
    found = {path.name: path.resolve() for path in (data / "tools").iterdir()}
    assert set(found) == {*commands.COMMANDS, *commands.REFUSED}
    assert set(found.values()) == {programs / "containeragent"}
    # kubelet mounts this one file, and no link that leads out of its volume.
    assert not (programs / "pebble").is_symlink()
    assert (programs / "pebble").samefile(programs / "containeragent")
