"""The daemon as charms use it: through the client in `ops.pebble`."""

from __future__ import annotations

import contextlib
import io
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ops import pebble


@pytest.fixture
def daemon(tmp_path: Path, program: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "PEBBLE": str(tmp_path / "pebble"),
        "PEBBLE_SOCKET": str(tmp_path / "pebble.socket"),
    }
    process = subprocess.Popen([program, "run", "--create-dirs", "--hold"], env=environment)
    _until((tmp_path / "pebble.socket").exists, 60)
    yield process
    if process.poll() is None:
        process.terminate()
    process.wait(20)


@pytest.fixture
def client(daemon: subprocess.Popen[bytes], tmp_path: Path) -> pebble.Client:
    return pebble.Client(str(tmp_path / "pebble.socket"))


def _until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def _layer(**services: dict[str, object]) -> pebble.LayerDict:
    layer: Any = {
        "services": {
            name.replace("_", "-"): {"override": "replace", **service}
            for name, service in services.items()
        }
    }
    return layer


def test_a_planned_service_starts_and_stops(client: pebble.Client):
    client.add_layer("base", _layer(web={"command": "sleep 100", "startup": "enabled"}))
    assert client.get_services(["web"])[0].current is pebble.ServiceStatus.INACTIVE
    client.replan_services()
    assert client.get_services(["web"])[0].is_running()
    client.stop_services(["web"])
    assert not client.get_services(["web"])[0].is_running()


def test_replan_restarts_only_what_changed(client: pebble.Client, tmp_path: Path):
    count = "sh -c 'echo x >> {}; exec sleep 100'"
    first = _layer(
        one={"command": count.format(tmp_path / "one"), "startup": "enabled"},
        two={"command": count.format(tmp_path / "two"), "startup": "enabled"},
    )
    client.add_layer("base", first)
    client.replan_services()
    second = _layer(
        two={
            "command": count.format(tmp_path / "two"),
            "startup": "enabled",
            "environment": {"A": "1"},
        }
    )
    client.add_layer("base", second, combine=True)
    client.replan_services()
    assert (tmp_path / "one").read_text() == "x\n"
    assert (tmp_path / "two").read_text() == "x\nx\n"


def test_a_service_that_ends_at_once_is_an_error_with_its_last_words(client: pebble.Client):
    client.add_layer("base", _layer(bad={"command": "sh -c 'echo no luck; exit 3'"}))
    with pytest.raises(pebble.ChangeError) as caught:
        client.start_services(["bad"])
    assert "exited quickly with code 3" in caught.value.err
    assert any("no luck" in line for line in caught.value.change.tasks[0].log)


def test_a_service_that_is_killed_comes_back(client: pebble.Client, tmp_path: Path):
    pid_file = tmp_path / "pid"
    command = f"sh -c 'echo $$ > {pid_file}; exec sleep 100'"
    client.add_layer("base", _layer(web={"command": command, "backoff-delay": "50ms"}))
    client.start_services(["web"])
    first = pid_file.read_text()
    os.kill(int(first), signal.SIGKILL)
    _until(lambda: pid_file.read_text() not in ("", first))
    _until(lambda: client.get_services(["web"])[0].is_running())


def test_services_start_in_the_order_that_they_ask_for(client: pebble.Client, tmp_path: Path):
    order = tmp_path / "order"

    def command(name: str) -> str:
        return f"sh -c 'echo {name} >> {order}; exec sleep 100'"

    client.add_layer(
        "base",
        _layer(
            a={"command": command("a"), "requires": ["b"], "after": ["b"]},
            b={"command": command("b")},
        ),
    )
    client.start_services(["a"])
    assert order.read_text() == "b\na\n"


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        ({"services": {"a": {"command": "x"}}}, 'must define "override" for service "a"'),
        ({"services": {"a": {"override": "replace"}}}, 'must define "command" for service "a"'),
        ({"checks": {"c": {"override": "replace"}}}, 'must specify one of "http", "tcp", or'),
        ({"surprise": {}}, 'unknown section "surprise"'),
    ],
)
def test_a_wrong_layer_is_refused_and_changes_nothing(
    client: pebble.Client, layer: dict[str, object], text: str
):
    with pytest.raises(pebble.APIError, match=text):
        client.add_layer("base", yaml.safe_dump(layer))
    assert client.get_plan().to_dict() == {}


def test_a_label_is_combined_only_when_asked_to(client: pebble.Client):
    client.add_layer("base", _layer(a={"command": "x", "environment": {"K": "1"}}))
    with pytest.raises(pebble.APIError, match='layer "base" already exists'):
        client.add_layer("base", _layer(a={"command": "y"}))
    merge: pebble.LayerDict = {
        "services": {"a": {"override": "merge", "environment": {"L": "2"}}}  # type: ignore
    }
    client.add_layer("base", merge, combine=True)
    service = client.get_plan().services["a"]
    assert (service.command, service.environment) == ("x", {"K": "1", "L": "2"})


def test_files_are_pushed_pulled_listed_and_removed(client: pebble.Client, tmp_path: Path):
    path = str(tmp_path / "a" / "b.bin")
    content = bytes(range(256)) * 5000
    with pytest.raises(pebble.PathError) as missing:
        client.push(path, content)
    assert missing.value.kind == "not-found"
    client.push(path, content, make_dirs=True, permissions=0o640)
    with client.pull(path, encoding=None) as pulled:
        assert pulled.read() == content
    (info,) = client.list_files(str(tmp_path / "a"))
    assert (info.name, info.size, info.permissions) == ("b.bin", len(content), 0o640)
    with pytest.raises(pebble.PathError, match="not empty"):
        client.remove_path(str(tmp_path / "a"))
    client.remove_path(str(tmp_path / "a"), recursive=True)
    with pytest.raises(pebble.PathError) as gone:
        client.pull(path)
    assert gone.value.kind == "not-found"
    with pytest.raises(pebble.APIError, match="no such file") as listed:
        client.list_files(str(tmp_path / "a"))
    assert listed.value.code == 404


def test_folders_are_made(client: pebble.Client, tmp_path: Path):
    client.make_dir(str(tmp_path / "x" / "y"), make_parents=True, permissions=0o700)
    assert (tmp_path / "x" / "y").stat().st_mode & 0o777 == 0o700
    with pytest.raises(pebble.PathError, match="file exists"):
        client.make_dir(str(tmp_path / "x"))


@pytest.mark.parametrize(
    ("owner", "reason"),
    [
        ({"group": "root"}, "must specify user, not just group"),
        ({"group_id": 0}, "must specify user, not just group"),
        ({"group": "no-such-group"}, "group: unknown group no-such-group"),
        ({"user": "no-such-user"}, "user: unknown user no-such-user"),
        ({"user_id": 54321}, "user: unknown userid 54321"),
        ({"user": "root", "user_id": 7}, 'user "root" UID (0) does not match user-id (7)'),
    ],
)
def test_an_owner_that_cannot_be_looked_up_is_told_as_libraries_know_it(
    client: pebble.Client, tmp_path: Path, owner: dict[str, Any], reason: str
):
    for make in (
        lambda path: client.make_dir(path, **owner),
        lambda path: client.push(path, "text", **owner),
    ):
        with pytest.raises(pebble.PathError) as refused:
            make(str(tmp_path / "new"))
        assert refused.value.kind == "generic-file-error"
        assert refused.value.message == f"cannot look up user and group: {reason}"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("make_dirs", [False, True])
@pytest.mark.parametrize("below", ["new", "folder/new"])
def test_nothing_is_pushed_below_a_file(
    client: pebble.Client, tmp_path: Path, make_dirs: bool, below: str
):
    file = tmp_path / "file"
    file.write_text("kept")
    with pytest.raises(pebble.PathError, match="not a directory") as refused:
        client.push(str(file / below), "data", make_dirs=make_dirs)
    assert refused.value.kind == "generic-file-error"
    assert str(file) in refused.value.message
    assert file.read_text() == "kept"


@pytest.mark.parametrize("make_parents", [False, True])
def test_no_folder_is_made_below_a_file(client: pebble.Client, tmp_path: Path, make_parents: bool):
    (tmp_path / "file").touch()
    with pytest.raises(pebble.PathError, match=r"mkdir .*: not a directory") as refused:
        client.make_dir(str(tmp_path / "file" / "new"), make_parents=make_parents)
    assert refused.value.kind == "generic-file-error"


def test_the_root_folder_is_listed(client: pebble.Client):
    (root,) = client.list_files("/", itself=True)
    assert (root.path, root.name, root.type) == ("/", "/", pebble.FileType.DIRECTORY)
    usr = next(entry for entry in client.list_files("/") if entry.name == "usr")
    assert usr.path == "/usr"


def test_a_listed_link_is_what_it_points_to_and_an_entry_of_a_folder_is_a_link(
    client: pebble.Client, tmp_path: Path
):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to("/etc")
    (itself,) = client.list_files(str(folder / "link"), itself=True)
    assert itself.type is pebble.FileType.DIRECTORY
    (entry,) = client.list_files(str(folder))
    assert entry.type is pebble.FileType.SYMLINK
    assert client.list_files(str(folder), pattern="other*", itself=True) == []


def test_what_is_not_there_is_told_as_the_system_tells_it(client: pebble.Client, tmp_path: Path):
    with pytest.raises(pebble.APIError) as listed:
        client.list_files("/no/such/folder/")
    assert (listed.value.code, listed.value.status) == (404, "Not Found")
    assert listed.value.message == "stat /no/such/folder/: no such file or directory"
    with pytest.raises(pebble.PathError) as pulled:
        client.pull("/no/such")
    assert pulled.value.message == "stat /no/such: no such file or directory"
    with pytest.raises(pebble.PathError) as removed:
        client.remove_path(str(tmp_path / "no"))
    assert removed.value.message == f"remove {tmp_path / 'no'}: no such file or directory"
    client.remove_path(str(tmp_path / "no"), recursive=True)


def test_exec_that_is_late_is_killed_and_told(
    client: pebble.Client, daemon: subprocess.Popen[bytes]
):
    with pytest.raises(pebble.ChangeError) as late:
        client.exec(["sleep", "100"], timeout=0.1).wait_output()
    words = "timed out after 100ms: context deadline exceeded"
    assert f'Execute command "sleep" ({words})' in late.value.err
    assert late.value.change.tasks[0].data["exit-code"] == -1
    children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children")
    assert children.read_text() == ""


def test_exec_goes_on_while_a_child_keeps_its_output_open(client: pebble.Client):
    """Also when the program itself was killed for being late."""
    process = client.exec(["sh", "-c", "setsid sleep 2 & sleep 2"], timeout=0.1)
    change = process._change_id
    with pytest.raises(pebble.TimeoutError):
        process.wait_output()
    assert client.get_change(change).ready is False
    _until(lambda: client.get_change(change).ready)
    process = client.exec(["sh", "-c", "(sleep 1; echo late) & echo soon"])
    assert process.wait_output()[0] == "soon\nlate\n"


def test_exec_starts_in_the_home_of_its_user_with_a_default_language(client: pebble.Client):
    home = pwd.getpwuid(os.getuid()).pw_dir
    script = 'echo "$PWD $HOME $USER $LANG"'
    output, _ = client.exec(["sh", "-c", script], environment={"LANG": "C"}).wait_output()
    assert output.split()[:2] == [os.environ["HOME"]] * 2
    assert output.split()[3] == "C"
    process = client.exec(["sh", "-c", script], environment={"HOME": "", "USER": ""})
    assert process.wait_output()[0].split()[:3] == [home, home, pwd.getpwuid(os.getuid()).pw_name]


def test_exec_in_a_folder_that_is_not_there_is_the_daemons_error(client: pebble.Client):
    with pytest.raises(pebble.APIError) as missing:
        client.exec(["true"], working_dir="/nope")
    assert missing.value.code == 500
    assert missing.value.message == 'cannot call exec: working directory "/nope" does not exist'
    with pytest.raises(pebble.APIError, match='"/etc/passwd" not a directory'):
        client.exec(["true"], working_dir="/etc/passwd")
    with pytest.raises(pebble.APIError) as context:
        client.exec(["true"], service_context="nope")
    assert (context.value.code, context.value.message) == (400, 'context service "nope" not found')


def test_exec_that_ended_too_late_to_be_seen_in_time_is_late(
    client: pebble.Client, daemon: subprocess.Popen[bytes]
):
    """The daemon stands still while the time runs out and the program ends."""
    process = client.exec(["sh", "-c", "kill -STOP $PPID; sleep 0.3; kill -CONT $PPID"],
                          timeout=0.2)  # fmt: skip
    with pytest.raises(pebble.ChangeError, match="timed out after 200ms"):
        process.wait()


def test_exec_passes_input_output_and_exit_code(client: pebble.Client):
    process = client.exec(["cat"], stdin="hello\n" * 10_000)
    assert process.wait_output()[0] == "hello\n" * 10_000
    process = client.exec(["sh", "-c", "echo $WORD; pwd; echo bad >&2; exit 4"],
                          environment={"WORD": "out"}, working_dir="/usr")  # fmt: skip
    with pytest.raises(pebble.ExecError) as caught:
        process.wait_output()
    assert (caught.value.exit_code, caught.value.stdout, caught.value.stderr) == (
        4, "out\n/usr\n", "bad\n",
    )  # fmt: skip


def test_exec_streams_takes_signals_and_times_out(client: pebble.Client):
    process = client.exec(["cat"], stdin=io.StringIO("a stream"))
    assert process.wait_output()[0] == "a stream"
    process = client.exec(["sleep", "100"])
    process.send_signal("SIGTERM")
    with pytest.raises(pebble.ExecError) as ended:
        process.wait()
    assert ended.value.exit_code == 128 + signal.SIGTERM
    with pytest.raises(pebble.ChangeError, match="timed out"):
        client.exec(["sleep", "100"], timeout=0.2).wait()
    with pytest.raises(pebble.APIError, match='cannot find executable "no-such"') as missing:
        client.exec(["no-such"])
    assert missing.value.code == 400


def test_exec_in_the_context_of_a_service(client: pebble.Client):
    layer = _layer(s={"command": "x", "environment": {"A": "1"}, "working-dir": "/usr"})
    client.add_layer("base", layer)
    output, _ = client.exec(["sh", "-c", "echo $A; pwd"], service_context="s").wait_output()
    assert output == "1\n/usr\n"


def test_a_failing_check_is_told_and_so_is_its_recovery(client: pebble.Client, tmp_path: Path):
    flag = tmp_path / "good"
    flag.touch()
    check = {
        "override": "replace", "exec": {"command": f"test -e {flag}"}, "period": "50ms",
        "threshold": 2, "level": "ready",
    }  # fmt: skip
    client.add_layer("base", {"checks": {"c": check}})  # type: ignore
    _until(lambda: client.get_checks()[0].successes not in (None, 0))
    flag.unlink()
    _until(lambda: client.get_checks()[0].status is pebble.CheckStatus.DOWN)
    failed = client.get_change(_change_of(client, "perform-check"))
    assert failed.status == "Error"
    assert failed.tasks[0].data["check-name"] == "c"
    flag.touch()
    _until(lambda: client.get_checks()[0].status is pebble.CheckStatus.UP)
    assert client.get_change(_change_of(client, "recover-check")).status == "Done"
    assert client.stop_checks(["c"]) == ["c"]
    assert client.get_checks()[0].status is pebble.CheckStatus.INACTIVE


def _change_of(client: pebble.Client, kind: str) -> pebble.ChangeID:
    notices = client.get_notices(types=[pebble.NoticeType.CHANGE_UPDATE])
    return pebble.ChangeID(next(n.key for n in notices if n.last_data.get("kind") == kind))


def test_a_failing_check_restarts_the_service_that_asks_for_it(
    client: pebble.Client, tmp_path: Path
):
    starts, flag = tmp_path / "starts", tmp_path / "good"
    flag.touch()
    client.add_layer(
        "base",
        {
            "services": {
                "s": {
                    "override": "replace",
                    "command": f"sh -c 'echo x >> {starts}; exec sleep 100'",
                    "on-check-failure": {"c": "restart"},
                    "backoff-delay": "50ms",
                }
            },
            "checks": {
                "c": {
                    "override": "replace",
                    "exec": {"command": f"test -e {flag}"},
                    "period": "50ms",
                    "threshold": 1,
                }
            },
        },  # type: ignore[arg-type]
    )
    client.start_services(["s"])
    flag.unlink()
    _until(lambda: starts.read_text().count("x") >= 2)


def test_custom_notices_are_kept_counted_and_waited_for(client: pebble.Client):
    first = client.notify(pebble.NoticeType.CUSTOM, "example.com/a", data={"k": "v"})
    assert client.notify(pebble.NoticeType.CUSTOM, "example.com/a") == first
    notice = client.get_notice(first)
    assert (notice.key, notice.occurrences) == ("example.com/a", 2)
    with pytest.raises(pebble.APIError, match="invalid key"):
        client.notify(pebble.NoticeType.CUSTOM, "nodomain")
    with pytest.raises(pebble.APIError) as missing:
        client.get_notice("999")
    assert missing.value.code == 404


def test_signals_reach_services(client: pebble.Client, tmp_path: Path):
    seen = tmp_path / "seen"
    command = f"""sh -c 'trap "echo usr1 > {seen}" USR1; while true; do sleep 0.05; done'"""
    client.add_layer("base", _layer(s={"command": command}))
    with pytest.raises(pebble.APIError, match="is not running"):
        client.send_signal("SIGUSR1", ["s"])
    client.start_services(["s"])
    client.send_signal("SIGUSR1", ["s"])
    _until(seen.exists)


def test_sigterm_stops_services_and_ends_the_daemon(
    client: pebble.Client, daemon: subprocess.Popen[bytes], tmp_path: Path
):
    pid_file = tmp_path / "pid"
    command = f"sh -c 'echo $$ > {pid_file}; exec sleep 100'"
    client.add_layer("base", _layer(s={"command": command}))
    client.start_services(["s"])
    daemon.terminate()
    assert daemon.wait(20) == 0
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
        pytest.fail("the service outlived the daemon")


def test_identities(client: pebble.Client):
    client.replace_identities(
        {"bob": pebble.Identity(pebble.IdentityAccess.READ, local=pebble.LocalIdentity(42))}
    )
    assert client.get_identities()["bob"].access is pebble.IdentityAccess.READ
    client.remove_identities({"bob"})
    assert client.get_identities() == {}
