"""Times as the model writes them; one place, so that a test can move the clock."""

from __future__ import annotations

import datetime

_offset = datetime.timedelta()


def now() -> datetime.datetime:
    """The model's time, UTC."""
    return datetime.datetime.now(datetime.timezone.utc) + _offset


def jump(seconds: float) -> None:
    """Moves the model's time forward: secrets rotate and expire as if it had passed."""
    global _offset
    _offset += datetime.timedelta(seconds=seconds)


def offset() -> float:
    """How many seconds the model's time is ahead."""
    return _offset.total_seconds()


def restore(seconds: float) -> None:
    """Sets how far the model's time is ahead, as it was before a restart."""
    global _offset
    _offset = datetime.timedelta(seconds=seconds)


def text(time: datetime.datetime | None = None) -> str:
    """RFC 3339, UTC, to the microsecond: sorts as text."""
    time = (time or now()).astimezone(datetime.timezone.utc)
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse(value: str) -> datetime.datetime:
    """RFC 3339 with `Z` or an offset; fractions are optional and may have nine digits."""
    value = value.strip().replace("Z", "+00:00").replace(" ", "T", 1)
    head, dot, rest = value.partition(".")
    if dot:
        digits = len(rest) - len(rest.lstrip("0123456789"))
        value = f"{head}.{rest[:digits][:6].ljust(6, '0')}{rest[digits:]}"
    time = datetime.datetime.fromisoformat(value)
    return time if time.tzinfo else time.replace(tzinfo=datetime.timezone.utc)


def seconds_text(value: str) -> str:
    """A stored time in RFC 3339 to the second, as Juju prints those of secrets."""
    return parse(value).strftime("%Y-%m-%dT%H:%M:%SZ")


def status_text(value: str) -> str:
    """A stored time as `juju status --format json` prints it: `24 Nov 2026 10:00:00Z`."""
    return parse(value).strftime("%d %b %Y %H:%M:%SZ")
