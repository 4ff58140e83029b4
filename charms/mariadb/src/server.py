"""The MariaDB server: how it starts, what its data is, its databases, by SQL over the socket."""

from __future__ import annotations

import hashlib
import re
import secrets

from charmed_mlops import Blocked, Certificate, File, Waiting, Workload

PORT = 3306
DATA = "/var/lib/mysql"
_LOADED = ".charmed-mlops-certificate"
SYSTEM = ("information_schema", "mysql", "performance_schema", "sys")


def new_password() -> str:
    """A random password of letters, digits, - and _, so that SQL needs no escapes for it."""
    return secrets.token_urlsafe(24)


class Server:
    """What the charm does with the server in its container.

    The script that starts it tells by files in the data directory what it does, so that a hook
    which changes nothing runs no command.
    """

    config = "/etc/mysql/charm.cnf"
    script = "/etc/mysql/charm-start.sh"
    certificate = "/etc/mysql/charm-certificate.pem"
    command = f"/bin/bash {script} {DATA} {config} {certificate}"
    client = ("/usr/bin/mariadb", f"--defaults-file={config}")
    ping = f"/usr/bin/mariadb-admin --defaults-file={config} ping"

    def __init__(self, workload: Workload):
        self._workload = workload

    def sql(self, statements: str, *, timeout: float = 60) -> list[list[str]]:
        """Run statements as root over the socket; return the rows they print.

        They go through the client's standard input: never in an argument or a log.
        """
        argv = [*self.client, "--batch", "--skip-column-names"]
        out = self._workload.exec(argv, stdin=statements, timeout=timeout)
        return [line.split("\t") for line in out.splitlines()]

    def keep_certificate(self, certificate: Certificate) -> None:
        """Write chain and key for the server's start; `load_certificate` follows once it runs."""
        self._workload.push({self.certificate: File(_pem(certificate), mode=0o600)})

    def load_certificate(self, certificate: Certificate) -> None:
        """Have the running server use it for new connections, where it does not yet.

        FLUSH SSL reads the files again; connections that are there go on with the old one:
        https://mariadb.com/docs/server/reference/sql-statements/administrative-sql-statements/flush-commands/flush
        """
        digest = hashlib.sha256(_pem(certificate).encode()).hexdigest()
        if self._line(_LOADED).partition(" ")[0] == digest:
            return
        # to whoever has the data: a file that was pushed anew is root's
        self._workload.exec(["/usr/bin/chown", f"--reference={DATA}", self.certificate])
        self.sql("FLUSH SSL;\n")
        self._workload.push({f"{DATA}/{_LOADED}": digest})

    def version(self) -> str:
        """The server's version, such as 10.11.19.

        Raises:
            Waiting: it has not started yet, or its tables are being upgraded.
            Blocked: its data is of a newer series.
        """
        version = self._line(".charmed-mlops-version")
        if not version:
            raise Waiting("waiting for mariadb to make its data directory")
        was = self._line("mariadb_upgrade_info") or self._line("mysql_upgrade_info")
        if _series(was) > _series(version):
            raise Blocked(
                f"the data is of MariaDB {was.partition('-')[0]}, which {version} cannot read: "
                "juju attach-resource with oci-image=IMAGE, the image it had"
            )
        if self._workload.read(f"{DATA}/.charmed-mlops-upgrading") is not None:
            old, _, failed = self._line(".charmed-mlops-upgrading").partition(" ")
            raise Waiting(
                f"the upgrade of the tables from {old} to {version} failed and is tried again: "
                "see the container's log"
                if failed
                else f"upgrading the tables from {old or 'an unknown version'} to {version}"
            )
        return version

    def _line(self, name: str) -> str:
        return (self._workload.read(f"{DATA}/{name}") or b"").decode(errors="replace").strip()

    def databases(self) -> list[str]:
        """All databases but the server's own."""
        return sorted(row[0] for row in self.sql("SHOW DATABASES;") if row[0] not in SYSTEM)


def _pem(certificate: Certificate) -> str:
    return certificate.chain + certificate.key


def _series(version: str) -> tuple[int, ...]:
    """(10, 11) of 10.11.19-MariaDB; the lowest of all where there is none."""
    found = re.match(r"(\d+)\.(\d+)\.", version)
    return tuple(int(part) for part in found.groups()) if found else ()
