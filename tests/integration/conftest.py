"""The same tests on the local engine and, with `--juju`, on the Juju controller in use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from reach import ClusterReach, EngineReach, Reach

ROOT = Path(__file__).parents[2]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--juju` and `--packed`."""
    parser.addoption(
        "--juju", action="store_true", help="use the juju on PATH and its current controller"
    )
    parser.addoption("--packed", action="store_true", help="use the charms in build/ as they are")


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker of tests that only the local engine can run."""
    config.addinivalue_line("markers", "localjuju: needs the local engine (kills it, or looks in)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the engine's own tests on a real Juju."""
    if config.getoption("--juju"):
        skip = pytest.mark.skip(reason="needs the local engine")
        for item in items:
            if "localjuju" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def charms(request: pytest.FixtureRequest) -> Path:
    """The folder with every charm packed, by the packer that the user has."""
    if not request.config.getoption("--packed"):
        full = ["--full"] if request.config.getoption("--juju") else []
        subprocess.run([sys.executable, "-m", "installer", "pack", *full], cwd=ROOT, check=True)
    return ROOT / "build"


@pytest.fixture(scope="session", autouse=True)
def reach(request: pytest.FixtureRequest) -> Iterator[Reach]:
    """How tests reach the cluster; starts the local engine with a state folder of its own."""
    if request.config.getoption("--juju"):
        yield ClusterReach()
        return
    from localjuju import paths

    state = paths.cache() / "integration-engine"
    changed = {
        "CHARMED_MLOPS_STATE": str(state),
        "PATH": f"{ROOT / 'localjuju' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    engine = EngineReach()
    engine.erase()
    engine.prepare()
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
