"""A bench per test; hook commands are built once per run."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from localjuju.agent.tests.bench import Bench, build_tools


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("go") is None:
        pytest.skip("needs Go for the hook commands")
    if os.geteuid() != 0:
        pytest.skip("needs root for mount namespaces")
    return build_tools(tmp_path_factory.mktemp("tools"))


@pytest.fixture
async def bench(tmp_path: Path, tools: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path, tools)
    await made.start()
    yield made
    await made.stop()
