"""The server's accounts: root, and a user with a database for each relation.

What was applied last is kept beside the data, as a digest for each user: a hook that changes
nothing runs no SQL, and data that comes or goes brings or takes what is true of it.
"""

from __future__ import annotations

import hashlib
import json
import re

from server import DATA, Server

from charmed_mlops import ActionFailed, File, Workload

_APPLIED = f"{DATA}/.charmed-mlops-accounts"


class Accounts:
    """Keeps the users as they should be; sends only what differs."""

    def __init__(self, workload: Workload, server: Server):
        self._workload = workload
        self._server = server

    def keep_root(self, password: str) -> None:
        """Root of the container needs none; another account that has the socket needs it."""
        self._keep(
            "root",
            "ALTER USER 'root'@'localhost' IDENTIFIED VIA unix_socket "
            f"OR mysql_native_password USING PASSWORD('{password}');\n",
        )

    def keep(self, user: str, password: str, database: str) -> None:
        """A database and a user that has all rights on it, and on nothing else."""
        relation_user(user)
        # in a grant, _ stands for any one character
        pattern = database.replace("_", "\\_")
        self._keep(
            user,
            f"CREATE DATABASE IF NOT EXISTS `{database}`;\n"
            f"CREATE USER IF NOT EXISTS '{user}'@'%' IDENTIFIED BY '{password}';\n"
            f"ALTER USER '{user}'@'%' IDENTIFIED BY '{password}';\n"
            f"GRANT ALL PRIVILEGES ON `{pattern}`.* TO '{user}'@'%';\n",
        )

    def users(self) -> set[str]:
        """The users made for relations."""
        return {user for user in self._applied() if re.fullmatch(r"relation-\d+", user)}

    def drop(self, user: str, *, databases: bool) -> None:
        """Remove a relation's user, and its databases where no other user has them."""
        relation_user(user)
        if databases:
            owned = self._server.sql(
                f"SELECT DISTINCT Db FROM mysql.db WHERE User = '{user}' AND Db NOT IN "
                f"(SELECT Db FROM mysql.db WHERE User <> '{user}');"
            )
            for (pattern,) in owned:
                # --batch prints a backslash twice
                name = pattern.replace("\\", "")
                self._server.sql(f"DROP DATABASE IF EXISTS `{name}`;\n")
        self._server.sql(f"DROP USER IF EXISTS '{user}'@'%';\n")
        self._write({key: value for key, value in self._applied().items() if key != user})

    def forget(self) -> None:
        """Have everything applied again, as after a restore."""
        self._write({})

    def _keep(self, user: str, statements: str) -> None:
        applied = self._applied()
        # the passwords are long random texts: a plain digest gives nothing away
        digest = hashlib.sha256(statements.encode()).hexdigest()
        if applied.get(user) != digest:
            self._server.sql(statements)
            self._write({**applied, user: digest})

    def _applied(self) -> dict[str, str]:
        try:
            found = json.loads(self._workload.read(_APPLIED) or "{}")
        except ValueError:
            found = {}
        if isinstance(found, dict) and found:
            return found
        # nothing is known: after a restore, or where an older revision of the charm was
        rows = self._server.sql("SELECT User FROM mysql.global_priv WHERE User LIKE 'relation-%';")
        return {row[0]: "" for row in rows}

    def _write(self, applied: dict[str, str]) -> None:
        self._workload.push({_APPLIED: File(json.dumps(applied, sort_keys=True), mode=0o600)})


def relation_user(user: str) -> str:
    """The name, if it is of a relation's user; raises ActionFailed if not."""
    if not re.fullmatch(r"relation-\d+", user):
        raise ActionFailed(f"no user {user}: root, or relation-ID")
    return user
