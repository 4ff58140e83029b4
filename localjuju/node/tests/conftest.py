"""A cluster of its own for tests of its network: control plane, node, kube-proxy, kube-router."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localkube.controlplane import ensure_programs
from localkube.host.progress import Progress

_INSIDE = Path(__file__).with_name("cluster_inside.py")
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def _host() -> list[str]:
    """Interfaces, routes and the setting that the node changes in its own network."""
    links = sorted(path.name for path in Path("/sys/class/net").iterdir())
    return [*links, Path("/proc/net/route").read_text(), _FORWARDING.read_text()]


@pytest.fixture(scope="module")
def in_a_cluster(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """Runs a module's functions in a cluster: what they saw, by their names."""

    def run(module: str) -> dict[str, Any]:
        if os.geteuid() != 0:
            pytest.skip("the node runs as root only so far")
        state = tmp_path_factory.mktemp("state")
        before = _host()
        done = subprocess.run(
            [sys.executable, _INSIDE, ensure_programs(Progress()), state, module],
            capture_output=True, text=True, timeout=180,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert _host() == before, "the host's own network was changed"
        return json.loads(done.stdout)

    return run
