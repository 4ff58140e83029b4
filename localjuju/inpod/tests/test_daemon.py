"""The daemon as a container's program: its options, its environment, its end."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from ops import pebble

from localjuju.inpod.tests.test_client import _until

Run = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def run(tmp_path: Path, program: Path) -> Iterator[Run]:
    """Starts `pebble run` with these options, after what is put `before`; ends it at last."""
    started: list[subprocess.Popen[bytes]] = []

    def start(
        *options: str, before: tuple[str, ...] = (), **environment: str
    ) -> subprocess.Popen[bytes]:
        fixed = {
            "PEBBLE": str(tmp_path / "pebble"), "PEBBLE_SOCKET": str(tmp_path / "pebble.socket"),
            }  # fmt: skip
        process = subprocess.Popen(
            [*before, program, "run", *options], env={**os.environ, **fixed, **environment},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=20)


def _write_layer(folder: Path, **services: dict[str, str]) -> None:
    layers = folder / "layers"
    layers.mkdir(parents=True)
    content = {
        "services": {n: {"override": "replace", **service} for n, service in services.items()}
    }
    (layers / "001-base.yaml").write_text(yaml.safe_dump(content))


def _client(tmp_path: Path) -> pebble.Client:
    _until((tmp_path / "pebble.socket").exists, 60)
    return pebble.Client(str(tmp_path / "pebble.socket"))


def _active(client: pebble.Client, name: str) -> bool:
    return client.get_services([name])[0].is_running()


def test_enabled_services_start_by_themselves_unless_held(tmp_path: Path, run: Run):
    _write_layer(
        tmp_path / "pebble", on={"command": "sleep 100", "startup": "enabled"},
        off={"command": "sleep 100"},
    )  # fmt: skip
    first = run()
    client = _client(tmp_path)
    _until(lambda: _active(client, "on"))
    assert not _active(client, "off")
    first.terminate()
    assert first.wait(20) == 0
    run("--hold")
    client = _client(tmp_path)
    assert client.get_changes(select=pebble.ChangeState.ALL) == []
    assert not _active(client, "on")


def test_what_services_print_is_shown_when_asked_for(tmp_path: Path, run: Run):
    _write_layer(
        tmp_path / "pebble", web={"command": "sh -c 'echo hello; sleep 100'", "startup": "enabled"}
    )
    for options, shown in (((), False), (("--verbose",), True)):
        process = run(*options)
        client = _client(tmp_path)
        _until(lambda client=client: _active(client, "web"))
        client.stop_services(["web"])
        process.terminate()
        output, _ = process.communicate(timeout=20)
        assert (b" [web] hello\n" in output) is shown


@pytest.mark.parametrize(
    ("service", "code"),
    [
        ({"command": "true", "on-success": "shutdown"}, 0),
        ({"command": "false", "on-failure": "shutdown"}, 10),
        ({"command": "false", "on-failure": "success-shutdown"}, 0),
        ({"command": "true", "on-success": "failure-shutdown"}, 10),
    ],
)
def test_a_service_may_end_the_daemon(
    tmp_path: Path, run: Run, service: dict[str, str], code: int
):
    _write_layer(tmp_path / "pebble", job={"startup": "enabled", **service})
    assert run().wait(20) == code


def test_an_empty_folder_is_filled_once(tmp_path: Path, run: Run):
    _write_layer(tmp_path / "once", web={"command": "sleep 100"})
    (tmp_path / "pebble").mkdir()
    run("--hold", PEBBLE_COPY_ONCE=str(tmp_path / "once"))
    assert [service.name for service in _client(tmp_path).get_services()] == ["web"]


def test_a_folder_that_is_missing_or_a_wrong_layer_is_told(tmp_path: Path, run: Run):
    missing = run()
    _, told = missing.communicate(timeout=20)
    assert missing.returncode == 1
    assert b"does not exist: --create-dirs makes it" in told
    _write_layer(tmp_path / "pebble", web={})
    wrong = run()
    _, told = wrong.communicate(timeout=20)
    assert (wrong.returncode, told) == (
        1, b'error: plan must define "command" for service "web"\n',
    )  # fmt: skip


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, for a process namespace")
def test_the_first_process_waits_for_everybodys_orphans(tmp_path: Path, run: Run):
    unshare = shutil.which("unshare")
    assert unshare
    process = run("--create-dirs", "--hold", before=(unshare, "--pid", "--fork", "--kill-child"))
    client = _client(tmp_path)
    client.exec(["sh", "-c", "(sleep 0.2 &)"]).wait_output()
    me = client.exec(["awk", "/^PPid/ {print $2}", "/proc/self/status"]).wait_output()[0].strip()
    threads = Path(f"/proc/{me}/task")
    _until(lambda: not any((thread / "children").read_text() for thread in threads.iterdir()))
    process.kill()  # unshare(1) passes no signal on: its end takes the namespace along
