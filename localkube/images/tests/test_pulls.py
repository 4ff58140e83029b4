"""Images that the node pulls, whatever their host is called, and those that there are not."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from localkube.node.programs import NodePrograms
from localkube.tests.clusters import (
    BROKEN,
    TWO_LAYERS,
    Cluster,
    pod,
    wait_until,
    with_a_pod,
)

pytestmark = [
    pytest.mark.localkube,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]


@pytest.mark.parametrize("image", ["two:1", *TWO_LAYERS])
def test_a_pod_runs_an_image_as_the_image_says(cluster: Cluster, image: str):
    asked = pod("pulled")
    asked["spec"]["containers"] = [{"name": "main", "image": image}]
    cluster.run(asked)
    assert cluster.kubectl("logs", "pulled") == "hello\n1234 0 word\n"
    cluster.kubectl("delete", "pod/pulled", "--timeout=60s")


def test_of_an_image_s_layers_nothing_but_the_unpacked_files_stays(cluster: Cluster):
    cluster.run(pod("pulled"))
    blobs = cluster.state / "containerd" / "io.containerd.content.v1.content" / "blobs"
    wait_until(lambda: all(file.stat().st_size < 2**16 for file in blobs.rglob("*")), 60)
    cluster.kubectl("delete", "pod/pulled", "--timeout=60s")


def test_an_image_runs_after_a_restart_and_another_shares_its_layer(
    programs: NodePrograms, state: Path
):
    cluster = with_a_pod(programs, state)
    assert cluster.end(signal.SIGTERM) == 0
    again = Cluster(programs, state)
    try:
        again.kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=60s")
        again.run(pod("same"), pod("other", container={"image": TWO_LAYERS[0]}))
        assert len(_unpacked(state, "bin/busybox")) == 1
        assert len(_unpacked(state, "words/hello")) == 1
    finally:
        assert again.end(signal.SIGTERM) == 0


def _unpacked(state: Path, file: str) -> list[Path]:
    snapshots = state / "containerd" / "io.containerd.snapshotter.v1.overlayfs" / "snapshots"
    return list(snapshots.glob(f"*/fs/{file}"))


def _waits(cluster: Cluster, name: str) -> dict[str, Any]:
    found = json.loads(cluster.kubectl("get", "pod", name, "-ojson"))
    (status,) = found["status"].get("containerStatuses") or [{"state": {}}]
    return status["state"].get("waiting", {})


@pytest.mark.parametrize(
    ("image", "why"),
    [("example.org/unknown:1", "not found"), (BROKEN, "502 its download failed")],
)
def test_a_pod_whose_image_there_is_not_says_so_and_waits(cluster: Cluster, image: str, why: str):
    cluster.create(pod("waits", container={"image": image}))
    wait_until(lambda: _waits(cluster, "waits").get("reason") == "ErrImagePull", 30)
    assert why in cluster.kubectl("get", "events", "--field-selector=reason=Failed")
    wait_until(lambda: _waits(cluster, "waits").get("reason") == "ImagePullBackOff", 60)
    cluster.kubectl("delete", "pod/waits", "--timeout=60s")
