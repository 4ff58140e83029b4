"""A real container in namespaces of its own: what it sees, and what is left of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from localkube.host import environment

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces as root")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each function of `inside` returned; started as the engine starts its inner process."""
    # Overlayfs refuses a layer that lies on another overlay, as in a container: a tmpfs will do.
    folder = tmp_path_factory.mktemp("runtime")
    caller = {
        **os.environ,
        "FAKE_SECRET": "hunter2",
        "HTTPS_PROXY": "http://me:hunter2@proxy:1",
        "LOCALJUJU_IMAGES": "mine.yaml",
    }
    command = [sys.executable, str(Path(__file__).with_name("inside.py")), str(folder)]
    names = [
        "environment", "oom_score", "timed_out", "shared_pids", "own_user", "read_only_root",
        "volumes_of_a_group", "own_bin",
    ]  # fmt: skip
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", 'mount -t tmpfs tmpfs "$1"; shift; exec "$@"', "sh",
         str(folder), *command, *names],
        env=environment.scrubbed(caller),
        capture_output=True,
        text=True,
        timeout=60,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_nothing_of_the_caller_s_environment_is_readable_in_a_container(found: dict[str, Any]):
    lines = found["environment"].splitlines()
    names = {line.partition("=")[0] for line in lines}
    assert "hunter2" not in found["environment"]
    assert "PATH" in names
    assert {name for name in names if not name.startswith(("CHARMED_MLOPS_", "LOCALJUJU_"))} <= {
        "PATH", "LANG", "HOME", "LD_LIBRARY_PATH", "PYTHONPATH", "PWD", "SHLVL", "_", "OLDPWD",
    }  # fmt: skip


def test_the_kernel_ends_a_container_before_the_engine_and_the_user_s_programs(
    found: dict[str, Any],
):
    container, engine = found["oom_score"]
    assert container >= 500
    assert container > engine


def test_an_exec_that_timed_out_leaves_no_process(found: dict[str, Any]):
    assert "98764" not in found["timed_out"].replace("cat", "")


def test_containers_see_each_other_s_processes_where_the_pod_says_so(found: dict[str, Any]):
    alone, sharing = found["shared_pids"]
    assert alone == 1
    assert sharing == 3  # the pod's own process and one for each container


def test_a_container_runs_as_the_user_of_its_image_with_the_groups_of_its_pod(
    found: dict[str, Any],
):
    own = found["own_user"]
    assert own["ids"].split() == ["1000", "100", "100", "7", "170"]
    first = {line.split()[0]: line.split()[1:] for line in own["first"].splitlines()}
    assert first["Uid:"] == ["1000"] * 4
    assert first["Groups:"] == ["7", "100", "170"]
    assert first["CapEff:"] == ["0" * 16]
    assert own["stdout"] == "said\n"


def test_an_image_s_user_may_write_to_what_is_its_own_and_nowhere_else(found: dict[str, Any]):
    own = found["own_user"]
    assert own["written"] == {
        "/": "no", "/etc": "no", "/srv/app": "no", "/usr/bin": "no",
        "/home/jovyan": "yes", "/var/own": "yes", "/tmp": "yes",
    }  # fmt: skip
    assert own["tmp"] == "1777\n"
    assert own["home"].splitlines() == ["/home/jovyan", "of the imagemore"]
    assert own["image"] == "of the image"


def test_a_read_only_root_is_read_only_everywhere_but_in_volumes(found: dict[str, Any]):
    assert {folder: text.strip() for folder, text in found["read_only_root"].items()} == {
        "/": "no", "/etc": "no", "/usr/bin": "no", "/tmp": "no", "/data": "yes",
    }  # fmt: skip


def test_a_pod_s_group_owns_its_volumes_and_what_is_made_in_them(found: dict[str, Any]):
    volumes = found["volumes_of_a_group"]
    assert volumes["claim"] == "of an earlier pod2775 170\n"
    assert volumes["empty"] == "65532 170\n"
    assert not volumes["followed"]


def test_an_image_s_own_bin_and_lib_are_seen_beside_those_below_usr(found: dict[str, Any]):
    assert found["own_bin"].split() == ["top", "usr", "library", "host"]
