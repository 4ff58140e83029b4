"""What jubilant reads of the commands: through its own client, as charms' tests use it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jubilant
import pytest

from localjuju.agent.tests.bench import MODEL, Bench

ROOT = Path(__file__).parents[3]


@pytest.fixture
def juju(bench: Bench, tmp_path: Path) -> jubilant.Juju:
    """jubilant with the local engine's executable, in a process of its own."""
    program = tmp_path / "juju"
    program.write_text(
        f"#!/bin/sh\nPYTHONPATH={ROOT} CHARMED_MLOPS_STATE={bench.state} "
        f'exec {sys.executable} -m localjuju.cli "$@"\n'
    )
    program.chmod(0o755)
    return jubilant.Juju(model=MODEL, cli_binary=str(program))


async def beside(call: Any, *arguments: Any, **more: Any) -> Any:
    """Runs a blocking call while the engine goes on."""
    return await asyncio.to_thread(call, *arguments, **more)


async def test_exec(bench: Bench, juju: jubilant.Juju, capfd: pytest.CaptureFixture[str]):
    await bench.deploy(bench.charm("plain"))
    await bench.idle()
    task = await beside(juju.exec, "echo", "bar baz", unit="plain/leader")
    assert (task.success, task.stdout, task.stderr) == (True, "bar baz\n", "")
    with pytest.raises(jubilant.TaskError) as failed:
        await beside(juju.exec, "echo no >&2; exit 3", unit="plain/0")
    assert (failed.value.task.status, failed.value.task.return_code) == ("completed", 3)
    assert failed.value.task.stderr == "no\n"
    with pytest.raises(ValueError, match='failed to schedule any tasks:\nunit "plain/42" not'):
        await beside(juju.exec, "true", unit="plain/42")
    with pytest.raises(jubilant.CLIError) as machine:
        await beside(juju.exec, "true", machine=0)
    assert machine.value.stderr == "ERROR unable to target machines with a k8s controller\n"
    gate = bench.state / "gate"
    with pytest.raises(TimeoutError):
        await beside(juju.exec, f"until test -e {gate}; do sleep 0.1; done", unit="plain/0",
                     wait=0.001)  # fmt: skip
    gate.touch()
    await bench.idle()


async def test_an_operation_has_the_tasks_of_all_its_units(bench: Bench, juju: jubilant.Juju):
    script = '[ -z "$JUJU_ACTION_NAME" ] || { action-set a.b=1; action-log half; }'
    await bench.deploy(bench.charm("plain", script, actions={"backup": {}}), units=2)
    await bench.idle()
    text = await beside(juju.cli, "run", "--format", "json", "plain/0", "plain/1", "backup")
    ran = json.loads(text)
    listed = json.loads(await beside(juju.cli, "operations", "--format", "json"))
    ((number, operation),) = listed.items()
    shown = await beside(juju.cli, "show-operation", number, "--format", "json")
    assert json.loads(shown) == operation
    assert operation["summary"] == "backup run on unit-plain-0,unit-plain-1"
    assert operation["status"] == "completed"
    assert operation["action"] == {"name": "backup", "parameters": {}}
    assert set(operation["timing"]) == {"enqueued", "started", "completed"}
    for unit, task in ran.items():
        theirs = operation["tasks"][task["id"]]
        assert theirs["host"] == unit
        assert (theirs["status"], theirs["results"]) == (task["status"], task["results"])
        assert theirs["log"] == task["log"]
        one = json.loads(await beside(juju.cli, "show-task", task["id"], "--format", "json"))
        assert one == task
    lines = (await beside(juju.cli, "operations")).splitlines()
    assert lines[0].split() == ["Id", "Status", "Started", "Finished", "Task", "IDs", "Summary"]
    assert ",".join(operation["tasks"]) in lines[1].split()
    with pytest.raises(jubilant.CLIError) as missing:
        await beside(juju.cli, "show-operation", "99")
    assert missing.value.stderr == 'ERROR operation "99" not found\n'


async def test_an_attached_resource_comes_with_a_new_pod(
    bench: Bench, juju: jubilant.Juju, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    resources = {"image": {"type": "oci-image"}, "notes": {"type": "file", "filename": "n.txt"}}
    (tmp_path / "notes.txt").write_text("hello")
    await bench.deploy(bench.charm("plain", resources=resources), resources={"image": "a:1"})
    await bench.idle()
    bench.forget()
    monkeypatch.chdir(tmp_path)
    await beside(juju.cli, "attach-resource", "plain", "image=b:2")
    await bench.until(lambda: bench.hooks("plain/0")[-1:] == ["start"])
    assert bench.hooks("plain/0") == ["stop", "upgrade-charm", "config-changed", "start"]
    await bench.idle()
    assert bench.node.specs[MODEL, "plain"].resources == {"image": "b:2"}
    await beside(juju.cli, "attach-resource", "plain", "notes=notes.txt")
    await bench.until(
        lambda: (
            bench.node.specs[MODEL, "plain"].resources.get("notes") == str(tmp_path / "notes.txt")
        )
    )
    with pytest.raises(jubilant.CLIError) as unknown:
        await beside(juju.cli, "attach-resource", "plain", "nope=x")
    assert unknown.value.stderr == 'ERROR unrecognized resource "nope"\n'


async def test_ssh_runs_in_the_charm_container(bench: Bench, juju: jubilant.Juju):
    await bench.deploy(bench.charm("plain", containers={"web": {}}))
    await bench.idle()
    assert await beside(juju.ssh, "plain/0", "ls", "/charm/containers") == "web\n"
    assert await beside(juju.ssh, "plain/leader", "pwd; echo $((1 + 1))") == "/var/lib/juju\n2\n"
    assert await beside(
        juju.cli, "ssh", "--container", "charm", "plain/0", "cat", stdin="foo"
    ) == ("foo")
    with pytest.raises(jubilant.CLIError) as failed:
        await beside(juju.ssh, "plain/0", "ls", "-d", "/nope")
    assert failed.value.returncode == 2
    assert "/nope" in failed.value.stderr
    with pytest.raises(jubilant.CLIError) as wrong:
        await beside(juju.ssh, "plain/0", "true", container="nope")
    assert wrong.value.stderr == 'ERROR container "nope" must be one of charm, web\n'
    with pytest.raises(jubilant.CLIError) as gone:
        await beside(juju.ssh, "plain/7", "true")
    assert gone.value.stderr == 'ERROR unit "plain/7" not found\n'


def _started(juju: jubilant.Juju, *argv: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    command = [juju.cli_binary, argv[0], "-m", MODEL, *argv[1:]]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)


async def test_ssh_passes_on_what_comes_as_it_comes(bench: Bench, juju: jubilant.Juju):
    await bench.deploy(bench.charm("plain"))
    await bench.idle()
    script = "echo ready; read line; echo got $line >&2; exit 7"
    with _started(juju, "ssh", "plain/0", script) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        assert await asyncio.to_thread(shell.stdout.readline) == b"ready\n"
        shell.stdin.write(b"this\n")
        _, errors = await asyncio.to_thread(shell.communicate)
    assert (errors, shell.returncode) == (b"got this\n", 7)


async def test_ssh_ends_with_its_program_whoever_leaves_its_input_open(
    bench: Bench, juju: jubilant.Juju
):
    await bench.deploy(bench.charm("plain"))
    await bench.idle()
    with _started(juju, "ssh", "--pty=false", "plain/0", "exit 3") as shell:
        assert await asyncio.to_thread(shell.wait) == 3


async def test_ssh_without_a_command_is_a_shell(bench: Bench, juju: jubilant.Juju):
    await bench.deploy(bench.charm("plain"))
    await bench.idle()
    assert await beside(juju.cli, "ssh", "plain/0", stdin="echo $((20 + 3))\nexit\n") == "23\n"


async def test_scp_copies_more_than_memory_should_hold(
    bench: Bench, juju: jubilant.Juju, tmp_path: Path
):
    await bench.deploy(bench.charm("plain"))
    await bench.idle()
    sent, got = tmp_path / "sent.bin", tmp_path / "got.bin"
    size = 150 << 20
    with sent.open("wb") as file:
        file.truncate(size - 4)
        file.seek(0, os.SEEK_END)
        file.write(b"last")
    await beside(juju.scp, sent, "plain/0:large.bin")
    await beside(juju.scp, "plain/0:large.bin", got)
    with got.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        assert (got.stat().st_size, file.read()) == (size, b"last")


async def test_scp_copies_both_ways(bench: Bench, juju: jubilant.Juju, tmp_path: Path):
    await bench.deploy(bench.charm("plain"))
    await bench.idle()
    sent, content = tmp_path / "sent.bin", bytes(range(256)) * 1000
    sent.write_bytes(content)
    await beside(juju.scp, sent, "plain/0:new.bin")
    await beside(juju.scp, sent, "plain/0:/var/lib/juju/agents")
    for path in ("new.bin", "agents/sent.bin"):
        got = tmp_path / "got"
        await beside(juju.scp, f"plain/0:{path}", got)
        assert got.read_bytes() == content
    (tmp_path / "folder").mkdir()
    await beside(juju.scp, "plain/0:agents/unit-plain-0/charm", tmp_path / "folder",
                 scp_options=["-r"])  # fmt: skip
    assert (tmp_path / "folder" / "charm" / "dispatch").is_file()
    with pytest.raises(jubilant.CLIError) as missing:
        await beside(juju.scp, "plain/0:no/such", tmp_path / "x")
    assert "no: " in missing.value.stderr or "no/such" in missing.value.stderr
    with pytest.raises(jubilant.CLIError) as local:
        await beside(juju.scp, tmp_path / "a", tmp_path / "b")
    assert "copy either from a pod or to a pod" in local.value.stderr


async def test_an_offer_is_consumed_in_another_model(bench: Bench, juju: jubilant.Juju):
    provider = bench.charm("giver", provides={"db": {"interface": "sql"}})
    await bench.deploy(provider)
    await beside(juju.cli, "add-model", "--no-switch", "other", include_model=False)
    other = jubilant.Juju(model="other", cli_binary=juju.cli_binary)
    consumer = bench.charm("taker", requires={"store": {"interface": "sql"}})
    await bench.api.deploy("other", str(consumer))
    await beside(juju.offer, "giver", endpoint="db", name="sql")
    await beside(other.consume, f"{MODEL}.sql", "remote")
    await beside(other.integrate, "remote", "taker")
    await bench.until(lambda: "store-relation-changed from remote/0" in bench.hooks("taker/0"))
    consumed = (await beside(other.status)).app_endpoints["remote"]
    assert consumed.relations == {"db": ["taker"]}
    assert consumed.endpoints["db"].role == "provider"
    assert (await beside(juju.status)).offers["sql"].active_connected_count == 1
    lines = (await beside(other.cli, "status", "--relations")).splitlines()
    assert f"remote  unknown  localjuju  admin/{MODEL}.sql" in lines
    assert "remote:db             taker:store  sql        regular" in lines
    lines = (await beside(juju.cli, "status")).splitlines()
    assert "sql    giver        giver  0    1/1        db        sql        provider" in lines
    lines = (await beside(juju.cli, "offers")).splitlines()
    assert lines[1].split() == ["sql", "admin", "0", "joined", "db", "sql", "provider"]
    found = await beside(juju.cli, "find-offers", "--interface", "sql", include_model=False)
    assert found.splitlines()[1].split() == ["localjuju", f"admin/{MODEL}.sql", "admin", "sql:db"]
    with pytest.raises(jubilant.CLIError) as none:
        await beside(juju.cli, "find-offers", "--offer", "nope", include_model=False)
    assert none.value.stderr == "ERROR no matching application offers found\n"
    shown = await beside(juju.cli, "show-offer", "sql", "--format", "json")
    assert list(json.loads(shown)) == [f"localjuju:admin/{MODEL}.sql"]
    with pytest.raises(jubilant.CLIError) as used:
        await beside(juju.cli, "remove-offer", f"{MODEL}.sql", include_model=False)
    assert 'cannot delete application offer "sql": offer has 1 relation' in used.value.stderr
    await beside(other.cli, "remove-saas", "remote")
    await bench.until(lambda: "application-endpoints" not in bench.api.status("other"))
    await beside(juju.cli, "remove-offer", f"{MODEL}.sql", include_model=False)
    assert "offers" not in bench.api.status(MODEL)


async def test_a_file_resource_is_named_as_it_lies_beside_the_caller(
    bench: Bench, juju: jubilant.Juju, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    await bench.api.add_model(MODEL)
    charm = bench.charm("plain", resources={"notes": {"type": "file", "filename": "n.txt"}})
    (tmp_path / "notes.txt").write_text("hello")
    monkeypatch.chdir(tmp_path)
    await beside(juju.deploy, charm, resources={"notes": "notes.txt"})
    specs = await bench.until(lambda: bench.node.specs.get((MODEL, "plain")))
    assert specs.resources == {"notes": str(tmp_path / "notes.txt")}
