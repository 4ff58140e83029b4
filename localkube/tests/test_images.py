"""The image's tar, by the OCI image layout."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from localkube import images


def _write(folder: Path) -> Path:
    program = folder / "program"
    program.write_bytes(b"#!/bin/true\n")
    file = folder / "image.tar"
    images.write(file, "example.org/a:1", {"bin/a": program}, {"bin/b": "a"}, ["/bin/a"])
    return file


@pytest.fixture
def image(tmp_path: Path) -> dict[str, bytes]:
    """What the tar holds, by name."""
    with tarfile.open(_write(tmp_path)) as tar:
        found = {}
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            found[member.name] = content.read()
        return found


def _blob(image: dict[str, bytes], described: dict[str, Any]) -> bytes:
    content = image[f"blobs/{described['digest'].replace(':', '/')}"]
    assert described["size"] == len(content)
    assert described["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
    return content


def test_it_is_found_by_its_name(image: dict[str, bytes]):
    (entry,) = json.loads(image["index.json"])["manifests"]
    assert entry["annotations"] == {"io.containerd.image.name": "example.org/a:1"}
    assert json.loads(image["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}


def test_its_layer_holds_the_programs_and_the_config_what_it_runs(image: dict[str, bytes]):
    manifest = json.loads(_blob(image, json.loads(image["index.json"])["manifests"][0]))
    config = json.loads(_blob(image, manifest["config"]))
    assert config["config"]["Entrypoint"] == ["/bin/a"]
    (layer,) = manifest["layers"]
    unpacked = gzip.decompress(_blob(image, layer))
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(unpacked).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as tar:
        assert tar.getmember("bin/a").mode == 0o755
        assert tar.getmember("bin/b").linkname == "a"


def test_the_same_content_makes_the_same_bytes(tmp_path: Path):
    first = _write(tmp_path).read_bytes()
    assert _write(tmp_path).read_bytes() == first
