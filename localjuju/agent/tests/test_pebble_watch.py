"""What becomes of what Pebble tells, where no Pebble runs."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest

from localjuju.agent import pebble

NOTICE = {
    "type": "change-update", "key": "7", "last-repeated": "2026-01-02T03:04:05Z",
    "last-data": {"kind": "perform-check", "check-name": "up"},
}  # fmt: skip


async def _event(monkeypatch: pytest.MonkeyPatch, status: int) -> Any:
    async def refuse(*_: Any) -> None:
        raise aiohttp.ClientResponseError(Mock(), (), status=status)

    monkeypatch.setattr(pebble, "_get", refuse)
    watch = object.__new__(pebble.PebbleWatch)
    watch._container = "web"
    return await watch._event(Mock(), NOTICE)


async def test_a_check_whose_change_pebble_has_pruned_has_failed(monkeypatch: pytest.MonkeyPatch):
    event = await _event(monkeypatch, 404)
    assert (event.kind, event.container, event.check) == ("pebble-check-failed", "web", "up")


async def test_another_error_is_tried_again(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(aiohttp.ClientResponseError):
        await _event(monkeypatch, 500)
