"""How much a secret may hold: 1 MB, in base64, for one value and for all."""

from __future__ import annotations

import pytest

from localjuju.model import secrets
from localjuju.model.errors import ModelError


def test_what_juju_takes_is_taken():
    secrets.check_content({"one": "x" * 750_000})
    secrets.check_content({"one": "x" * 375_000, "two": "x" * 375_000})


def test_a_value_that_is_too_large_is_named():
    text = 'base64 encoded secret content for key "two" too large: 1000004 bytes'
    with pytest.raises(ModelError, match=text):
        secrets.check_content({"one": "x", "two": "x" * 750_001})


def test_values_that_are_too_large_together_are_refused():
    with pytest.raises(ModelError, match="secret content too large: 1200000 bytes"):
        secrets.check_content({"one": "x" * 450_000, "two": "x" * 450_000})
