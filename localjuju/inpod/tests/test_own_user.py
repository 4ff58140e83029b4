"""A Pebble that is not root, as where a charm or its image asks for another user."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ops import pebble

from localjuju.inpod.tests.test_client import _until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be another user")

OWN, CHARM, STRANGER = 65532, 170, 1000
IDENTITIES = '{"identities": {"charm": {"access": "admin", "local": {"user-id": 170}}}}'


@pytest.fixture
def client(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pebble.Client]:
    """All paths are relative: the folders above are root's alone."""
    folder = tmp_path / "of-the-user"
    folder.mkdir()
    os.chown(folder, OWN, OWN)
    shutil.copy(program, folder / "pebble")
    (folder / "identities.yaml").write_text(IDENTITIES)
    environment = {
        "PATH": "/usr/bin:/bin", "PEBBLE": "state", "PEBBLE_SOCKET": "pebble.socket",
    }  # fmt: skip
    options = ["--create-dirs", "--hold", "--identities", "identities.yaml"]
    process = subprocess.Popen(
        ["./pebble", "run", *options], cwd=folder, env=environment, user=OWN, group=OWN,
        extra_groups=[],
    )  # fmt: skip
    monkeypatch.chdir(folder)
    _until(Path("pebble.socket").exists, 60)
    yield pebble.Client("pebble.socket")
    process.terminate()
    process.wait(20)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Where everybody may write; nothing is there yet."""
    folder = Path(f"/tmp/pebble-test-{os.getpid()}")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_it_writes_and_runs_programs_as_its_own_user(client: pebble.Client, scratch: Path):
    client.push(str(scratch / "file"), "text", make_dirs=True)
    listed = client.list_files(str(scratch / "file"))[0]
    assert (listed.user_id, listed.group_id) == (OWN, OWN)
    service = {"override": "replace", "command": "sleep 60"}
    client.add_layer("test", {"services": {"own": service}})  # type: ignore[arg-type]
    client.start_services(["own"])
    assert client.get_services(["own"])[0].is_running()
    assert client.exec(["id", "-u"], working_dir="/").wait_output()[0] == f"{OWN}\n"


def test_it_is_refused_what_only_root_may(client: pebble.Client, scratch: Path):
    for work in (
        lambda: client.push("/etc/file", "text"),
        lambda: client.make_dir("/deep"),
        lambda: client.push(str(scratch), "text", user_id=0, group_id=0),
    ):
        with pytest.raises(pebble.PathError) as refused:
            work()
        assert refused.value.kind == "permission-denied"
    service = {"override": "replace", "command": "sleep 60", "user": "root"}
    client.add_layer("test", {"services": {"root": service}})  # type: ignore[arg-type]
    with pytest.raises(pebble.ChangeError, match="operation not permitted"):
        client.start_services(["root"])
    with pytest.raises((pebble.APIError, pebble.ChangeError), match="operation not permitted"):
        client.exec(["id"], user="root", working_dir="/").wait_output()


def test_it_lets_in_the_charm_that_it_was_told_of_and_no_other_user(
    client: pebble.Client, scratch: Path
):
    def push_as(user: int) -> None:
        os.seteuid(user)
        try:
            client.push(str(scratch / str(user)), "", make_dirs=True)
        finally:
            os.seteuid(0)

    push_as(CHARM)
    with pytest.raises(pebble.APIError, match="access denied"):
        push_as(STRANGER)
