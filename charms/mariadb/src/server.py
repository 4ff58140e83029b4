"""The MariaDB server: its data directory, accounts and databases, by SQL over the local socket.

Passwords go to the server through the client's standard input: never in an argument or a log.
"""

from __future__ import annotations

import re
import secrets

from charmed_mlops import ActionFailed, CommandFailed, Workload

PORT = 3306
DATA = "/var/lib/mysql"
SYSTEM = ("information_schema", "mysql", "performance_schema", "sys")
_INSTALLED = f"{DATA}/.charmed-mlops-installed"


def new_password() -> str:
    """A random password of letters, digits, - and _, so that SQL needs no escapes for it."""
    return secrets.token_urlsafe(24)


class Server:
    """What the charm does with the server in its container."""

    config = "/etc/mysql/charm.cnf"
    command = f"/usr/sbin/mariadbd --defaults-file={config}"
    client = ("/usr/bin/mariadb", f"--defaults-file={config}")
    ping = f"/usr/bin/mariadb-admin --defaults-file={config} ping"

    def __init__(self, workload: Workload):
        self._workload = workload

    def prepare(self) -> str:
        """Make the data directory ready once; return the account that the server runs as.

        That is `mysql`, the image's own, or root where the volume or the user namespace does not
        let files be given to it.
        """
        account = "mysql"
        try:
            self._workload.exec(["/usr/bin/chown", f"{account}:", DATA])
        except CommandFailed:
            account = "root"
        if self._workload.read(_INSTALLED) is None:
            self._workload.exec(
                [
                    "/usr/bin/mariadb-install-db",
                    "--no-defaults",
                    f"--datadir={DATA}",
                    f"--user={account}",
                    "--auth-root-authentication-method=socket",
                    "--auth-root-socket-user=root",
                    "--skip-test-db",
                ],
                timeout=300,
            )
            self._workload.push({_INSTALLED: "The system tables are complete.\n"})
        return account

    def sql(self, statements: str, *, timeout: float = 60) -> list[list[str]]:
        """Run statements as root over the socket; return the rows they print."""
        argv = [*self.client, "--batch", "--skip-column-names"]
        out = self._workload.exec(argv, stdin=statements, timeout=timeout)
        return [line.split("\t") for line in out.splitlines()]

    def version(self) -> str:
        """The server's version, such as 10.11.14."""
        return self.sql("SELECT VERSION();")[0][0].split("-")[0]

    def set_root_password(self, password: str) -> None:
        """Root of the container needs none; another account that has the socket needs it."""
        self.sql(
            "ALTER USER 'root'@'localhost' IDENTIFIED VIA unix_socket "
            f"OR mysql_native_password USING PASSWORD('{password}');\n"
        )

    def set_password(self, user: str, password: str) -> None:
        """A new password for root or a relation's user."""
        if user == "root":
            self.set_root_password(password)
        else:
            self.sql(f"ALTER USER '{_relation_user(user)}'@'%' IDENTIFIED BY '{password}';\n")

    def grant(self, user: str, password: str, database: str) -> None:
        """A database and a user that has all rights on it, and on nothing else."""
        user = _relation_user(user)
        # in a grant, _ stands for any one character
        pattern = database.replace("_", "\\_")
        self.sql(
            f"CREATE DATABASE IF NOT EXISTS `{database}`;\n"
            f"CREATE USER IF NOT EXISTS '{user}'@'%' IDENTIFIED BY '{password}';\n"
            f"ALTER USER '{user}'@'%' IDENTIFIED BY '{password}';\n"
            f"GRANT ALL PRIVILEGES ON `{pattern}`.* TO '{user}'@'%';\n"
        )

    def relation_users(self) -> set[str]:
        """The users made for relations."""
        rows = self.sql("SELECT User FROM mysql.global_priv WHERE User LIKE 'relation-%';")
        return {row[0] for row in rows if re.fullmatch(r"relation-\d+", row[0])}

    def drop(self, user: str, *, databases: bool) -> None:
        """Remove a relation's user, and its databases where no other user has them."""
        user = _relation_user(user)
        if databases:
            owned = self.sql(
                f"SELECT DISTINCT Db FROM mysql.db WHERE User = '{user}' AND Db NOT IN "
                f"(SELECT Db FROM mysql.db WHERE User <> '{user}');"
            )
            for (pattern,) in owned:
                # --batch prints a backslash twice
                name = pattern.replace("\\", "")
                self.sql(f"DROP DATABASE IF EXISTS `{name}`;\n")
        self.sql(f"DROP USER IF EXISTS '{user}'@'%';\n")

    def databases(self) -> list[str]:
        """All databases but the server's own."""
        return sorted(row[0] for row in self.sql("SHOW DATABASES;") if row[0] not in SYSTEM)


def _relation_user(user: str) -> str:
    if not re.fullmatch(r"relation-\d+", user):
        raise ActionFailed(f"no user {user}: root, or relation-ID")
    return user
