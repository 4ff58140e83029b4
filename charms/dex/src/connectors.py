"""The option `connectors`: other ways to log in, typed, with their passwords from a secret.

Names in `config` are Dex's own: https://dexidp.io/docs/connectors/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import pydantic
import yaml

from charmed_mlops import Blocked

_PEM = re.compile(r"\s*-----BEGIN CERTIFICATE-----.+-----END CERTIFICATE-----\s*", re.DOTALL)
_FOLDER = "/tmp/dex"
Url = Annotated[str, pydantic.StringConstraints(pattern=r"^https?://\S+$")]


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)


class Search(_Strict):
    """Where a directory keeps users."""

    baseDN: str  # noqa: N815 (Dex's names)
    username: str
    idAttr: str  # noqa: N815
    emailAttr: str = ""  # noqa: N815
    emailSuffix: str = ""  # noqa: N815
    nameAttr: str = ""  # noqa: N815
    preferredUsernameAttr: str = ""  # noqa: N815
    filter: str = ""
    scope: Literal["", "sub", "one"] = ""


class Matcher(_Strict):
    """How a directory's groups name their users."""

    userAttr: str  # noqa: N815
    groupAttr: str  # noqa: N815
    recursionGroupAttr: str = ""  # noqa: N815


class Groups(_Strict):
    """Where a directory keeps groups."""

    baseDN: str  # noqa: N815
    userMatchers: list[Matcher]  # noqa: N815
    nameAttr: str  # noqa: N815
    filter: str = ""
    scope: Literal["", "sub", "one"] = ""


class LdapConfig(_Strict):
    host: Annotated[str, pydantic.StringConstraints(pattern=r"^[\w.-]+(:\d+)?$")]
    insecureNoSSL: bool = False  # noqa: N815
    startTLS: bool = False  # noqa: N815
    bindDN: str = ""  # noqa: N815
    usernamePrompt: str = ""  # noqa: N815
    userSearch: Search  # noqa: N815
    groupSearch: Groups | None = None  # noqa: N815


class OidcConfig(_Strict):
    issuer: Url
    clientID: str  # noqa: N815
    scopes: list[str] = []
    getUserInfo: bool = False  # noqa: N815
    insecureSkipEmailVerified: bool = False  # noqa: N815
    insecureEnableGroups: bool = False  # noqa: N815
    userIDKey: str = ""  # noqa: N815
    userNameKey: str = ""  # noqa: N815
    claimMapping: dict[str, str] = {}  # noqa: N815


class SamlConfig(_Strict):
    ssoURL: Url  # noqa: N815
    entityIssuer: str = ""  # noqa: N815
    ssoIssuer: str = ""  # noqa: N815
    usernameAttr: str  # noqa: N815
    emailAttr: str  # noqa: N815
    groupsAttr: str = ""  # noqa: N815
    groupsDelim: str = ""  # noqa: N815
    allowedGroups: list[str] = []  # noqa: N815
    nameIDPolicyFormat: str = ""  # noqa: N815


class Org(_Strict):
    """Who of GitHub may log in."""

    name: str
    teams: list[str] = []


class GithubConfig(_Strict):
    clientID: str  # noqa: N815
    orgs: list[Org] = []
    loadAllGroups: bool = False  # noqa: N815
    teamNameField: Literal["", "name", "slug", "both"] = ""  # noqa: N815
    useLoginAsID: bool = False  # noqa: N815
    hostName: str = ""  # noqa: N815


class _Connector(_Strict):
    """What all have. `added` is what the charm adds to `config`."""

    secret: ClassVar[tuple[str, str] | None] = ("clientSecret", "client-secret")
    ca_field: ClassVar[str]
    comes_back: ClassVar[bool] = True  # people leave for another site and come back
    id: Annotated[str, pydantic.StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,40}$")]
    name: str
    ca: str = ""
    added: dict[str, Any] = pydantic.Field(default={}, exclude=True, init=False)

    @pydantic.field_validator("ca")
    @classmethod
    def _pem(cls, text: str) -> str:
        if text and not _PEM.fullmatch(text):
            raise ValueError("must be a PEM certificate")
        return text

    @property
    def ca_file(self) -> str:
        """Where the container has the CA."""
        return f"{_FOLDER}/{self.id}-ca.pem"

    def rendered(self) -> dict[str, Any]:
        """The entry of Dex's configuration."""
        entry = self.model_dump(exclude_defaults=True, exclude={"ca", "added"})
        entry["type"] = self.type  # type: ignore[attr-defined]
        entry["config"] = {**entry["config"], **self.added}
        if self.ca:
            many = self.ca_field == "rootCAs"
            entry["config"][self.ca_field] = [self.ca_file] if many else self.ca_file
        return entry


class Ldap(_Connector):
    secret = ("bindPW", "bind-password")
    ca_field = "rootCA"
    comes_back = False
    type: Literal["ldap"]
    config: LdapConfig


class Oidc(_Connector):
    ca_field = "rootCAs"
    type: Literal["oidc"]
    config: OidcConfig


class Saml(_Connector):
    secret = None
    ca_field = "ca"
    type: Literal["saml"]
    config: SamlConfig

    @pydantic.model_validator(mode="after")
    def _signed(self) -> Saml:
        if not self.ca:
            raise ValueError("ca is missing: what signs the answers")
        return self


class Github(_Connector):
    ca_field = "rootCA"
    type: Literal["github"]
    config: GithubConfig


Connector = Annotated[Ldap | Oidc | Saml | Github, pydantic.Field(discriminator="type")]
_LIST = pydantic.TypeAdapter(list[Connector])


def parsed(text: str, secrets: Mapping[str, str], url: str | None) -> list[Connector]:
    """The connectors with their passwords and where people come back to.

    Raises:
        Blocked: one is wrong, or its password or the gateway's URL is missing.
    """
    try:
        found = _LIST.validate_python(yaml.safe_load(text or "[]"))
    except yaml.YAMLError:
        raise Blocked("config connectors: not YAML") from None
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise Blocked(f"config connectors: {where}: {reason}".replace(": : ", ": ")) from None
    names = [each.id for each in found]
    for each in found:
        if names.count(each.id) > 1:
            raise Blocked(f"config connectors: there are two with id {each.id}")
        if each.secret and not (isinstance(each, Ldap) and not each.config.bindDN):
            field, key = each.secret
            if not secrets.get(f"{each.id}-{key}"):
                raise Blocked(f"config connector-secrets: no {each.id}-{key} in the secret")
            each.added[field] = secrets[f"{each.id}-{key}"]
        if each.comes_back:
            if not url:
                raise Blocked(
                    f"config connectors: {each.id} needs the URL of a gateway: "
                    "juju integrate dex:gateway gateway"
                )
            each.added["redirectURI"] = f"{url.rstrip('/')}/dex/callback"
    return list(found)
