"""What doctor finds, on this machine as it is and on conditions made for the test."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from installer import doctor, target


def test_every_finding_has_a_level_and_is_one_line():
    found = doctor.local()
    assert {finding.name for finding in found} >= {
        "architecture", "python", "namespaces", "memory", "disk", "inotify", "ports",
    }  # fmt: skip
    for finding in found:
        assert finding.level in ("ok", "warning", "error")
        assert finding.text
        assert "\n" not in finding.text


def test_namespaces_agree_with_the_kernel():
    flags = "-mnpiu" if os.geteuid() == 0 else "-Urmnpiu"
    allowed = subprocess.run(["unshare", flags, "--fork", "true"], capture_output=True)
    assert (doctor.namespaces().level == "ok") == (allowed.returncode == 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give rights up")
def test_refused_namespaces_name_the_setting():
    # a user namespace of its own, in which no further one may be made
    script = (
        "echo 0 >/proc/sys/user/max_user_namespaces && echo 0 >/proc/sys/user/max_mnt_namespaces"
        ' && exec "$0" -c \'from installer import doctor; f = doctor.namespaces();'
        " print(f.level, f.text)'"
    )
    result = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", script, sys.executable],
        env={**os.environ, "PYTHONPATH": str(Path(doctor.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    if "Operation not permitted" in result.stderr or "Read-only" in result.stderr:
        pytest.skip("this machine does not let the limit be lowered")
    assert result.stdout.startswith("error this kernel refuses namespaces"), result.stderr
    assert "sysctl -w" in result.stdout


@pytest.mark.parametrize(("mib", "level"), [(1000, "error"), (3000, "warning"), (9000, "ok")])
def test_memory(tmp_path: Path, mib: int, level: str):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: 99999999 kB\nMemAvailable:  {mib * 1024} kB\n")
    assert doctor.memory(meminfo).level == level


@pytest.mark.parametrize(
    ("key", "wanted"), [("max_user_instances", 2280), ("max_user_watches", 1255360)]
)
def test_low_inotify_limit_tells_the_sysctl_line(tmp_path: Path, key: str, wanted: int):
    (tmp_path / key).write_text("128\n")
    finding = doctor.inotify(key, tmp_path)
    assert finding.level == "warning"
    assert finding.text.endswith(f"sudo sysctl -w fs.inotify.{key}={wanted}")
    (tmp_path / key).write_text(f"{wanted}\n")
    assert doctor.inotify(key, tmp_path).level == "ok"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_full_disk_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], check=True)
    try:
        monkeypatch.setenv("CHARMED_MLOPS_CACHE", str(tmp_path / "cache"))
        finding = doctor.disk()
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert finding.level == "error"
    assert "CHARMED_MLOPS_CACHE" in finding.text


def test_few_open_files_name_the_command():
    script = "from installer import doctor; f = doctor.open_files(); print(f.level, f.text)"
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(doctor.__file__).parents[1])},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "warning at most 256: ulimit -n 4096\n"


def _programs(folder: Path, **scripts: str) -> None:
    for name, script in scripts.items():
        program = folder / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_cluster_without_juju_or_kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = {finding.name: finding for finding in doctor.cluster(target.Target("juju"))}
    assert found["juju"].text == "not on the PATH: snap install juju"
    assert found["controller"].level == "error"
    assert found["storage"].level == "warning"
    assert found["kubernetes"].level == "warning"


def test_cluster_that_lacks_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _programs(
        tmp_path,
        juju=(
            'case "$1" in version) echo 2.9.49-ubuntu-amd64;;'
            ' controllers) echo \'{"controllers": {"micro": {}}}\';;'
            ' config) echo \'{"application-config": {"trust": {"value": false}}}\';; esac'
        ),
        kubectl="echo '{\"items\": []}'",
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = {finding.name: finding for finding in doctor.cluster(target.Target("juju"))}
    assert "snap refresh juju --channel 3.6" in found["juju"].text
    assert found["controller"].text == "micro"
    assert found["storage"].level == "error"
    assert "is-default-class=true" in found["storage"].text
    assert found["load balancer"].level == "warning"
    assert found["trust"].text == "juju trust resource-broker --scope=cluster"


def test_a_juju_that_is_too_old_for_the_charms_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _programs(tmp_path, juju="echo 3.6.3-genericlinux-amd64")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = doctor.juju_version()
    assert (found.level, found.text.partition(":")[0]) == (
        "error",
        "3.6.3-genericlinux-amd64, 3.6.9 wanted",
    )


def _server(major: str, minor: str) -> str:
    version = {"major": major, "minor": minor, "gitVersion": f"v{major}.{minor.rstrip('+')}.4-x"}
    return json.dumps({"serverVersion": version})


@pytest.mark.parametrize(
    ("minor", "level", "said"),
    [
        ("29", "error", "v1.29.4-x, 1.30 wanted: upgrade the cluster"),
        ("30+", "warning", "v1.30.4-x: enough for all but Knative, which wants 1.33"),
        ("33", "ok", "v1.33.4-x"),
    ],
)
def test_a_kubernetes_that_is_too_old_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minor: str, level: str, said: str
):
    _programs(tmp_path, kubectl=f"echo '{_server('1', minor)}'")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert doctor.kubernetes() == doctor.Finding(level, "kubernetes", said)


def test_cluster_that_has_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    item = {
        "metadata": {
            "name": "x",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "spec": {},
    }
    _programs(
        tmp_path,
        juju=(
            'case "$1" in version) echo 3.6.27-genericlinux-amd64;;'
            ' controllers) echo \'{"controllers": {"micro": {}}}\';;'
            ' config) echo \'{"application-config": {"trust": {"value": true}}}\';; esac'
        ),
        kubectl=(
            f"case \"$1\" in version) echo '{_server('1', '35')}';;"
            f" *) echo '{json.dumps({'items': [item]})}';; esac"
        ),
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = {finding.name: finding for finding in doctor.cluster(target.Target("juju"))}
    del found["inotify"]
    assert {finding.level for finding in found.values()} == {"ok"}


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        (["ok", "ok"], "ready"),
        (["ok", "warning"], "ready, with 1 to look at: it works without, but may not do well"),
        (["warning", "error"], "not ready: 1 to mend first; ./mlops doctor looks again"),
    ],
)
def test_the_last_line_is_the_verdict(levels: list[str], said: str):
    assert doctor.verdict(doctor.Finding(level, "x", "y") for level in levels) == said


def test_json_is_what_the_table_shows(capsys: pytest.CaptureFixture[str]):
    code = doctor.main(["--engine", "local", "--format", "json"])
    levels = [finding["level"] for finding in json.loads(capsys.readouterr().out)]
    assert code == (1 if "error" in levels else 0)


def test_the_node_needs_debians_programs_until_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CHARMED_MLOPS_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.debian_packages().level == "error"
    (tmp_path / "builds" / "containerd-1").mkdir(parents=True)
    assert doctor.debian_packages().level == "warning"


def test_a_state_folder_whose_path_leaves_sockets_no_room_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CHARMED_MLOPS_STATE", str(tmp_path / "long" / ("a" * 60)))
    found = doctor.state_folder()
    assert found.level == "error"
    assert "whose path is shorter with CHARMED_MLOPS_STATE" in found.text


def test_a_state_folder_of_an_earlier_version_is_named(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    tmp_path = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("CHARMED_MLOPS_STATE", str(tmp_path))
    assert doctor.state_folder().level == "ok"
    (tmp_path / "pods").mkdir()
    assert doctor.state_folder().level == "error"
    assert "./mlops down" in doctor.state_folder().text


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give rights up")
def test_control_groups_need_root():
    assert doctor.control_groups().level == "ok"
    user = os.geteuid()
    os.seteuid(65534)
    try:
        finding = doctor.control_groups()
    finally:
        os.seteuid(user)
    assert (finding.level, "run as root" in finding.text) == ("error", True)
