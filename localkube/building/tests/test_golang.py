"""Which Go builds the programs, and what a built one is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from localkube.building import golang


def test_a_machine_without_go_gets_one_from_pypi(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    program = golang.go()
    said = subprocess.run([program, "version"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("go version go1.26")


def test_a_program_is_static_and_says_where_it_panicked(tmp_path: Path):
    module, built = tmp_path / "module", tmp_path / "built"
    module.mkdir()
    built.mkdir()
    (module / "go.mod").write_text("module example.com/panics\n\ngo 1.25\n")
    (module / "main.go").write_text('package main\n\nfunc main() {\n\tpanic("here")\n}\n')
    golang.build(module, ["."], built, "panics")
    program = built / "panics"
    ended = subprocess.run([program], capture_output=True, text=True, check=False)
    assert "panic: here" in ended.stderr
    assert "example.com/panics/main.go:4" in ended.stderr
    assert b"ld-linux" not in program.read_bytes()  # the loader of what is not static


def test_the_user_s_own_settings_of_go_win(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GOFLAGS", "-p=7")
    monkeypatch.setenv("GOGC", "50")
    settings = golang.environment(golang.go())
    assert settings["GOGC"] == "50"
    assert settings["GOFLAGS"].endswith(" -p=7")  # Go takes the last of a flag
