"""Users whose passwords Dex checks itself: bcrypt hashes in a secret of the application."""

from __future__ import annotations

import hashlib
import json
import secrets
import uuid
from typing import Annotated

import bcrypt
import msgspec

from charmed_mlops import ActionFailed, ServiceCharm
from charmed_mlops.results import names

Email = Annotated[str, msgspec.Meta(pattern=r"^[\w.+-]+@[\w-]+(\.[\w-]+)*\Z", max_length=254)]
_USERS, _ADMIN, _KEY = "users", "admin", "users"
_COST = 10  # the least that Dex takes; passwords are random, so more would add nothing


class User(msgspec.Struct, kw_only=True):
    """Who is meant."""

    email: Email


class Users:
    """The users; the leader makes and changes them, all units read them."""

    def __init__(self, charm: ServiceCharm):
        self._charm = charm

    def load(self, admin: str) -> list[dict[str, str]]:
        """Every user as Dex's configuration names one; makes the first one where there is none.

        Raises:
            Waiting: the leader has not made the first one yet.
        """
        first = self._charm.app_secret(_ADMIN, lambda: {"email": admin, "password": _password()})
        text = self._charm.app_secret(
            _USERS, lambda: {_KEY: json.dumps([_user(first["email"], first["password"])])}
        )[_KEY]
        # wakes the followers when it changes; says nothing about what has changed
        self._charm.peers.set("users", hashlib.sha256(text.encode()).hexdigest())
        return json.loads(text)

    def admin(self) -> dict[str, str]:
        """The first user's name and password.

        Raises:
            ActionFailed: not on this unit, or not yet, or she was removed.
        """
        self._charm.require_leader()
        found = self._secret(_ADMIN)
        if not any(each["email"] == found["email"] for each in self._users()):
            raise ActionFailed(f"{found['email']} was removed")
        return found

    def add(self, email: str) -> dict[str, str]:
        """A new user with a random password."""
        self._charm.require_leader()
        known = self._users()
        if any(each["email"].lower() == email.lower() for each in known):
            raise ActionFailed(f"there is a user {email} already")
        password = _password()
        self._save([*known, _user(email, password)])
        return {"email": email, "password": password}

    def remove(self, email: str) -> dict[str, str]:
        """Without the user."""
        self._charm.require_leader()
        known = self._users()
        kept = [each for each in known if each["email"] != email]
        if kept == known:
            raise ActionFailed(f"there is no user {email}")
        self._save(kept)
        return {"removed": email}

    def reset(self, email: str) -> dict[str, str]:
        """A new password; her user ID stays, so that she is the same for applications."""
        self._charm.require_leader()
        known = self._users()
        password = _password()
        for each in known:
            if each["email"] == email:
                each["hash"] = _hash(password)
                break
        else:
            raise ActionFailed(f"there is no user {email}")
        self._save(known)
        first = self._secret(_ADMIN)
        if first["email"] == email:
            self._charm.model.get_secret(label=_ADMIN).set_content({**first, "password": password})
        return {"email": email, "password": password}

    def listed(self) -> dict[str, str]:
        """Names only."""
        return names("users", sorted(each["email"] for each in self._users()))

    def _users(self) -> list[dict[str, str]]:
        return json.loads(self._secret(_USERS)[_KEY])

    def _secret(self, label: str) -> dict[str, str]:
        def absent() -> dict[str, str]:
            raise ActionFailed("there are no users yet: try again when the unit is active")

        return self._charm.app_secret(label, absent)

    def _save(self, users: list[dict[str, str]]) -> None:
        content = {_KEY: json.dumps(users)}
        self._charm.model.get_secret(label=_USERS).set_content(content)


def _password() -> str:
    return secrets.token_urlsafe(16)


def _hash(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(_COST)).decode()


def _user(email: str, password: str) -> dict[str, str]:
    return {
        "email": email,
        "hash": _hash(password),
        "username": email.partition("@")[0],
        "userID": str(uuid.uuid4()),
    }
