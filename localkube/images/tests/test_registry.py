"""What the registry answers, by the OCI distribution specification 1.1."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from typing import Any

import pytest

from localkube.host.errors import EngineError
from localkube.images.image import MANIFEST, Image
from localkube.images.layers import Layer
from localkube.images.registry import Registry

TOOL = "quay.io/team/tool:1"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What is in the image."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("some")
    return tree


@pytest.fixture
def registry(tree: Path, tmp_path: Path) -> Iterator[int]:
    """A registry with one image, and one that cannot be made; its port."""

    def find(reference: str) -> Image | None:
        if reference == "quay.io/team/broken:1":
            raise EngineError("a download failed:\nsee the log")
        return Image([Layer("tree", tree)]) if reference == TOOL else None

    found = Registry(find, tmp_path / "kept")
    yield found.start(0)
    found.stop()


@dataclass(frozen=True)
class Answer:
    """What the registry answered."""

    status: int
    reason: str
    headers: Message
    content: bytes


def _ask(port: int, path: str, method: str = "GET") -> Answer:
    with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, f"/v2/{path}")
        answer = connection.getresponse()
        return Answer(answer.status, answer.reason, answer.headers, answer.read())


def test_it_says_that_it_is_one(registry: int):
    assert _ask(registry, "").status == 200


def test_a_manifest_is_found_by_tag_for_the_host_that_the_image_names(registry: int):
    head = _ask(registry, "team/tool/manifests/1?ns=quay.io", "HEAD")
    assert head.headers["Content-Type"] == MANIFEST
    assert head.content == b""
    answer = _ask(registry, "team/tool/manifests/1?ns=quay.io")
    assert answer.headers["Docker-Content-Digest"] == head.headers["Docker-Content-Digest"]
    assert head.headers["Content-Length"] == str(len(answer.content))
    assert json.loads(answer.content)["mediaType"] == MANIFEST
    assert _ask(registry, "team/tool/manifests/1?ns=docker.io").status == 404


def test_all_that_a_manifest_names_is_found_by_digest(registry: int):
    digest = _ask(registry, "team/tool/manifests/1?ns=quay.io").headers["Docker-Content-Digest"]
    answer = _ask(registry, f"team/tool/manifests/{digest}?ns=quay.io")
    said: Any = json.loads(answer.content)
    for described in (said["config"], *said["layers"]):
        blob = _ask(registry, f"team/tool/blobs/{described['digest']}?ns=quay.io")
        assert blob.headers["Content-Type"] == described["mediaType"]
        assert len(blob.content) == described["size"]


@pytest.mark.parametrize(
    "path",
    [
        "team/other/manifests/1?ns=quay.io", f"team/tool/manifests/sha256:{'0' * 64}?ns=quay.io",
        f"team/tool/blobs/sha256:{'0' * 64}", "team/tool/tags/list", "../etc/passwd",
    ],
)  # fmt: skip
def test_what_it_has_not_is_not_found(registry: int, path: str):
    assert _ask(registry, path).status == 404


def test_an_image_that_cannot_be_made_is_refused_with_the_reason(registry: int):
    answer = _ask(registry, "team/broken/manifests/1?ns=quay.io")
    assert (answer.status, answer.reason) == (502, "a download failed: see the log")


def test_a_layer_that_has_changed_is_cut_short_then_refused_and_comes_with_the_next_pull(
    registry: int, tree: Path
):
    def layer() -> str:
        manifest = json.loads(_ask(registry, "team/tool/manifests/1?ns=quay.io").content)
        return f"team/tool/blobs/{manifest['layers'][0]['digest']}"

    before = layer()
    (tree / "file").write_text("SOME")
    with pytest.raises(IncompleteRead):
        _ask(registry, before)
    answer = _ask(registry, before)
    assert answer.status == 502
    assert answer.reason == f"{tree} has changed since it was read: pull the image again"
    assert _ask(registry, layer()).status == 200
