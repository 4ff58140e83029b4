"""Who may ask the daemon for what: named identities, and the levels of access.

Source: docs/reference/identities.md, docs/explanation/api-and-clients.md and
internals/daemon/access.go of canonical/pebble 1.26.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localjuju.pebble import passwords
from localjuju.pebble.errors import ApiError

ADMIN, READ, METRICS, UNTRUSTED, OPEN = "admin", "read", "metrics", "untrusted", "open"
_LEVELS = (ADMIN, READ, METRICS, UNTRUSTED)
_QUOTED = f'"{ADMIN}", "{READ}", "{METRICS}", or "{UNTRUSTED}"'
_MAY = {OPEN: _LEVELS, METRICS: (METRICS, READ, ADMIN), READ: (READ, ADMIN), ADMIN: (ADMIN,)}
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]*")
_OPEN_PATHS = ("/v1/system-info", "/v1/health")
_ADMINS_GET = ("/v1/files", "/v1/tasks/{task}/websocket/{name}")  # the secrets of files, and exec


def needed(method: str, path: str) -> str:
    """What a request needs: open, metrics, read or admin.

    Args:
        path: the route's, with its parameters in braces.
    """
    if path in _OPEN_PATHS:
        return OPEN
    if path == "/v1/metrics":
        return METRICS
    if method == "POST":
        return READ if path == "/v1/notices" else ADMIN
    return ADMIN if path in _ADMINS_GET else READ


def allowed(level: str | None, need: str, *, local: bool) -> bool:
    """Whether one may ask for it.

    Args:
        level: who asks; None where nobody knows.
        local: by the Unix socket. The port is in clear text: a password for metrics only.
    """
    if need == OPEN:
        return True
    if not local:
        return need == METRICS and level == METRICS
    return level in _MAY[need]


@dataclass(frozen=True)
class Identity:
    """One that may ask: known by the user id, by a password, or by either.

    Attributes:
        access: admin, read, metrics or untrusted.
        user_id: of the process at the other end of the socket.
        password: its hash.
    """

    access: str
    user_id: int | None = None
    password: str = ""

    @classmethod
    def from_json(cls, given: Any) -> Identity:
        """Raises ApiError: it is not one."""
        given = given if isinstance(given, dict) else {}
        local, basic = given.get("local"), given.get("basic")
        user_id = None if local is None else (local or {}).get("user-id")
        if local is not None and (not isinstance(user_id, int) or user_id < 0):
            raise _unreadable("local identity must specify user-id")
        access = given.get("access")
        if not access:
            raise _unreadable(f"access value must be specified ({_QUOTED})")
        if access not in _LEVELS:
            raise _unreadable(f'invalid access value "{access}", must be {_QUOTED}')
        password = "" if basic is None else (basic or {}).get("password") or ""
        if basic is not None and not password:
            raise _unreadable("basic identity must specify password (hashed)")
        if local is None and basic is None:
            raise _unreadable('identity must have at least one type ("local" or "basic")')
        return cls(access, user_id, str(password))

    def to_json(self, *, hidden: bool) -> dict[str, Any]:
        """As the API has it; `hidden` without the password's hash."""
        found: dict[str, Any] = {"access": self.access}
        if self.user_id is not None:
            found["local"] = {"user-id": self.user_id}
        if self.password:
            found["basic"] = {"password": "*****" if hidden else self.password}
        return found


def _unreadable(reason: str) -> ApiError:
    return ApiError(f"cannot decode request body: {reason}")


class Identities:
    """All identities, kept in a file."""

    def __init__(self, file: Path):
        self._file = file
        self.all: dict[str, Identity] = {}
        if file.exists():
            known = json.loads(file.read_text())
            self.all = {name: Identity.from_json(each) for name, each in known.items()}

    def change(self, action: str, given: Mapping[str, Any]) -> None:
        """Changes those that are named.

        Args:
            action: add, update, replace or remove.
            given: identities by their names; None for one that goes.

        Raises:
            ApiError: nothing is changed then.
        """
        if action not in ("add", "update", "replace", "remove"):
            raise ApiError(
                f'invalid action "{action}", must be "add", "update", "replace", or "remove"'
            )
        if not isinstance(given, Mapping):
            raise _unreadable("identities are a map of names")
        new: dict[str, Identity | None] = {}
        for name, each in given.items():
            if action != "replace" and (each is None) != (action == "remove"):
                word = "be" if action == "remove" else "not be"
                raise ApiError(
                    f'identity value for "{name}" must {word} null for {action} operation'
                )
            new[name] = None if each is None else Identity.from_json(each)
        for name, each in new.items():
            if each is not None and not _NAME.fullmatch(name):
                raise ApiError(
                    f'identity "{name}" invalid: identity name "{name}" invalid: must start with '
                    "an alphabetic character and only contain alphanumeric characters, "
                    "underscore, and hyphen"
                )
        if action == "add" and (taken := sorted(self.all.keys() & new.keys())):
            raise ApiError(f"identities already exist: {', '.join(taken)}")
        if action in ("update", "remove") and (missing := sorted(new.keys() - self.all.keys())):
            raise ApiError(f"identities do not exist: {', '.join(missing)}")
        merged = self.all | new
        self._take({name: each for name, each in merged.items() if each is not None})

    def _take(self, identities: dict[str, Identity]) -> None:
        names: dict[int, list[str]] = {}
        for name, each in sorted(identities.items()):
            if each.user_id is not None:
                names.setdefault(each.user_id, []).append(name)
        for user_id, same in names.items():
            if len(same) > 1:
                raise ApiError(
                    f"cannot have multiple identities with user ID {user_id} ({', '.join(same)})"
                )
        known = {name: each.to_json(hidden=False) for name, each in identities.items()}
        scratch = self._file.with_suffix(".new")
        scratch.touch(0o600)
        scratch.write_text(json.dumps(known))
        scratch.replace(self._file)
        self.all = identities

    def level(self, user_id: int | None, login: tuple[str, str] | None) -> str | None:
        """The level of access of one who asks; None where nobody knows who it is.

        Args:
            user_id: of the process at the other end; None for the port.
            login: name and password, which count before the user id.
        """
        if login is not None:
            if known := self._by_password(login):
                return known.access
        else:
            for each in self.all.values():
                if user_id is not None and each.user_id == user_id:
                    return each.access
        if user_id is None:
            return None
        return ADMIN if user_id in (0, os.getuid()) else READ

    def knows_password(self, login: tuple[str, str] | None) -> bool:
        """Whether it is an identity's name and password, so that the user id says nothing."""
        return login is not None and self._by_password(login) is not None

    def _by_password(self, login: tuple[str, str]) -> Identity | None:
        name, password = login
        known = self.all.get(name)
        good = known and known.password and passwords.fits(password, known.password)
        return known if good else None
