"""What an image's blobs hold, by the OCI image specification."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from localkube.host.errors import EngineError
from localkube.images.image import MANIFEST, Blob, Image, forget, pack
from localkube.images.layers import Layer


@pytest.fixture
def layer(tmp_path: Path) -> Layer:
    """A tree with a program, a link to it, another name of it and a folder of some user's."""
    folder = tmp_path / "tree"
    (folder / "bin").mkdir(parents=True)
    (folder / "data" / "inner").mkdir(parents=True)
    program = folder / "bin" / "tool"
    program.write_text("#!/bin/true\n")
    program.chmod(0o4755)
    (folder / "bin" / "link").symlink_to("tool")
    (folder / "bin" / "tool2").hardlink_to(program)
    (folder / "data" / "inner" / "file").write_text("some")
    return Layer("tool-1", folder, "opt/tool", {"data": (584788, 584789)})


def _content(blob: Blob) -> bytes:
    content = b"".join(blob.read())
    assert blob.size == len(content)
    assert blob.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    return content


def _members(blob: Blob) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(_content(blob))) as tar:
        return {member.name: member for member in tar}


def test_a_manifest_names_config_and_layers_by_their_digests(layer: Layer, tmp_path: Path):
    manifest, (config, *layers) = pack(Image([layer]), tmp_path / "kept")
    said = json.loads(_content(manifest))
    assert said["mediaType"] == manifest.kind == MANIFEST
    assert said["config"] == config.descriptor()
    assert said["layers"] == [one.descriptor() for one in layers]
    assert json.loads(_content(config))["rootfs"]["diff_ids"] == [one.digest for one in layers]


def test_a_config_says_how_the_image_is_run(tmp_path: Path):
    image = Image(
        [], user="1000:2000", entrypoint=["/bin/tool"], command=["run"],
        environment={"B": "2", "A": "1"}, folder="/work",
    )  # fmt: skip
    _, (config,) = pack(image, tmp_path)
    said = json.loads(_content(config))
    assert said["os"] == "linux"
    assert said["config"] == {
        "User": "1000:2000", "Entrypoint": ["/bin/tool"], "Cmd": ["run"],
        "Env": ["A=1", "B=2"], "WorkingDir": "/work",
    }  # fmt: skip


def test_a_layer_keeps_modes_and_links_and_says_whose_a_file_is(layer: Layer, tmp_path: Path):
    _, (_, blob) = pack(Image([layer]), tmp_path / "kept")
    members = _members(blob)
    assert list(members)[:3] == ["opt", "opt/tool", "opt/tool/bin"]
    tool = members["opt/tool/bin/tool"]
    assert (tool.mode, tool.uid, tool.gid) == (0o4755, 0, 0)
    assert members["opt/tool/bin/link"].linkname == "tool"
    assert members["opt/tool/bin/tool2"].linkname == "opt/tool/bin/tool"
    for name in ("opt/tool/data", "opt/tool/data/inner/file"):
        assert (members[name].uid, members[name].gid) == (584788, 584789)


def test_a_tree_below_a_folder_that_everybody_may_write_to_leaves_it_so(
    layer: Layer, tmp_path: Path
):
    for place, modes in (
        ("tmp/cache/tool", {"tmp": 0o1777, "tmp/cache": 0o755}),
        ("var/tmp/tool", {"var": 0o755, "var/tmp": 0o1777}),
        ("root/tmp/tool", {"root": 0o755, "root/tmp": 0o755}),
    ):
        _, (_, packed) = pack(Image([dataclasses.replace(layer, place=place)]), tmp_path / "kept")
        found = _members(packed)
        assert {name: found[name].mode for name in modes} == modes


def test_a_layer_may_have_folders_elsewhere(layer: Layer, tmp_path: Path):
    (layer.folder / "lib").symlink_to("usr/lib")
    merged = {"bin": "usr/bin", "lib": "usr/lib"}
    changed = dataclasses.replace(layer, place="", moved=merged)
    _, (_, blob) = pack(Image([changed]), tmp_path / "kept")
    members = _members(blob)
    assert list(members) == [
        "usr/bin", "usr/bin/link", "usr/bin/tool", "usr/bin/tool2", "data", "data/inner",
        "data/inner/file", "lib",
    ]  # fmt: skip
    assert members["usr/bin/tool2"].linkname == "usr/bin/tool"


def test_a_layer_s_digest_is_found_out_once_and_again_when_it_is_forgotten(
    layer: Layer, tmp_path: Path
):
    kept = tmp_path / "kept"
    first = pack(Image([layer]), kept)
    (layer.folder / "new").write_text("")
    assert pack(Image([layer]), kept) == first
    for other in (
        dataclasses.replace(layer, name="tool-2"),
        dataclasses.replace(layer, place="srv"),
        dataclasses.replace(layer, owners={}),
        dataclasses.replace(layer, moved={"bin": "usr/bin"}),
    ):
        assert pack(Image([other]), kept)[0].digest != first[0].digest
    forget(layer, kept)
    assert pack(Image([layer]), kept)[0].digest != first[0].digest


def test_of_a_layer_nothing_is_kept_but_its_digest_and_size(layer: Layer, tmp_path: Path):
    pack(Image([layer]), tmp_path / "kept")
    files = [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 200


def _grow(folder: Path) -> None:
    (folder / "data" / "inner" / "file").write_text("some more" * 1000)


def _become_shorter(folder: Path) -> None:
    (folder / "data" / "inner" / "file").write_text("")


def _change(folder: Path) -> None:
    (folder / "data" / "inner" / "file").write_text("SOME")


def _go(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize("change", [_grow, _become_shorter, _change, _go])
def test_a_layer_whose_tree_has_changed_is_refused_before_its_end(
    layer: Layer, tmp_path: Path, change: Callable[[Path], None]
):
    _, (_, blob) = pack(Image([layer]), tmp_path / "kept")
    change(layer.folder)
    came: list[bytes] = []
    with pytest.raises(EngineError, match=f"{layer.folder} has changed"):
        came.extend(blob.read())
    assert sum(map(len, came)) < blob.size


def test_the_same_tree_makes_the_same_bytes(layer: Layer, tmp_path: Path):
    assert pack(Image([layer]), tmp_path / "a")[0] == pack(Image([layer]), tmp_path / "b")[0]
