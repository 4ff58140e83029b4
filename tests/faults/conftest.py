"""The engine of these tests, and the undisturbed run that the others are compared with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from reach import EngineReach
from steps import BUNDLE, Run, Scenario

from localkube.host import paths

ROOT = Path(__file__).parents[2]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--seeds` and `--first-seed`."""
    parser.addoption("--seeds", type=int, default=3, help="how many seeds; default: 3")
    parser.addoption("--first-seed", type=int, default=0, help="the first of them; default: 0")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes a seed runs once with each."""
    if "seed" in metafunc.fixturenames:
        first: int = metafunc.config.option.first_seed
        count: int = metafunc.config.option.seeds
        metafunc.parametrize("seed", range(first, first + count))


@pytest.fixture(scope="session")
def engine() -> Iterator[EngineReach]:
    """An engine with a state folder of its own; it does not run."""
    changed = {
        "CHARMED_MLOPS_STATE": str(paths.cache() / "faults-engine"),
        "PATH": f"{ROOT / 'localjuju' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changed.items():
            patch.setenv(name, value)
        engine = EngineReach()
        engine.erase()
        applications = yaml.safe_load(BUNDLE.read_text())["applications"].values()
        charms = [Path(one["charm"]).stem for one in applications]
        subprocess.run([sys.executable, "-m", "installer", "pack", *charms], cwd=ROOT, check=True)
        images = [image for one in applications for image in one["resources"].values()]
        subprocess.run([sys.executable, "-m", "localjuju.images", "ensure", *images], check=True)
        yield engine
        engine.erase()


@pytest.fixture(scope="session")
def undisturbed(engine: EngineReach) -> Run:
    """The run in which nothing is killed."""
    engine.start()
    try:
        run = Scenario(engine).play()
        assert not run.differences, run.differences
        return run
    finally:
        engine.erase()
