"""Interface `mysql_client`, as Charmhub's database charms speak it (library data_interfaces).

| side | field of the application's databag | meaning |
| --- | --- | --- |
| requirer | database | name of the database it asks for |
| requirer | requested-secrets | JSON list: fields it wants in a secret instead of in the databag |
| provider | database | name of the database it got |
| provider | endpoints | `HOST:PORT`, several separated by commas; the first is used |
| provider | secret-user | URI of a Juju secret with `username` and `password` |
| provider | version | version of the server |

Source: canonical/data-platform-libs, lib/charms/data_platform_libs/v0/data_interfaces.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import ops

from charmed_mlops.errors import Blocked, Waiting

SECRET_FIELDS = ["username", "password", "tls", "tls-ca", "uris", "read-only-uris"]
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Credentials:
    """How to reach one database."""

    host: str
    port: int
    username: str
    password: str
    database: str


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
        relation = _one(self._charm, self._endpoint)
        if self._charm.unit.is_leader():
            mine = relation.data[self._charm.app]
            _write(mine, "database", self._database)
            _write(mine, "requested-secrets", json.dumps(SECRET_FIELDS))
        theirs = relation.data[relation.app]
        endpoints, secret = theirs.get("endpoints"), theirs.get("secret-user")
        if not endpoints or not secret:
            raise Waiting(f"waiting for {relation.app.name} to give a database")
        content = read_secret(self._charm, secret, relation.app.name)
        host, _, port = endpoints.split(",")[0].rpartition(":")
        return Credentials(
            host=host,
            port=int(port),
            username=content["username"],
            password=content["password"],
            database=theirs.get("database") or self._database,
        )


@dataclass(frozen=True)
class Request:
    """A database that a related application asks for."""

    relation: ops.Relation
    application: str
    database: str
    username: str
    label: str


class DatabaseProvider:
    """Reads what is asked for and answers, credentials in a Juju secret per relation."""

    def __init__(self, charm: ops.CharmBase, endpoint: str):
        self._charm = charm
        self._endpoint = endpoint

    def requests(self) -> Iterator[Request]:
        """Every live relation whose requirer has asked for a database.

        Raises:
            Blocked: a requirer asks for a name that no database can have.
        """
        if not self._charm.unit.is_leader():  # only the leader can answer
            return
        for relation in self._charm.model.relations[self._endpoint]:
            asked = relation.data[relation.app].get("database") if relation.active else None
            if not asked:
                continue
            if not NAME.fullmatch(asked):
                raise Blocked(
                    f"{relation.app.name} asks for database {asked!r}: "
                    "a letter, then letters, digits, - and _ only"
                )
            yield Request(
                relation=relation,
                application=relation.app.name,
                database=asked,
                username=f"relation-{relation.id}",
                label=f"{self._endpoint}.{relation.id}.user",
            )

    def password(self, request: Request) -> str | None:
        """The password that `answer` published, None before."""
        content = peek_secret(self._charm, request.label)
        return content["password"] if content else None

    def gone(self, usernames: Iterable[str]) -> set[str]:
        """Those of the users whose relation is gone; none if this unit does not lead."""
        return gone(self._charm, self._endpoint, usernames)

    def forget(self, username: str) -> None:
        """Remove the secret of a relation that is gone."""
        relation_id = username.removeprefix("relation-")
        forget_secret(self._charm, f"{self._endpoint}.{relation_id}.user")

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
        secret = keep_secret(self._charm, request.label, request.relation, credentials)
        mine = request.relation.data[self._charm.app]
        _write(mine, "database", request.database)
        _write(mine, "endpoints", endpoint)
        _write(mine, "secret-user", secret)
        if version:
            _write(mine, "version", version)


# Shared by the interfaces of this package.


def _one(charm: ops.CharmBase, endpoint: str) -> ops.Relation:
    for relation in charm.model.relations[endpoint]:
        if relation.active and relation.app:
            return relation
    interface = charm.meta.relations[endpoint].interface_name
    raise Blocked(
        f"no relation {endpoint}: juju integrate {charm.app.name}:{endpoint} "
        f"with an application that provides {interface}"
    )


def _write(data: ops.RelationDataContent, key: str, value: str) -> None:
    # a databag that is written again wakes the other side only if it differs, but costs a call
    if data.get(key) != value:
        data[key] = value


def read_secret(charm: ops.CharmBase, uri: str, owner: str) -> dict[str, str]:
    """The newest content of a secret that another application granted.

    Raises:
        Waiting: it is not readable yet.
    """
    try:
        return charm.model.get_secret(id=uri).get_content(refresh=True)
    except (ops.SecretNotFoundError, ops.ModelError) as error:
        raise Waiting(f"waiting for {owner} to grant its secret") from error


def keep_secret(
    charm: ops.CharmBase, label: str, relation: ops.Relation, content: Mapping[str, str]
) -> str:
    """The URI of the application's secret `label`, with this content, granted to the relation."""
    try:
        secret = charm.model.get_secret(label=label)
        if secret.peek_content() != dict(content):
            secret.set_content(dict(content))
    except ops.SecretNotFoundError:
        secret = charm.app.add_secret(dict(content), label=label)
        secret.grant(relation)  # one transaction with its creation
    # the databag needs the URI, which a secret found by its label does not know
    return secret.id or secret.get_info().id


def peek_secret(charm: ops.CharmBase, label: str) -> dict[str, str] | None:
    """The newest content of the application's secret `label`, None if there is none."""
    try:
        return charm.model.get_secret(label=label).peek_content()
    except ops.SecretNotFoundError:
        return None


def forget_secret(charm: ops.CharmBase, label: str) -> None:
    """Remove the application's secret `label` with all revisions, if it is there."""
    try:
        charm.model.get_secret(label=label).remove_all_revisions()
    except ops.SecretNotFoundError:
        return


def gone(charm: ops.CharmBase, endpoint: str, names: Iterable[str]) -> set[str]:
    """Those of the names `relation-ID` whose relation is gone; none if this unit does not lead."""
    if not charm.unit.is_leader():
        return set()
    live = {f"relation-{each.id}" for each in charm.model.relations[endpoint] if each.active}
    return set(names) - live
