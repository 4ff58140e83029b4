"""What a request can fail with."""

from __future__ import annotations


class ApiError(Exception):
    """An answer with a status code other than success.

    Attributes:
        status: the HTTP status.
        kind: the machine-readable kind, "" where Pebble gives none.
    """

    def __init__(self, message: str, status: int = 400, kind: str = ""):
        super().__init__(message)
        self.status = status
        self.kind = kind


def not_found(what: str) -> ApiError:
    """404 with Pebble's kind."""
    return ApiError(what, 404, "not-found")
