"""What Pebble starts."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from localjuju import system
from localjuju.pebble import processes


async def test_a_service_leaves_the_processors_to_the_engine():
    reaper = processes.Reaper()
    reaper.start()
    pid, ended = reaper.spawn([sys.executable, "-c", "import time; time.sleep(60)"])
    assert os.getpriority(os.PRIO_PROCESS, pid) == system.NICE_OF_PODS
    group = Path(f"/proc/{pid}/autogroup")
    if group.exists() and group.read_text():  # where the kernel has it
        assert group.read_text().split()[-1] == str(system.NICE_OF_PODS)
    processes.kill(pid, signal.SIGKILL)
    assert await asyncio.wait_for(ended, 10) == 128 + signal.SIGKILL
