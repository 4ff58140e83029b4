"""Interface `oauth`, version 0, the requirer's side: a client of an issuer of Charmhub's.

hydra (Canonical's identity platform) and oauth-external-idp-integrator provide it.

| side | field of the application's databag | meaning |
| --- | --- | --- |
| requirer | redirect_uri | whole URL where the issuer sends people back to |
| requirer | scope | scopes that the client may ask for, separated by spaces |
| requirer | grant_types, audience | JSON lists |
| requirer | token_endpoint_auth_method | `client_secret_basic` |
| provider | issuer_url | as its tokens name it |
| provider | authorization_endpoint, token_endpoint, jwks_endpoint, userinfo_endpoint | URLs |
| provider | introspection_endpoint, jwt_access_token | not used here |
| provider | scope | scopes that it knows, separated by spaces |
| provider | groups | the claim that has a person's groups; may be missing |
| provider | ca_chain | JSON list of PEM texts; may be missing |
| provider | client_id | the client's name; later than the fields above |
| provider | client_secret_id | URI or ID of a Juju secret with `secret` |

Source: https://github.com/canonical/charm-relation-interfaces/tree/main/interfaces/oauth/v0 and
the library charms.hydra.v0.oauth, patches 5 to 12, later charmlibs-interfaces-oauth 1.2. That
library is not used: it raises on fields that its schema refuses, in a handler of its own, and
takes a client_id of digits for a number. The tests play the provider with it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import ops

from charmed_mlops import fields
from charmed_mlops.errors import Blocked, Waiting
from charmed_mlops.interfaces import _common
from charmed_mlops.interfaces.oidc_client import Client, Issuer

SECRET_KEY = "secret"
OFFLINE = "offline_access"
"""The scope for refresh tokens: OpenID Connect Core 1.0, section 11."""
# A provider need not name these: openid is what makes it OpenID Connect, and hydra names no
# offline_access but gives it to a client that has asked for it when it was made.
_UNNAMED = ("openid", OFFLINE)
# RFC 6749, appendix A: VSCHAR, and scope-token with spaces between
_Text = Annotated[str, msgspec.Meta(pattern=r"^[ -~]+\Z")]
_Scope = Annotated[str, msgspec.Meta(pattern=r"^[ !#-\[\]-~]+\Z")]
_WRONG = {
    "scope": "is no list of scopes",
    "client_id": "is no client's name",
    "client_secret_id": "is no secret's URI",
    "groups": "is no claim's name",
    "ca_chain": "is no list of certificates",
}


@dataclass(frozen=True)
class OauthClient(Client):
    """A client and how it is used.

    Attributes:
        redirect_uri: where the issuer sends people back to.
        scope: what to ask for, separated by spaces.
        userinfo_url: where claims are that the token lacks; empty for nowhere.
        groups_claim: the claim that has a person's groups.
        ca: PEM of the issuer's CA; empty for a publicly trusted one.
    """

    redirect_uri: str
    scope: str
    userinfo_url: str = ""
    groups_claim: str = "groups"
    ca: str = ""


def _url(text: str) -> str:
    if not _common.is_url(text):
        raise ValueError
    return text


def _certificates(text: str) -> str:
    """The PEM texts in one; the provider's library writes a JSON list, or one PEM text."""
    from cryptography import x509  # here: few issuers have a CA of their own

    if text.lstrip().startswith("-----BEGIN "):
        found: Any = [text]
    else:
        try:
            found = json.loads(text)
        except RecursionError:
            raise ValueError from None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ValueError
    for each in found:
        x509.load_pem_x509_certificates(each.encode())
    return "".join(f"{each.strip()}\n" for each in found)


_Url = Annotated[str, fields.Parsed(_url)]


class _Provider(msgspec.Struct, kw_only=True):
    """What the provider wrote; fields of later versions are let pass."""

    issuer_url: _Url
    authorization_endpoint: _Url
    token_endpoint: _Url
    jwks_endpoint: _Url
    userinfo_endpoint: _Url
    scope: _Scope
    client_id: _Text
    client_secret_id: _Text
    groups: _Text = "groups"
    ca_chain: Annotated[str, fields.Parsed(_certificates)] = ""


class OauthRequirer:
    """Asks for a client and reads it."""

    def __init__(self, charm: ops.CharmBase, endpoint: str = "oauth"):
        self._charm = charm
        self._endpoint = endpoint

    @property
    def provider(self) -> str:
        """The related application, empty where there is none."""
        return _common.related(self._charm, self._endpoint)

    def get(self, redirect_uri: str, scopes: Sequence[str]) -> OauthClient:
        """The client; asks for it first where that is still to be done or has changed.

        Args:
            redirect_uri: a whole URL, which people's browsers reach by HTTPS.
            scopes: what to ask for. Those that the issuer does not know are left out. With
                `OFFLINE` the client gets refresh tokens.

        Raises:
            Blocked: there is no relation, or the provider wrote what nobody can use.
            Waiting: the issuer has not answered yet.
        """
        relation = _common.one(self._charm, self._endpoint)
        theirs = {key: value for key, value in relation.data[relation.app].items() if value}
        scope = _known(scopes, theirs.get("scope", ""))
        if self._charm.unit.is_leader():
            grants = ["authorization_code", *(["refresh_token"] if OFFLINE in scopes else [])]
            mine = relation.data[self._charm.app]
            _common.write(mine, "redirect_uri", redirect_uri)
            _common.write(mine, "scope", scope)
            _common.write(mine, "grant_types", json.dumps(grants))
            _common.write(mine, "audience", "[]")  # its tokens are for the client alone
            _common.write(mine, "token_endpoint_auth_method", "client_secret_basic")
        found = _parsed(theirs, relation.app.name)
        content = _common.read_secret(self._charm, found.client_secret_id, relation.app.name)
        if not content.get(SECRET_KEY):
            raise Waiting(f"waiting for {relation.app.name} to give a client's secret")
        return OauthClient(
            Issuer(
                found.issuer_url,
                found.authorization_endpoint,
                found.token_endpoint,
                found.jwks_endpoint,
            ),
            found.client_id,
            content[SECRET_KEY],
            redirect_uri,
            scope,
            found.userinfo_endpoint,
            found.groups,
            found.ca_chain,
        )


def _known(scopes: Sequence[str], named: str) -> str:
    """Those of the scopes that the provider names; before it has, those that every issuer has."""
    known = named.split() or ["profile", "email"]  # OpenID Connect Core 1.0, section 5.4
    return " ".join(each for each in scopes if each in (*_UNNAMED, *known))


def _parsed(theirs: dict[str, str], provider: str) -> _Provider:
    try:
        return fields.load(_Provider, theirs)
    except fields.WrongFields as error:
        wrong = [each.name for each in error.wrong if each.name in theirs]
    if wrong:
        field = wrong[0]
        raise Blocked(f"{provider}: {field} {_WRONG.get(field, 'is no URL')}")
    raise Waiting(f"waiting for {provider} to give a client")
