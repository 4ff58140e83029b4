"""How the server is started.

Each flag that is not given is read from a variable, `MR_` and the flag's name; so the data source
name, which has the password, is in no argument list. Source: model-registry v0.3.7, cmd/root.go.
"""

from __future__ import annotations

from charmed_mlops.interfaces.mysql import CA_FILE, Credentials

PORT = 8080
HEALTH = "/readyz/health"
VERSION = "0.3.7"
PREFIX = "/api/model_registry/"
"""Fixed in the program, and in its clients."""


def command(database: Credentials) -> str:
    """The image's own program; it checks certificate and host name of a database with a CA."""
    words = [
        "/model-registry proxy",
        "--hostname=0.0.0.0",
        f"--port={PORT}",
        "--datastore-type=embedmd",
        "--embedmd-database-type=mysql",
    ]
    if database.ca:
        words += [
            f"--embedmd-database-ssl-ca={CA_FILE}",
            "--embedmd-database-ssl-verify-server-cert",
        ]
    return " ".join(words)


def environment(database: Credentials) -> dict[str, str]:
    """Where the database is, and a home, without which the program does not start."""
    host = f"tcp({database.host}:{database.port})"
    return {
        "HOME": "/tmp",
        "MR_EMBEDMD_DATABASE_DSN": f"{database.username}:{database.password}@{host}"
        f"/{database.database}?charset=utf8mb4",
    }
