"""Interface `mysql_client`, as Charmhub's database charms speak it (library data_interfaces).

| side | field of the application's databag | meaning |
| --- | --- | --- |
| requirer | database | name of the database it asks for |
| requirer | requested-secrets | JSON list: fields it wants in a secret instead of in the databag |
| provider | database | name of the database it got |
| provider | endpoints | `HOST:PORT`, several separated by commas; the first is used |
| provider | secret-user | URI of a Juju secret with `username` and `password` |
| provider | secret-tls | URI of a Juju secret with `tls` (`True`) and `tls-ca` |
| provider | version | version of the server |

Source: canonical/data-platform-libs, lib/charms/data_platform_libs/v0/data_interfaces.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import ops

from charmed_mlops.errors import Waiting
from charmed_mlops.interfaces import _common

SECRET_FIELDS = ["username", "password", "tls", "tls-ca", "uris", "read-only-uris"]
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Credentials:
    """How to reach one database.

    Attributes:
        ca: PEM of the CA of a server that speaks TLS; empty for one that does not.
    """

    host: str
    port: int
    username: str
    password: str
    database: str
    ca: str = ""


class DatabaseRequirer:
    """Asks for one database and reads how to reach it."""

    def __init__(self, charm: ops.CharmBase, endpoint: str, database: str | None = None):
        """`database` is the name to ask for; the application's name unless given."""
        self._charm = charm
        self._endpoint = endpoint
        self._database = database or charm.app.name

    def get(self) -> Credentials:
        """The credentials; asks for them first where that is still to be done.

        Raises:
            Blocked: there is no relation.
            Waiting: the provider has not answered yet.
        """
        relation = _common.one(self._charm, self._endpoint)
        if self._charm.unit.is_leader():
            mine = relation.data[self._charm.app]
            _common.write(mine, "database", self._database)
            _common.write(mine, "requested-secrets", json.dumps(SECRET_FIELDS))
        theirs = relation.data[relation.app]
        endpoints, secret = theirs.get("endpoints"), theirs.get("secret-user")
        if not endpoints or not secret:
            raise Waiting(f"waiting for {relation.app.name} to give a database")
        content = _common.read_secret(self._charm, secret, relation.app.name)
        host, _, port = endpoints.split(",")[0].rpartition(":")
        username, password = content.get("username"), content.get("password")
        if not host or not port.isdecimal() or not username or not password:
            raise Waiting(f"waiting for {relation.app.name} to give a complete database")
        return Credentials(
            host=host,
            port=int(port),
            username=username,
            password=password,
            database=theirs.get("database") or self._database,
            ca=self._ca(theirs.get("secret-tls", ""), relation.app.name),
        )

    def _ca(self, uri: str, owner: str) -> str:
        content = _common.read_secret(self._charm, uri, owner) if uri else {}
        return content.get("tls-ca", "") if content.get("tls", "").lower() == "true" else ""

    def get_or_none(self) -> Credentials | None:
        """The same, None where there is no relation."""
        return self.get() if _common.find(self._charm, self._endpoint) else None


@dataclass(frozen=True)
class Request:
    """A database that a related application asks for."""

    relation: ops.Relation
    application: str
    database: str
    username: str
    label: str


class DatabaseProvider(_common.Provider):
    """Reads what is asked for and answers, credentials in a Juju secret per relation."""

    def requests(self, shared: Collection[str] = ()) -> Iterator[Request]:
        """Every live relation whose requirer has asked for a database.

        A database is one application's, so that no other one reads or changes what is in it. It is
        the one's that was answered first. These go to `problems`: one that asks for another's
        database, and one that asks for a name that no database can have.

        Args:
            shared: databases that every application that asks for them may have.
        """
        self.problems = []
        if not self._charm.unit.is_leader():  # only the leader can answer
            return
        owners: dict[str, str] = {}
        for relation, asked in sorted(self._asked(), key=self._age):
            application = relation.app.name
            if not NAME.fullmatch(asked):
                self.problems.append(
                    f"{application} asks for database {asked[:64]!r}: "
                    "a letter, then letters, digits, - and _ only"
                )
                continue
            owner = owners.setdefault(asked.lower(), application)
            if owner != application and asked not in shared:
                self.problems.append(
                    f"{application} asks for database {asked}, which is {owner}'s: "
                    f"juju remove-relation {self._charm.app.name} {application}, or name it in "
                    "the option shared-databases"
                )
                continue
            yield Request(
                relation=relation,
                application=application,
                database=asked,
                username=f"relation-{relation.id}",
                label=f"{self._endpoint}.{relation.id}.user",
            )

    def _asked(self) -> Iterator[tuple[ops.Relation, str]]:
        for relation in _common.live(self._charm, self._endpoint):
            if asked := relation.data[relation.app].get("database"):
                yield relation, asked

    def _age(self, request: tuple[ops.Relation, str]) -> tuple[bool, int]:
        """Those that are answered come first, then the older ones."""
        relation, asked = request
        return relation.data[self._charm.app].get("database") != asked, relation.id

    def password(self, request: Request) -> str | None:
        """The password that `answer` published, None before."""
        content = _common.own_secret(self._charm, request.label)
        return content["password"] if content else None

    def gone(self, usernames: Iterable[str]) -> set[str]:
        """Those of the users whose relation is gone; none if this unit does not lead."""
        return _common.gone(self._charm, self._endpoint, usernames)

    def forget(self, username: str) -> None:
        """Remove the secret of a relation that is gone."""
        relation_id = username.removeprefix("relation-")
        _common.forget_secret(self._charm, f"{self._endpoint}.{relation_id}.user")

    def answer(
        self, request: Request, credentials: Mapping[str, str], endpoint: str, version: str = ""
    ) -> None:
        """Publish a database; to be called by the leader.

        Args:
            request: what was asked for.
            credentials: `username` and `password`, kept in the relation's secret.
            endpoint: HOST:PORT.
            version: of the server.
        """
        secret = _common.keep_secret(self._charm, request.label, request.relation, credentials)
        mine = request.relation.data[self._charm.app]
        _common.write(mine, "database", request.database)
        _common.write(mine, "endpoints", endpoint)
        _common.write(mine, "secret-user", secret)
        if version:
            _common.write(mine, "version", version)
