"""A Unix socket is its owner's from the beginning, and nobody else's files change by it."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import pytest

from localkube.host.sockets import PrivateSocket, listen


async def _nobody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def test_what_other_tasks_make_meanwhile_keeps_its_mode(tmp_path: Path):
    """A umask would be theirs as well."""
    ending = asyncio.Event()

    async def other() -> list[int]:
        modes = []
        while not ending.is_set():
            folder = tmp_path / f"folder{len(modes)}"
            folder.mkdir()
            modes.append(stat.S_IMODE(folder.stat().st_mode))
            await asyncio.sleep(0)
        return modes

    making = asyncio.create_task(other())
    await asyncio.sleep(0)
    served = PrivateSocket(tmp_path / "a.sock", _nobody)
    await served.start()
    ending.set()
    assert set(await making) == {0o755}
    assert stat.S_IMODE((tmp_path / "a.sock").stat().st_mode) == 0o600
    await served.stop()
    assert not (tmp_path / "a.sock").exists()


@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_the_mode_is_that_asked_for(tmp_path: Path, mode: int):
    path = tmp_path / "a.sock"
    path.write_text("left behind")
    with listen(path, mode):
        assert stat.S_IMODE(path.stat().st_mode) == mode
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))
