"""A real container in namespaces of its own: what it sees, and what is left of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from localjuju.engine import environment

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
    names = ["environment", "oom_score", "timed_out", "shared_pids"]
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
