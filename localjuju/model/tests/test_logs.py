"""Which lines a model's log keeps."""

from __future__ import annotations

import pytest

from localjuju.model.logs import enabled


@pytest.mark.parametrize(
    "config, module, level, kept",
    [
        ("<root>=INFO", "unit.a/0.juju-log", "DEBUG", False),
        ("<root>=INFO", "unit.a/0.juju-log", "WARNING", True),
        ("<root>=INFO;unit=DEBUG", "unit.a/0.juju-log", "DEBUG", True),
        ("<root>=WARNING; unit=DEBUG", "juju.worker", "INFO", False),
        ("<root>=TRACE", "unit.a/0", "TRACE", True),
    ],
)
def test_enabled(config: str, module: str, level: str, kept: bool):
    assert enabled(config, module, level) is kept
