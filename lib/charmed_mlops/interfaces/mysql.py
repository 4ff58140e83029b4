"""Interface `mysql_client`, as Charmhub's database charms speak it (library data_interfaces).

| side | field of the application's databag | meaning |
| --- | --- | --- |
| requirer | database | name of the database it asks for |
| requirer | requested-secrets | JSON list: fields it wants in a secret instead of in the databag |
| provider | database | name of the database it got |
| provider | endpoints | `HOST:PORT`, several separated by commas; the first is used |
| provider | secret-user | URI of a Juju secret with `username` and `password` |
| provider | secret-tls | URI of a Juju secret with `tls` (`True`) and `tls-ca` (PEM texts) |
| provider | tls, tls-ca | the same in the databag, for a requirer that wants no secret for them |
| provider | version | version of the server |

A requirer with version 1 of the library writes these instead, and reads them:

| side | field of the application's databag | meaning |
| --- | --- | --- |
| both | version | `v1` |
| requirer | requests | JSON list of one object: `resource`, the database; `request-id`; `salt` |
| provider | requests | the same with `endpoints`, `secret-user`, `secret-tls` (`tls`: `true`) |
| provider | data | JSON object: the request that was answered, by its `request-id` |

Source: canonical/data-platform-libs, lib/charms/data_platform_libs/v0/data_interfaces.py and v1,
later dpcharmlibs-interfaces 1.2. Requirers of version 0 always ask for `tls` and `tls-ca` where
they ask for any secret: here, one that leaves them out has a program that cannot encrypt.
mysql-k8s (revision 344) publishes neither of the two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ops

from charmed_mlops.errors import Waiting
from charmed_mlops.interfaces import _common

SECRET_FIELDS = ["username", "password", "tls", "tls-ca", "uris", "read-only-uris"]
TLS_FIELDS = ("tls", "tls-ca")
CA_FOLDER = "/tmp/database-ca"  # any image's user may write there
CA_FILE = f"{CA_FOLDER}/ca.pem"
"""Where `Credentials.files` puts the CA in a requirer's container."""
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Credentials:
    """How to reach one database.

    Attributes:
        ca: PEM of the CA of a server that speaks TLS, and of its next one or the one before;
            empty for one that does not.
    """

    host: str
    port: int
    username: str
    password: str
    database: str
    ca: str = ""

    @property
    def files(self) -> dict[str, str]:
        """What the program's container has to have: the CA in `CA_FILE`, if there is one."""
        return {CA_FILE: self.ca} if self.ca else {}


class DatabaseRequirer:
    """Asks for one database and reads how to reach it."""

    def __init__(
        self,
        charm: ops.CharmBase,
        endpoint: str,
        database: str | None = None,
        *,
        tls: bool = True,
    ):
        """Prepares.

        Args:
            charm: whose database it is.
            endpoint: of the relation.
            database: the name to ask for; the application's name unless given.
            tls: whether the charm's program can encrypt; where not, `ca` is always empty.
        """
        self._charm = charm
        self._endpoint = endpoint
        self._database = database or charm.app.name
        self._tls = tls
        self._secret_fields = [each for each in SECRET_FIELDS if tls or each not in TLS_FIELDS]

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
            _common.write(mine, "requested-secrets", json.dumps(self._secret_fields))
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
            ca=self._ca(theirs, relation.app.name),
        )

    def _ca(self, theirs: Mapping[str, str], owner: str) -> str:
        if not self._tls:
            return ""
        uri = theirs.get("secret-tls", "")
        content = _common.read_secret(self._charm, uri, owner) if uri else theirs
        return content.get("tls-ca", "") if content.get("tls", "").lower() == "true" else ""

    def get_or_none(self) -> Credentials | None:
        """The same, None where there is no relation."""
        return self.get() if _common.find(self._charm, self._endpoint) else None


@dataclass(frozen=True)
class Request:
    """A database that a related application asks for.

    Attributes:
        label: of the secret with its user.
        secret_fields: what it wants in secrets; None where it wants nothing in them.
        entry: of its `requests`; None where it speaks version 0.
    """

    relation: ops.Relation
    application: str
    database: str
    username: str
    label: str
    secret_fields: list[str] | None = None
    entry: Mapping[str, Any] | None = None

    @property
    def can_encrypt(self) -> bool:
        """Whether its program can use TLS, as far as it tells."""
        return self.secret_fields is None or "tls-ca" in self.secret_fields


class DatabaseProvider(_common.Provider):
    """Reads what is asked for and answers, credentials in a Juju secret per relation."""

    def requests(self, shared: Collection[str] = ()) -> Iterator[Request]:
        """Every live relation whose requirer has asked for a database.

        A database is one application's, so that no other one reads or changes what is in it. It is
        the one's that was answered first. These go to `problems`: one that asks for another's
        database, one that asks for a name that no database can have, and one of version 1 that
        asks for more than a database.

        Args:
            shared: databases that every application that asks for them may have.
        """
        self.problems = []
        if not self._charm.unit.is_leader():  # only the leader can answer
            return
        owners: dict[str, str] = {}
        for relation, asked, entry in sorted(self._asked(), key=self._age):
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
                secret_fields=_secret_fields(relation) if entry is None else SECRET_FIELDS,
                entry=entry,
            )

    def _asked(self) -> Iterator[tuple[ops.Relation, str, dict[str, Any] | None]]:
        for relation in _common.live(self._charm, self._endpoint):
            theirs = relation.data[relation.app]
            if theirs.get("version") != "v1":
                if asked := theirs.get("database"):
                    yield relation, asked, None
                continue
            entries = _entries(theirs)
            if len(entries) > 1 or any(each.get("entity-type") for each in entries):
                self.problems.append(
                    f"{relation.app.name} asks for more than one database and its user in a "
                    f"relation: juju remove-relation {self._charm.app.name} {relation.app.name}"
                )
            elif entries:
                yield relation, entries[0]["resource"], entries[0]

    def _age(self, request: tuple[ops.Relation, str, Any]) -> tuple[bool, int]:
        """Those that are answered come first, then the older ones."""
        relation, asked, _ = request
        return self.given(relation) != asked, relation.id

    def given(self, relation: ops.Relation) -> str:
        """The database that a relation was given, empty before; to be asked by the leader."""
        mine = relation.data[self._charm.app]
        return next((each["resource"] for each in _entries(mine)), mine.get("database", ""))

    def password(self, request: Request) -> str | None:
        """The password that `answer` published, None before."""
        content = _common.own_secret(self._charm, request.label)
        return content["password"] if content else None

    def gone(self, usernames: Iterable[str]) -> set[str]:
        """Those of the users whose relation is gone; none if this unit does not lead."""
        return _common.gone(self._charm, self._endpoint, usernames)

    def forget(self, username: str) -> None:
        """Remove the secrets of a relation that is gone."""
        relation_id = username.removeprefix("relation-")
        for each in ("user", "tls"):
            _common.forget_secret(self._charm, f"{self._endpoint}.{relation_id}.{each}")

    def answer(
        self,
        request: Request,
        credentials: Mapping[str, str],
        endpoint: str,
        version: str = "",
        ca: str = "",
    ) -> None:
        """Publish a database; to be called by the leader.

        Args:
            request: what was asked for.
            credentials: `username` and `password`, kept in the relation's secret.
            endpoint: HOST:PORT.
            version: of the server.
            ca: PEM of the CA that signed the server's certificate; empty for one without TLS.
        """
        secret = _common.keep_secret(self._charm, request.label, request.relation, credentials)
        fields = {"endpoints": endpoint, "secret-user": secret, **self._ca(request, ca)}
        if version:
            fields["version"] = version
        if request.entry is not None:
            fields = _nested(request.entry, {key: each for key, each in fields.items() if each})
        else:
            fields["database"] = request.database
        mine = request.relation.data[self._charm.app]
        for name, value in fields.items():
            _common.write(mine, name, value)

    def _ca(self, request: Request, ca: str) -> dict[str, str]:
        """The fields that tell the CA, in a secret where the requirer wants that."""
        fields: dict[str, str] = {}
        secret = ""
        if ca and request.can_encrypt:
            # version 1 reads it as JSON
            told = {"tls": "True" if request.entry is None else "true", "tls-ca": ca}
            if request.secret_fields:
                label = f"{self._endpoint}.{request.relation.id}.tls"
                secret = _common.keep_secret(self._charm, label, request.relation, told)
            else:
                fields = told
        return {"secret-tls": secret, **{name: fields.get(name, "") for name in TLS_FIELDS}}


def _entries(data: Mapping[str, str]) -> list[dict[str, Any]]:
    """The requests, or the answers, of version 1; what is none is passed over."""
    try:
        found = json.loads(data.get("requests", "[]"))
    except (ValueError, RecursionError):
        return []
    return [
        each
        for each in (found if isinstance(found, list) else ())
        if isinstance(each, dict)
        if all(isinstance(each.get(key), str) and each[key] for key in ("resource", "request-id"))
    ]


def _nested(entry: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, str]:
    """The answer to a request of version 1."""
    known = {key: entry[key] for key in ("resource", "request-id", "salt") if key in entry}
    return {
        "version": "v1",
        "requests": json.dumps([{**known, **fields}]),
        # without it the library does not look at the answer
        "data": json.dumps({entry["request-id"]: entry}),
    }


def _secret_fields(relation: ops.Relation) -> list[str] | None:
    try:
        fields = json.loads(relation.data[relation.app].get("requested-secrets", "null"))
    except ValueError:
        return None
    return fields if isinstance(fields, list) else None
