"""The same tests on the local engine and, with `--juju`, on the Juju controller in use."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import httpx2
import jubilant
import pytest
from browsers import NewClient, browsers, login, settle
from bundles import write_bundle
from models import lasting_model
from people import Account, Accounts, add_accounts, gone, profile
from reach import ClusterReach, EngineReach, Reach, cluster_objects
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from installer import target
from installer.images import uses
from localjuju.images import Catalogue

ROOT = Path(__file__).parents[2]
_TOGETHER = {
    "rights": ("models_page", "pipelines", "tuning", "roles"),
    "end": ("under_load", "whole_bundle"),
}
"""The files that one worker runs, one after the other; any other file goes to whoever is free.
`roles` looks at the rights that the rest of its group use, on their engine. `under_load` and
`whole_bundle` take all processors, and the latter ends the shared model. A run by one process has
these groups last."""
_ROOM = 12 << 30
"""Bytes of memory that two engines with the whole bundle, and builds beside them, have room in."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--juju` and `--packed`."""
    parser.addoption(
        "--juju", action="store_true", help="use the juju on PATH and its current controller"
    )
    parser.addoption("--packed", action="store_true", help="use the charms in build/ as they are")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """By `-n auto`: two, each with an engine and a bundle of its own, as tests wait half the time.

    This process runs all where there is one cluster for all, or where one engine has enough to do.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    alone = config.getoption("--juju") or memory < _ROOM or (os.cpu_count() or 1) < 2
    return 0 if alone else 2


def _group(nodeid: str) -> str:
    """The group of a test's file, or the file's own name."""
    name = Path(nodeid.partition("::")[0]).stem.removeprefix("test_")
    return next((group for group, files in _TOGETHER.items() if name in files), name)


class _Groups(LoadScopeScheduling):
    """Gives a free worker the next file or group, in the order in which one process has them."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Groups:
    """Which worker runs which test, whatever `--dist` says."""
    config.option.loadscopereorder = False  # those with the most tests need not come first
    return _Groups(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """Registers the markers of tests that only the local engine can run, and of the last ones."""
    config.addinivalue_line("markers", "localjuju: needs the local engine (kills it, or looks in)")
    config.addinivalue_line("markers", "last: after all others; the shared model may go with it")
    config.addinivalue_line("markers", "load: takes the whole machine for long; tox -e load")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the engine's own tests on a real Juju; those of the shared model come last.

    So the others do not have it beside their own, and those that kill the engine do not touch it.
    Before them come those that need no more images than the core has: the rest is made meanwhile.
    """
    order = {group: number for number, group in enumerate(_TOGETHER, 1)}
    if "PYTEST_XDIST_WORKER" in os.environ:
        # the group that takes longest begins as soon as it can, so that both end at one time
        order = {"rights": 1, "end": 3}
    items.sort(
        key=lambda item: (
            order.get(_group(item.nodeid), 2 if _waits_for_images(item) else 0),
            item.get_closest_marker("last") is not None,
            takes(item, "shared_model"),
            takes(item, "all_images"),
        )
    )
    if config.getoption("--juju"):
        skip = pytest.mark.skip(reason="needs the local engine")
        for item in items:
            if "localjuju" in item.keywords:
                item.add_marker(skip)


def _waits_for_images(item: pytest.Item) -> bool:
    """Whether one of two workers gives it away after those that need few images."""
    return "PYTEST_XDIST_WORKER" in os.environ and takes(item, "all_images")


def takes(item: pytest.Item, fixture: str) -> bool:
    """Whether a test takes a fixture, by way of others too."""
    return fixture in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session")
def charms(request: pytest.FixtureRequest) -> Path:
    """The folder with every charm packed, by the packer that the user has."""
    if not request.config.getoption("--packed"):
        full = ["--full"] if request.config.getoption("--juju") else []
        subprocess.run([sys.executable, "-m", "installer", "pack", *full], cwd=ROOT, check=True)
    return ROOT / "build"


@pytest.fixture(scope="session", autouse=True)
def reach(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reach]:
    """How tests reach the cluster; starts the local engine with a state folder of its own.

    Each of two workers has one. What a run leaves takes some 8 GB: it stays where a test failed.
    """
    if request.config.getoption("--juju"):
        yield from juju_s_cluster(tmp_path_factory)
        return
    from localkube.host import paths

    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    state = paths.cache() / ("integration-engine" + ("" if worker == "gw0" else f"-{worker}"))
    changed = {
        "CHARMED_MLOPS_STATE": str(state),
        "LOCALJUJU_AUDIT": "1",
        "PATH": f"{ROOT / 'localjuju' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    engine = EngineReach()
    engine.erase()
    engine.prepare(core_images())
    engine.start()
    wanted = any(takes(item, "all_images") for item in request.session.items)
    others = engine.preparing(tmp_path_factory.mktemp("images")) if wanted else nullcontext()
    try:
        with others:
            yield engine
    finally:
        engine.stop()
        if not request.session.testsfailed:
            engine.erase()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def core_images() -> set[str]:
    """The catalogue's images that core.yaml names or that Juju adds to each pod."""
    named = {use.reference for use in uses(ROOT / "bundle" / "core.yaml")}
    return {
        reference
        for reference in Catalogue.load().references()
        if reference in named or reference.startswith("docker.io/jujusolutions/")
    }


def juju_s_cluster(folders: pytest.TempPathFactory) -> Iterator[Reach]:
    """That of the `juju` on PATH; or the engine's, where `./mlops up --juju` made a controller.

    `juju` reaches that one from the engine's network only, as `./mlops juju` does.
    """
    if target.current().engine != target.ON_ENGINE:
        yield ClusterReach()
        return
    program = folders.mktemp("bin") / "juju"
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m installer juju "$@"\n'
    )
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(program.parent), prepend=os.pathsep)
        yield EngineReach()


@pytest.fixture(scope="session")
def all_images(reach: Reach) -> None:
    """Every image is made; who takes this waits for those that core.yaml does not name."""
    reach.prepared()


@pytest.fixture(scope="session")
def cluster_before(reach: Reach) -> set[str]:
    """What the cluster had outside of namespaces before the shared model was made."""
    return cluster_objects(reach)


@pytest.fixture(scope="session")
def shared_model(
    request: pytest.FixtureRequest, _model_prefix: str, cluster_before: set[str]
) -> Iterator[jubilant.Juju]:
    """One model for every file that takes `stack` from here; its name is not `kubeflow`.

    On the local engine it goes with the engine, which is quicker.
    """
    real = bool(request.config.getoption("--juju"))
    with lasting_model(request.config, _model_prefix, "stack", teardown=real) as model:
        yield model


@pytest.fixture(scope="session")
def whole_bundle(charms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole bundle with the first training API, of the packed charms."""
    return write_bundle(charms, tmp_path_factory.mktemp("bundle"), ["training-v1"])


@contextmanager
def turn(folders: pytest.TempPathFactory) -> Iterator[None]:
    """Has the workers go one after the other.

    Two deployments of the whole bundle at once took 13 minutes on two cores, one took 3: programs
    that answer late fail their checks, and each failure is another hook.
    """
    # the parent is the workers' common folder
    with (folders.getbasetemp().parent / "turn.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def stack(
    all_images: None,
    shared_model: jubilant.Juju,
    whole_bundle: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> jubilant.Juju:
    """The whole bundle, deployed once and settled.

    Who changes it changes it back.
    """
    with turn(tmp_path_factory):
        shared_model.deploy(whole_bundle, trust=True)
        settle(shared_model, timeout=1800)
    return shared_model


@pytest.fixture(scope="session")
def new_client(stack: jubilant.Juju, reach: Reach) -> Iterator[NewClient]:
    """Makes browsers without a screen, which trust only the gateway's CA."""
    with browsers(stack, reach) as make:
        yield make


@pytest.fixture(scope="session")
def accounts(stack: jubilant.Juju) -> Accounts:
    """Ann's and Bob's."""
    return add_accounts(stack)


def _logged_in(new_client: NewClient, account: Account) -> httpx2.Client:
    client = new_client()
    answer = login(client, account.email, account.password, "/mlflow/")
    assert answer.status_code == 200, answer.text
    return client


@pytest.fixture(scope="session")
def ann(new_client: NewClient, accounts: Accounts) -> httpx2.Client:
    """A browser in which Ann is logged in."""
    return _logged_in(new_client, accounts.ann)


@pytest.fixture(scope="session")
def bob(new_client: NewClient, accounts: Accounts) -> httpx2.Client:
    """A browser in which Bob is logged in."""
    return _logged_in(new_client, accounts.bob)


@pytest.fixture(scope="session")
def leaving(stack: jubilant.Juju, reach: Reach) -> Iterator[list[str]]:
    """Namespaces of profiles that were deleted; in the end all have gone."""
    del stack  # which removes them
    names: list[str] = []
    yield names
    gone(reach, names)


@pytest.fixture(scope="module")
def team(
    stack: jubilant.Juju, reach: Reach, accounts: Accounts, leaving: list[str]
) -> Iterator[str]:
    """Ann's namespace, one for each file."""
    with profile(stack, reach, accounts.ann.email, leaving) as name:
        yield name


@pytest.fixture(scope="module")
def other(
    stack: jubilant.Juju, reach: Reach, accounts: Accounts, leaving: list[str]
) -> Iterator[str]:
    """Bob's namespace, one for each file."""
    with profile(stack, reach, accounts.bob.email, leaving) as name:
        yield name
