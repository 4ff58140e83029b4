"""Durations as Go reads and prints them."""

from __future__ import annotations

import pytest

from localjuju.pebble import units


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (1e-9, "1ns"), (1.5e-6, "1.5µs"), (0.1, "100ms"), (0.0015, "1.5ms"), (1, "1s"),
        (1.5, "1.5s"), (60, "1m0s"), (90.25, "1m30.25s"), (3600, "1h0m0s"), (7323.5, "2h2m3.5s"),
        (604800, "168h0m0s"), (-1.5, "-1.5s"), (-60, "-1m0s"),
    ],
)  # fmt: skip
def test_durations_are_printed_as_go_prints_them(seconds: float, text: str):
    assert units.duration(seconds) == text
    assert units.seconds(text) == pytest.approx(seconds)
