"""Durations and times as Pebble's API writes them."""

from __future__ import annotations

import datetime
import re

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9.]+)(ns|us|µs|ms|s|m|h)")


def seconds(text: str) -> float:
    """A duration in Go's form, such as `1m30s`, in seconds.

    Raises:
        ValueError: it is none.
    """
    if text in ("", "0"):
        return 0.0
    sign = -1.0 if text.startswith("-") else 1.0
    text = text.lstrip("-+")
    if not re.fullmatch(f"({_DURATION.pattern})+", text):
        raise ValueError(f'time: invalid duration "{text}"')
    return sign * sum(float(m[1]) * _SECONDS[m[2]] for m in _DURATION.finditer(text))


def duration(seconds: float) -> str:
    """Seconds as Go prints them: 0.1 is `100ms`, 90 is `1m30s`, 7200 is `2h0m0s`."""
    total = round(abs(seconds) * 1_000_000_000)
    sign = "-" if seconds < 0 and total else ""
    for size, unit in ((1_000, "ns"), (1_000_000, "µs"), (1_000_000_000, "ms")):
        if 0 < total < size:
            return sign + _decimal(total, size // 1_000) + unit
    hours, rest = divmod(total, 3_600_000_000_000)
    minutes, rest = divmod(rest, 60_000_000_000)
    head = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{sign}{head}{_decimal(rest, 1_000_000_000)}s"


def _decimal(number: int, unit: int) -> str:
    """`number` / `unit` without a zero at the end."""
    whole, rest = divmod(number, unit)
    digits = str(rest).rjust(len(str(unit)) - 1, "0").rstrip("0")
    return f"{whole}.{digits}" if rest else str(whole)


def now() -> datetime.datetime:
    """The time, with a zone."""
    return datetime.datetime.now(datetime.timezone.utc)


def text(time: datetime.datetime) -> str:
    """RFC 3339, with microseconds always."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse(value: str) -> datetime.datetime:
    """RFC 3339 with up to nanoseconds.

    Raises:
        ValueError: it is no time.
    """
    match = re.fullmatch(r"(\d+-\d+-\d+T\d+:\d+:\d+)(\.\d+)?(Z|[+-]\d\d:\d\d)", value)
    if not match:
        raise ValueError(f'invalid time "{value}"')
    zone = "+00:00" if match[3] == "Z" else match[3]
    fraction = (match[2] or ".0")[:7].ljust(7, "0")
    return datetime.datetime.fromisoformat(f"{match[1]}{fraction}{zone}")
