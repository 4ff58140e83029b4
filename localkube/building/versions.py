"""Versions of what others make, which several packages name."""

from __future__ import annotations

KUBERNETES = "1.35.4"
