"""Logs stay small, and what writes them goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

from localjuju.engine import rotation


def test_a_large_log_is_kept_once_and_its_writer_goes_on(tmp_path: Path):
    file = tmp_path / "kube-apiserver.log"
    with file.open("ab", buffering=0) as writer:
        writer.write(b"old" * 10)
        assert rotation.rotate(file, 20)
        writer.write(b"new")
        assert file.read_bytes() == b"new"
        assert (tmp_path / "kube-apiserver.log.1").read_bytes() == b"old" * 10
        writer.write(b"later" * 5)
        assert rotation.rotate(file, 20)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "kube-apiserver.log",
        "kube-apiserver.log.1",
    ]
    assert (tmp_path / "kube-apiserver.log.1").read_bytes() == b"new" + b"later" * 5


def test_a_small_log_stays(tmp_path: Path):
    (tmp_path / "etcd.log").write_bytes(b"x" * 20)
    assert not rotation.rotate(tmp_path / "etcd.log", 20)
    assert [file.name for file in tmp_path.iterdir()] == ["etcd.log"]


def test_a_link_is_not_followed(tmp_path: Path):
    (tmp_path / "other").write_bytes(b"x" * 30)
    (tmp_path / "a.log").symlink_to(tmp_path / "other")
    assert not rotation.rotate(tmp_path / "a.log", 20)
    assert (tmp_path / "other").stat().st_size == 30


async def test_the_engine_looks_after_the_logs_of_its_programs(tmp_path: Path):
    for name in ("engine.log", "etcd.log"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(rotation.LARGEST + 1)

    async def kept() -> None:
        while not all((tmp_path / f"{name}.log.1").exists() for name in ("engine", "etcd")):
            await asyncio.sleep(0.01)

    working = asyncio.create_task(rotation.keep_small(tmp_path))
    try:
        await asyncio.wait_for(kept(), 20)
    finally:
        working.cancel()
    assert (tmp_path / "engine.log.1").stat().st_size == rotation.LARGEST + 1
