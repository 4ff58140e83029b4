"""What the packer makes: the tree, the same bytes each time, and one clear line for bad input."""

from __future__ import annotations

import fcntl
import os
import subprocess
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
import yaml

from installer import charm_python
from installer.pack import ROOT, lock_of_charms, merge, pack
from localjuju import pythons
from localkube.host.errors import EngineError
from localkube.host.progress import Progress


def _unpack(charm: Path, folder: Path) -> Path:
    with zipfile.ZipFile(charm) as archive:
        for entry in archive.infolist():
            Path(archive.extract(entry, folder)).chmod((entry.external_attr >> 16) & 0o777)
    return folder


def test_packed_charm_holds_what_juju_reads(project: Path):
    [charm] = pack(["demo"], root=project, architecture="amd64")
    with zipfile.ZipFile(charm) as archive:
        names = archive.namelist()
        metadata = yaml.safe_load(archive.read("metadata.yaml"))
        manifest = yaml.safe_load(archive.read("manifest.yaml"))
        config = yaml.safe_load(archive.read("config.yaml"))
        actions = yaml.safe_load(archive.read("actions.yaml"))
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in archive.filelist}
    assert names == sorted(
        [
            "LICENSE", "README.md", "actions.yaml", "config.yaml", "dispatch",
            "lib/helper/__init__.py", "manifest.yaml", "metadata.yaml", "src/charm.py",
            "venv/.shared",
        ]
    )  # fmt: skip
    assert metadata["name"] == "demo"
    assert metadata["display-name"] == "Demo"
    assert metadata["docs"] == "https://example.com/docs"
    assert metadata["maintainers"] == ["Someone"]
    assert metadata["assumes"] == [
        "juju >= 3.6.9",
        {
            "any-of": [
                "juju < 3.6.11",
                {"all-of": ["juju >= 3.6.13", "juju < 4.0"]},
                "juju >= 4.0.14",
            ]
        },
        "k8s-api >= 1.30",
    ]
    assert not {"parts", "platforms", "base", "links", "type", "config"} & set(metadata)
    assert manifest["bases"] == [
        {"name": "ubuntu", "channel": "24.04", "architectures": ["amd64"]}
    ]
    assert config == {"options": {"greeting": {"type": "string", "default": "hello"}}}
    assert set(actions) == {"greet"}
    assert {name for name, mode in modes.items() if mode & 0o111} == {"dispatch", "src/charm.py"}


def test_same_input_gives_the_same_bytes_and_leaves_the_file_alone(project: Path):
    [charm] = pack(root=project)
    data, before = charm.read_bytes(), charm.stat().st_mtime_ns
    (project / "charms/demo/src/charm.py").touch()
    pack(root=project)
    assert charm.stat().st_mtime_ns == before
    charm.unlink()
    pack(root=project)
    assert charm.read_bytes() == data


def test_a_change_is_packed_and_what_is_gone_leaves_the_staged_folder(project: Path):
    extra = project / "charms/demo/src/manifests/crd.yaml.j2"
    extra.parent.mkdir()
    extra.write_text("kind: A\n")
    [charm] = pack(root=project)
    assert (project / "build/demo/src/manifests/crd.yaml.j2").exists()
    extra.unlink()
    pack(root=project)
    assert not (project / "build/demo/src/manifests").exists()
    assert "src/manifests/crd.yaml.j2" not in zipfile.ZipFile(charm).namelist()


def test_one_packer_at_a_time_is_at_work_on_a_folder(project: Path):
    build = project / "build"
    build.mkdir()
    other = os.open(build, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with ThreadPoolExecutor(1) as pool:
        packed = pool.submit(pack, root=project)
        _, waiting = wait([packed], timeout=0.5)
        assert waiting
        assert not list(build.iterdir())
        os.close(other)
        assert [charm.name for charm in packed.result(timeout=30)] == ["demo.charm"]


@pytest.mark.parametrize("full", [False, True])
def test_dispatch_finds_the_packages(project: Path, tmp_path: Path, full: bool):
    python = pythons.find()
    if full and python.version != pythons.VERSION:
        pytest.skip(f"needs python{pythons.VERSION}")
    [charm] = pack(root=project, full=full)
    folder = _unpack(charm, tmp_path / "charm")
    assert (folder / "venv/.shared").exists() is not full
    result = subprocess.run(
        [str(folder / "dispatch")],
        cwd="/",
        env={"PATH": f"{python.program.parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith("helper 3.")
    assert str(tuple(int(part) for part in python.version.split("."))) in result.stdout


def test_staged_lock_pins_what_ours_pins(project: Path):
    pack(root=project)
    staged = project / "build/demo"
    exported = subprocess.run(
        [charm_python.uv(), "export", "--frozen", "--no-dev", "--no-emit-project", "--no-header",
         "--no-annotate", "--quiet"],
        cwd=staged, env={**os.environ, "UV_OFFLINE": "1"}, capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip
    assert exported == charm_python.requirements()
    assert "ops==" in exported
    assert "aiohttp" not in exported


def test_lock_without_the_group_is_refused():
    with pytest.raises(EngineError, match=r"uv\.lock: no dependency group charm"):
        lock_of_charms('[[package]]\nname = "charmed-mlops"\n\n[[package]]\nname = "x"\n')


def test_shared_environment_is_made_once():
    first = charm_python.shared(Progress())
    assert charm_python.shared(Progress()) == first
    assert list(first.glob("lib/python3.*/site-packages/ops/__pycache__/*.pyc"))


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("charms/demo/charmcraft.yaml", "name: demo\nsummary: s\n", "description is missing"),
        ("charms/demo/charmcraft.yaml", "name: [", r"charmcraft\.yaml: line"),
        ("charms/demo/charmcraft.yaml", "- a\n", "not a mapping"),
        (
            "charms/demo/charmcraft.yaml",
            "name: other\nsummary: s\ndescription: d\n",
            "name is other, the folder says demo",
        ),
        (
            "charms/demo/charmcraft.yaml",
            "name: demo\nsummary: s\ndescription: d\ncontainers: {web: {resource: gone}}\n",
            "container web names no resource: gone",
        ),
    ],
)
def test_bad_project_file_is_one_line(project: Path, file: str, text: str, said: str):
    (project / file).write_text(text)
    with pytest.raises(EngineError, match=said) as caught:
        pack(root=project)
    assert "\n" not in str(caught.value)


def test_missing_charm_py(project: Path):
    (project / "charms/demo/src/charm.py").unlink()
    with pytest.raises(EngineError, match=r"charms/demo/src/charm\.py is missing"):
        pack(root=project)


def test_unknown_name_lists_the_known(project: Path):
    with pytest.raises(EngineError, match="no charm gone in charms/: there are demo"):
        pack(["gone"], root=project)


@pytest.mark.parametrize(
    "name", sorted(file.parent.name for file in ROOT.glob("charms/*/charmcraft.yaml"))
)
def test_every_charm_of_ours_says_only_its_own(name: str):
    own = yaml.safe_load((ROOT / "charms" / name / "charmcraft.yaml").read_text())
    shared = yaml.safe_load((ROOT / "charmcraft.yaml").read_text())
    assert not set(own) & {"type", "base", "platforms"}, "belongs to charmcraft.yaml"
    assert merge(ROOT, name)["base"] == shared["base"]
    assert merge(ROOT, name)["assumes"] == [*shared["assumes"], *own.get("assumes", [])]


@pytest.mark.parametrize("name", ["knative-serving", "knative-controller", "kourier"])
def test_knatives_programs_need_a_newer_kubernetes(name: str):
    assert merge(ROOT, name)["assumes"][-1] == "k8s-api >= 1.33"


@pytest.fixture
def dispatch(project: Path, tmp_path: Path) -> Callable[..., str]:
    """Runs the packed charm's dispatch for an event, of another unit or a check; its output.

    The hook tool `status-get` says the given status of the unit.
    """
    [charm] = pack(root=project)
    folder = _unpack(charm, tmp_path / "charm")

    tool = tmp_path / "tools" / "status-get"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\necho "$STATUS"\n')
    tool.chmod(0o755)

    def run(
        event: str, unit: str = "", own: str = "demo/0", check: str = "", status: str = "active"
    ) -> str:
        path = f"{tool.parent}:{pythons.find().program.parent}:/usr/bin:/bin"
        place = event if event.startswith("actions/") else f"hooks/{event}"
        return subprocess.run(
            [str(folder / "dispatch")],
            cwd="/",
            env={
                "PATH": path,
                "JUJU_DISPATCH_PATH": place,
                "JUJU_REMOTE_UNIT": unit,
                "JUJU_UNIT_NAME": own,
                "JUJU_PEBBLE_CHECK_NAME": check,
                "STATUS": status,
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    return run


def test_a_unit_beside_others_runs_all_until_start(dispatch: Callable[..., str]):
    for event in ("install", "peers-relation-created", "config-changed", "start"):
        assert dispatch(event, own="demo/1"), event


def test_until_start_only_what_no_later_event_does_is_run(dispatch: Callable[..., str]):
    skipped = ["install", "peers-relation-created", "leader-elected", "config-changed",
               "data-storage-attached"]  # fmt: skip
    assert [event for event in skipped if dispatch(event)] == []
    assert dispatch("demo-pebble-ready")
    assert dispatch("actions/show")
    assert dispatch("start")
    assert [event for event in skipped[1:] if not dispatch(event)] == []


def test_a_relation_s_joined_is_left_to_the_changed_that_follows(dispatch: Callable[..., str]):
    assert not dispatch("database-relation-joined")
    assert dispatch("database-relation-changed")


def test_what_ends_with_its_pod_needs_no_stop(dispatch: Callable[..., str]):
    assert not dispatch("stop")
    assert dispatch("remove")


def test_a_check_that_only_keeps_traffic_away_tells_nothing(dispatch: Callable[..., str]):
    for check in ("demo-aside", "demo-leaving"):
        assert not dispatch("demo-pebble-check-failed", check=check)
    assert dispatch("demo-pebble-check-failed", check="demo")
    assert dispatch("demo-pebble-check-recovered", check="demo-start")


def test_a_unit_that_waits_already_is_not_told_that_its_program_does_not_answer_yet(
    dispatch: Callable[..., str],
):
    failed = "demo-pebble-check-failed"
    assert not dispatch(failed, check="demo-start", status="waiting")
    assert dispatch(failed, check="demo-start", status="active")
    assert dispatch(failed, check="demo", status="waiting")


def test_values_of_units_are_looked_at_only_where_there_are_some(dispatch: Callable[..., str]):
    assert not dispatch("database-relation-changed", "mariadb/0")
    assert dispatch("logging-relation-changed", "loki/0")
    assert dispatch("certificates-relation-changed", "ca/0")
    assert dispatch("database-relation-departed", "mariadb/0")


def test_after_pod_churn_and_refresh_nothing_is_left_out(dispatch: Callable[..., str]):
    for event in ("upgrade-charm", "config-changed", "start", "leader-elected"):
        assert dispatch(event), event
