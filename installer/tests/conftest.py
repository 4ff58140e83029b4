"""A project of one small charm, and a cache of its own for each test that asks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.pack import ROOT
from localkube.host import ownership, paths

_PROGRAMS = sorted(paths.cache().glob("builds/kubernetes-*"))

CHARM = """\
name: demo
title: Demo
summary: Says hello
description: A charm to pack.
containers:
  web:
    resource: oci-image
resources:
  oci-image:
    type: oci-image
    upstream-source: docker.io/library/demo:1
links:
  documentation: https://example.com/docs
  contact: Someone
config:
  options:
    greeting:
      type: string
      default: hello
actions:
  greet:
    description: Greets.
    additionalProperties: false
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project folder with one charm, and this project's own shared files."""
    root = tmp_path / "project"
    (root / "charms/demo/src").mkdir(parents=True)
    (root / "charms/demo/tests").mkdir()
    (root / "charms/demo/charmcraft.yaml").write_text(CHARM)
    (root / "charms/demo/README.md").write_text("# Demo\n")
    (root / "charms/demo/src/charm.py").write_text(
        "#!/usr/bin/env python3\nimport sys\n\nimport helper\nimport ops\n\n"
        "print(helper.__name__, ops.__version__, sys.version_info[:2])\n"
    )
    (root / "lib/helper/tests").mkdir(parents=True)
    (root / "lib/helper/__init__.py").write_text("")
    (root / "lib/helper/tests/test_helper.py").write_text("")
    (root / "installer").mkdir()
    for name in ("charmcraft.yaml", "pyproject.toml", "uv.lock", "LICENSE", "installer/dispatch"):
        shutil.copy2(ROOT / name, root / name)
    return root


@pytest.fixture
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for an engine's state, of this test's own and empty; no engine runs there."""
    folder = tmp_path_factory.mktemp("state")  # a short path, which an engine needs
    monkeypatch.setenv("CHARMED_MLOPS_STATE", str(folder))
    return folder


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state folder of a running control plane."""
    if os.geteuid() != 0:
        pytest.skip("the engine without pods needs root")
    if not _PROGRAMS:
        pytest.skip("Kubernetes is not built yet: ./mlops up builds it")
    state = tmp_path_factory.mktemp("state")
    ownership.mark(state)
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("engine_without_pods.py"), _PROGRAMS[-1], state],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
    )
    deadline = time.monotonic() + 90
    while not (state / "ready").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield state
    process.communicate(timeout=60)
