"""Notices: what happened, once for each type and key, with how often and when last."""

from __future__ import annotations

import asyncio
import datetime
import itertools
from dataclasses import dataclass, field
from typing import Any

from localjuju.pebble import units

_EXPIRE = "168h0m0s"
_KEPT = datetime.timedelta(seconds=units.seconds(_EXPIRE))


@dataclass
class Notice:
    """One notice. `user` is None for a public one."""

    id: str
    type: str
    key: str
    user: int | None
    first: datetime.datetime
    last: datetime.datetime
    repeated: datetime.datetime
    occurrences: int = 0
    data: dict[str, str] = field(default_factory=dict)
    repeat_after: str = ""

    def to_json(self) -> dict[str, Any]:
        """As the API answers."""
        found: dict[str, Any] = {
            "id": self.id, "user-id": self.user, "type": self.type, "key": self.key,
            "first-occurred": units.text(self.first), "last-occurred": units.text(self.last),
            "last-repeated": units.text(self.repeated), "occurrences": self.occurrences,
            "expire-after": _EXPIRE,
        }  # fmt: skip
        if self.data:
            found["last-data"] = self.data
        if self.repeat_after:
            found["repeat-after"] = self.repeat_after
        return found


class Notices:
    """All notices; those who wait are woken by each that is new or due again."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._all: dict[tuple[int | None, str, str], Notice] = {}
        self._changed = asyncio.Event()
        self._last = units.now()

    def add(
        self, type: str, key: str, *, user: int | None = None,
        data: dict[str, str] | None = None, repeat_after: str = "",
    ) -> Notice:  # fmt: skip
        """Records an occurrence."""
        # Later ones are found by `after`: two must not have the same time.
        now = max(units.now(), self._last + datetime.timedelta(microseconds=1))
        self._last = now
        self._forget_old()
        notice = self._all.get((user, type, key))
        if notice is None:
            notice = Notice(str(next(self._ids)), type, key, user, now, now, now)
            self._all[user, type, key] = notice
        due = notice.repeated + datetime.timedelta(seconds=units.seconds(notice.repeat_after))
        notice.last = now
        notice.occurrences += 1
        notice.data = data or {}
        notice.repeat_after = repeat_after
        if notice.occurrences == 1 or not repeat_after or now >= due:
            notice.repeated = now
            self._changed.set()
            self._changed = asyncio.Event()
        return notice

    def get(self, id: str) -> Notice | None:
        """A notice by its id."""
        return next((notice for notice in self._all.values() if notice.id == id), None)

    def find(
        self, *, types: set[str], keys: set[str], user: int | None, after: datetime.datetime | None
    ) -> list[Notice]:
        """Matching notices, oldest repetition first.

        Args:
            types: empty for all; keys: likewise.
            user: only those that this user sees; None for everybody's.
            after: only those repeated later.
        """
        self._forget_old()
        found = [
            notice
            for notice in self._all.values()
            if (not types or notice.type in types)
            and (not keys or notice.key in keys)
            and (user is None or notice.user in (None, user))
            and (after is None or notice.repeated > after)
        ]
        return sorted(found, key=lambda notice: notice.repeated)

    def _forget_old(self) -> None:
        oldest = units.now() - _KEPT
        self._all = {key: kept for key, kept in self._all.items() if kept.last >= oldest}

    async def changed(self) -> None:
        """Returns at the next new or repeated notice."""
        await self._changed.wait()
