"""In CI a test that lacks something fails: a skipped test would hide that nothing was tested."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

# What a machine may lack without anything being wrong with it.
EXCUSED = (
    "charmcraft is installed by tox -e pack alone",
    "no control group can be made",
    "does not let the limit be lowered",
    "the local engine",
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns a skip into a failure where $CI is set."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(text in reason for text in EXCUSED):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} would be skipped in CI: {reason}"
    return report
