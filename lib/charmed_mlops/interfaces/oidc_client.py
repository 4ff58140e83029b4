"""Interface `oidc_client`, version 1: a client of an OpenID Connect issuer.

| side | field of the application's databag | meaning |
| --- | --- | --- |
| requirer | version | `1` |
| requirer | redirect-uris | JSON list: where the issuer may send people back to |
| provider | version | `1` |
| provider | issuer | the issuer's URL, as its tokens name it |
| provider | authorization-url | where people log in |
| provider | token-url, jwks-url | where the client gets tokens and the issuer's keys |
| provider | client-id | the client's name |
| provider | secret-client | URI of a Juju secret with `client-secret` |

A redirect URI and the authorization-url are whole URLs, or paths on the host name that people use:
with paths a login works under every name of the gateway. The other URLs are for the cluster.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import ops

from charmed_mlops.errors import Waiting
from charmed_mlops.interfaces import _common

VERSION = "1"
SECRET_KEY = "client-secret"
_URI = re.compile(r"(https?://[\w.:\[\]-]+)?/([\w.~-][\w./~-]*)?")


@dataclass(frozen=True)
class Issuer:
    """An issuer and its addresses."""

    issuer: str
    authorization_url: str
    token_url: str
    jwks_url: str


@dataclass(frozen=True)
class Client:
    """A client of an issuer."""

    issuer: Issuer
    client_id: str
    client_secret: str


class OidcRequirer:
    """Asks for a client and reads it."""

    def __init__(self, charm: ops.CharmBase, endpoint: str, redirect_uris: Sequence[str]):
        self._charm = charm
        self._endpoint = endpoint
        self._redirect_uris = list(redirect_uris)

    @property
    def provider(self) -> str:
        """The related application, empty where there is none."""
        return _common.related(self._charm, self._endpoint)

    def get(self) -> Client:
        """The client; asks for it first where that is still to be done.

        Raises:
            Blocked: there is no relation.
            Waiting: the issuer has not answered yet.
        """
        relation = _common.one(self._charm, self._endpoint)
        if self._charm.unit.is_leader():
            mine = relation.data[self._charm.app]
            _common.write(mine, "version", VERSION)
            _common.write(mine, "redirect-uris", json.dumps(self._redirect_uris))
        theirs = relation.data[relation.app]
        fields = ("issuer", "authorization-url", "token-url", "jwks-url")
        values = [theirs.get(field, "") for field in fields]
        client_id, uri = theirs.get("client-id"), theirs.get("secret-client")
        if not all(values) or not client_id or not uri:
            raise Waiting(f"waiting for {relation.app.name} to give a client")
        content = _common.read_secret(self._charm, uri, relation.app.name)
        if not content.get(SECRET_KEY):
            raise Waiting(f"waiting for {relation.app.name} to give a client's secret")
        return Client(Issuer(*values), client_id, content[SECRET_KEY])


@dataclass(frozen=True)
class Request:
    """A client that a related application asks for; `relation` and `label` are the provider's."""

    relation: ops.Relation
    label: str
    client_id: str
    redirect_uris: tuple[str, ...]


class OidcProvider(_common.Provider):
    """Reads which clients are asked for and answers; every unit may read, the leader answers."""

    def requests(self) -> Iterator[Request]:
        """Every live relation whose application has asked; what is wrong goes to `problems`."""
        self.problems = []
        for relation in sorted(_common.live(self._charm, self._endpoint), key=lambda r: r.id):
            text = relation.data[relation.app].get("redirect-uris", "")
            if not text:
                continue
            uris = _uris(text)
            if not uris:
                self.problems.append(f"{relation.app.name}: redirect-uris are no list of URIs")
                continue
            name = f"{relation.app.name}-{relation.id}"
            yield Request(relation, f"{self._endpoint}.{relation.id}.client", name, uris)

    def secret(self, request: Request) -> str:
        """The client's secret; the leader makes it.

        Raises:
            Waiting: the leader has not made it yet.
        """
        found = _common.own_secret(self._charm, request.label)
        if found is not None:
            return found[SECRET_KEY]
        if not self._charm.unit.is_leader():
            raise Waiting("waiting for the leader to make a client's secret")
        content = {SECRET_KEY: secrets.token_urlsafe(32)}
        _common.keep_secret(self._charm, request.label, request.relation, content)
        return content[SECRET_KEY]

    def answer(self, request: Request, issuer: Issuer) -> None:
        """Publish the client where that differs; only the leader does."""
        if not self._charm.unit.is_leader():
            return
        mine = request.relation.data[self._charm.app]
        for field, value in {
            "version": VERSION,
            "issuer": issuer.issuer,
            "authorization-url": issuer.authorization_url,
            "token-url": issuer.token_url,
            "jwks-url": issuer.jwks_url,
            "client-id": request.client_id,
            "secret-client": _common.keep_secret(
                self._charm, request.label, request.relation, {SECRET_KEY: self.secret(request)}
            ),
        }.items():
            _common.write(mine, field, value)


def _uris(text: str) -> tuple[str, ...]:
    """The URIs of a JSON list; empty unless all are ones."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    if not isinstance(found, list):
        return ()
    good = all(isinstance(each, str) and _URI.fullmatch(each) for each in found)
    return tuple(found) if good else ()
