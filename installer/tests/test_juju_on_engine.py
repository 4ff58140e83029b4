"""A `juju` without a controller gets one on the engine's Kubernetes, and knows it no more after.

The client is a stand-in that needs the cluster, but starts no controller: see `juju_client.py`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer import juju_on_engine, status, target
from installer.down import main as down
from installer.pack import ROOT
from installer.target import Target
from localjuju.engine import lifecycle
from localjuju.engine.choices import Choices
from localkube.controlplane.programs import ensure_programs
from localkube.host.errors import EngineError
from localkube.host.progress import Progress

CHOSEN = Target("localkube", "mlops")


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `juju` on the PATH that knows nothing yet; the folder of what it knows."""
    program, data = tmp_path / "bin" / "juju", tmp_path / "juju-data"
    program.parent.mkdir()
    data.mkdir()
    shutil.copy2(Path(__file__).with_name("juju_client.py"), program)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("JUJU_DATA", str(data))
    return data


@pytest.fixture
def engine(state: Path, client: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The state folder of an engine whose cluster is for a real Juju."""
    monkeypatch.setenv("KUBECTL", str(ensure_programs(Progress()) / "kubectl"))
    start("--juju")
    yield state
    lifecycle.stop()


def start(*options: str) -> None:
    """Starts an engine that ends with these tests."""
    run("localjuju.engine", "start", f"--owner-pid={os.getpid()}", *options)


def mlops(*arguments: str) -> str:
    """What a command of `./mlops` prints."""
    return run("installer", *arguments)


def run(module: str, *arguments: str) -> str:
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


@pytest.mark.localkube
def test_a_controller_is_made_once_used_from_the_engine_s_network_and_forgotten(
    engine: Path, client: Path, capsys: pytest.CaptureFixture[str]
):
    CHOSEN.remember()
    with pytest.raises(EngineError, match="juju bootstrap: no agent binaries"):
        juju_on_engine.bootstrap(CHOSEN, ["--agent-version=0.0.0"], Progress())
    for _ in range(2):
        juju_on_engine.bootstrap(CHOSEN, [], Progress())
    assert '"short-name": "controller"' in mlops("juju", "models", "--format", "json")
    assert "controller-localkube" in mlops("kubectl", "get", "namespaces", "-o", "name")
    assert "Juju: controller localkube, on this engine's Kubernetes" in mlops("status")
    assert not (engine / "model.db").exists()
    with pytest.raises(EngineError, match="the engine has a real Juju: "):
        lifecycle.start(asked=Choices(juju=False))

    lifecycle.stop()
    with pytest.raises(EngineError, match="the engine has a real Juju: "):
        lifecycle.start(owner=os.getpid(), asked=Choices(juju=False))
    start()
    assert "controller-localkube" in mlops("kubectl", "get", "namespaces", "-o", "name")

    assert down([]) == 0
    said = capsys.readouterr().out
    assert "removed: controller localkube" in said
    assert "removed: cloud localkube" in said
    assert target.known_controllers() == set()
    assert not engine.exists()


def test_a_controller_of_that_name_that_is_another_s_is_left_alone(state: Path, client: Path):
    (client / "controllers").write_text('{"localkube": {}}')
    with pytest.raises(EngineError, match="juju unregister localkube"):
        juju_on_engine.bootstrap(CHOSEN, [], Progress())


def test_juju_s_images_are_asked_for_before_anything_is_started(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LOCALJUJU_IMAGES", raising=False)
    with pytest.raises(EngineError, match=r"jujud-operator.*LOCALJUJU_MIRRORS"):
        juju_on_engine.require_images(Choices(images="catalogue"))


def test_status_of_a_controller_on_the_engine_needs_the_engine(
    state: Path, capsys: pytest.CaptureFixture[str]
):
    CHOSEN.remember()
    assert status.main([]) == 1
    assert "no engine runs here" in capsys.readouterr().out
