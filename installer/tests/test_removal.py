"""What `down` may remove, and what it must not."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer import down, target
from installer.pack import ROOT
from localkube.building import builds
from localkube.host import ownership
from localkube.host.errors import EngineError
from localkube.tests import plain


def test_nothing_to_remove(state: Path, capsys: pytest.CaptureFixture[str]):
    state.rmdir()
    assert down.main([]) == 0
    assert capsys.readouterr().out == "nothing to remove\n"


def test_says_what_it_removed(state: Path, capsys: pytest.CaptureFixture[str]):
    target.Target("local", "mine").remember()
    (state / "etcd").mkdir()
    (state / "etcd/data").write_bytes(b"x" * 4_000_000)
    assert down.main([]) == 0
    assert not state.exists()
    assert capsys.readouterr().out.startswith(f"removed: {state} (4 MB")
    assert target.current() == target.Target("local", "mlops")


def test_a_folder_that_no_engine_made_is_left_alone(state: Path):
    """Such as the home folder, by a slip in CHARMED_MLOPS_STATE."""
    (state / "thesis.txt").touch()
    with pytest.raises(EngineError, match="was not made by the engine, so nothing in it"):
        down.main([])
    with pytest.raises(EngineError, match="has files that are not the engine's"):
        target.Target("local", "mine").remember()
    assert [entry.name for entry in state.iterdir()] == ["thesis.txt"]


def test_all_leaves_what_is_not_ours(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("CHARMED_MLOPS_CACHE", str(cache))
    assert ownership.claim_cache()
    (cache / "builds/programs").mkdir(parents=True)
    (cache / "photos").mkdir()
    down.main(["--all"])
    assert sorted(entry.name for entry in cache.iterdir()) == [ownership.MARKER, "photos"]


def test_all_removes_the_whole_cache(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("CHARMED_MLOPS_CACHE", str(cache))
    ownership.claim_cache()
    (cache / "images/mlflow").mkdir(parents=True)
    (cache / "timings.json").touch()
    down.main(["--all"])
    assert not cache.exists()


def test_all_in_a_folder_of_the_user_removes_what_has_our_marker(
    state: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    home = tmp_path / "home"
    (home / "images").mkdir(parents=True)
    (home / "images/holiday.png").touch()
    monkeypatch.setenv("CHARMED_MLOPS_CACHE", str(home))
    builds.make_once(home / "builds/program", lambda folder: (folder / "it").touch())
    builds.make_once(home / "images/mlflow", lambda folder: (folder / "it").touch())
    down.main(["--all"])
    assert (home / "images/holiday.png").exists()
    assert not (home / "builds").exists()
    assert f"kept: {home}/images: it has no marker" in capsys.readouterr().out


_MOUNTED = """
import subprocess, sys
from pathlib import Path
from installer import down
from localkube.host import ownership
from localkube.host.errors import EngineError
state = Path(sys.argv[1])
ownership.claim_state()
(state / "volume").mkdir()
(state / "model.db").touch()
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", state / "volume"], check=True)
(state / "volume/precious").touch()
try:
    down.main([])
except EngineError as error:
    print(error)
print(sorted(path.name for path in state.rglob("*")))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_what_is_mounted_is_never_removed(state: Path):
    result = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", _MOUNTED, str(state)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    refused, left = result.stdout.splitlines()
    assert refused == f"{state}/volume is mounted: umount {state}/volume"
    assert left == "['.charmed-mlops', 'model.db', 'precious', 'volume']"


_DOWN = """
import os, sys
os.environ["CHARMED_MLOPS_CACHE"] = sys.argv[1]
os.environ.pop("CHARMED_MLOPS_STATE", None)
from installer import down
from localkube.host.errors import EngineError
try:
    down.main(sys.argv[2:])
except EngineError as error:
    print(f"ERROR {error}")
"""
_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes a plain user")


@pytest.fixture
def of_a_user() -> Iterator[Path]:
    """The cache of a plain user, with two state folders that an engine has not used yet."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder, "cache")
        for state in (cache / "engine", cache / "bench-engine"):
            (state / "log").mkdir(parents=True)
        for each in (cache, cache / "engine", cache / "bench-engine"):
            ownership.mark(each)
        for each in (Path(folder), *Path(folder).rglob("*")):
            os.chown(each, plain.ID, plain.ID)
        yield cache


def _down_of_a_user(cache: Path, *options: str, lacks: tuple[str, ...] = ()) -> str:
    """What `down` says to the plain user."""
    done = subprocess.run(
        [*plain.command(*lacks), sys.executable, "-c", _DOWN, str(cache), *options],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _kept_by(owner: int, folder: Path) -> None:
    """A file in a folder that only its owner may enter."""
    folder.mkdir()
    (folder / "kept").touch()
    for each in (folder / "kept", folder):
        os.chown(each, owner, owner)
    folder.chmod(0o700)


@_root
@pytest.mark.parametrize("lacks", [("--no-ids",), ("--no-uidmap",)])
def test_a_user_s_own_files_need_no_ids_that_are_set_aside(of_a_user: Path, lacks: tuple[str]):
    said = _down_of_a_user(of_a_user, lacks=lacks)
    assert "ERROR" not in said
    assert not (of_a_user / "engine").exists()


@_root
def test_what_pods_of_a_user_own_is_removed_from_every_state_folder(of_a_user: Path):
    _kept_by(plain.FIRST + 1234, of_a_user / "bench-engine/volume")
    shared = of_a_user / "engine/shared"
    shared.mkdir()
    (shared / "link").symlink_to("/nowhere")
    os.chown(shared, plain.FIRST + 1234, plain.FIRST + 1234)
    assert "ERROR" not in _down_of_a_user(of_a_user, "--all")
    assert not of_a_user.exists()


@_root
def test_a_folder_that_cannot_be_removed_itself_is_emptied_and_named(of_a_user: Path):
    _kept_by(plain.FIRST + 1234, of_a_user / "engine/volume")
    os.chown(of_a_user, 0, 0)
    refused = f"ERROR cannot remove {of_a_user / 'engine'}: run the command as its owner\n"
    assert _down_of_a_user(of_a_user) == refused
    assert not list((of_a_user / "engine").iterdir())
    ownership.mark(of_a_user / "engine")
    os.chown(of_a_user / "engine" / ownership.MARKER, plain.ID, plain.ID)
    assert _down_of_a_user(of_a_user) == refused


@_root
@pytest.mark.parametrize("lacks", [(), ("--no-uidmap",)])
def test_what_is_another_user_s_is_named(of_a_user: Path, lacks: tuple[str, ...]):
    _kept_by(0, of_a_user / "engine/volume")
    refused = of_a_user / "engine/volume"
    said = _down_of_a_user(of_a_user, lacks=lacks)
    assert said == f"ERROR cannot remove {refused}: run the command as its owner\n"
