"""What the interfaces of this package share: finding relations, writing differences, secrets."""

from __future__ import annotations

import re
import urllib.parse
import weakref
from collections.abc import Iterable, Mapping

import ops

from charmed_mlops.errors import Blocked, Waiting

_READ: weakref.WeakKeyDictionary[ops.CharmBase, dict[str, ops.Secret]]
_READ = weakref.WeakKeyDictionary()
"""Own secrets that a charm has read in this hook: each reading is two calls of secret-get."""
_URL = re.compile(r"https?://[A-Za-z0-9_.:\[\]-]+(/[!-~]*)?")


def is_url(text: str) -> bool:
    """Whether it is an absolute http or https URL, of a host without a user, in ASCII."""
    if not _URL.fullmatch(text):
        return False
    try:
        url = urllib.parse.urlsplit(text)
        return bool(url.hostname) and url.port != 0  # reading the port raises if it is none
    except ValueError:
        return False


def live(charm: ops.CharmBase, endpoint: str) -> list[ops.Relation]:
    """The endpoint's relations that are not being removed."""
    return [each for each in charm.model.relations[endpoint] if each.active and each.app]


def find(charm: ops.CharmBase, endpoint: str) -> ops.Relation | None:
    """The endpoint's first relation that is not being removed."""
    return next(iter(live(charm, endpoint)), None)


def related(charm: ops.CharmBase, endpoint: str) -> str:
    """The name of that relation's application, empty where there is none."""
    found = find(charm, endpoint)
    return found.app.name if found else ""


def one(charm: ops.CharmBase, endpoint: str) -> ops.Relation:
    """The same, where there has to be one.

    Raises:
        Blocked: there is none.
    """
    found = find(charm, endpoint)
    if found is not None:
        return found
    interface = charm.meta.relations[endpoint].interface_name
    raise Blocked(
        f"no relation {endpoint}: juju integrate {charm.app.name}:{endpoint} "
        f"with an application that provides {interface}"
    )


def write(data: ops.RelationDataContent, key: str, value: str) -> None:
    """Write a field if it differs: what is equal wakes nobody, but costs a call."""
    if data.get(key, "") != value:  # an empty field is none
        data[key] = value


def read_secret(charm: ops.CharmBase, uri: str, owner: str) -> dict[str, str]:
    """The newest content of a secret that another application granted.

    Raises:
        Waiting: it is not readable yet.
    """
    try:
        return charm.model.get_secret(id=uri).get_content(refresh=True)
    except (ops.SecretNotFoundError, ops.ModelError, ValueError) as error:
        raise Waiting(f"waiting for {owner} to grant its secret") from error


def keep_secret(
    charm: ops.CharmBase, label: str, relation: ops.Relation, content: Mapping[str, str]
) -> str:
    """The URI of the application's secret `label`, with this content, granted to the relation."""
    secret = _own(charm, label)
    if secret is None:
        secret = charm.app.add_secret(dict(content), label=label)
        secret.grant(relation)  # one transaction with its creation
    elif secret.get_content() != dict(content):
        _set(charm, label, secret, content)
    # the databag needs the URI, which a secret found by its label does not know
    return secret.id or secret.get_info().id


def own_secret(charm: ops.CharmBase, label: str) -> dict[str, str] | None:
    """The newest content of the application's or unit's secret `label`, None if there is none."""
    secret = _own(charm, label)
    return secret.get_content() if secret else None


def keep_unit_secret(charm: ops.CharmBase, label: str, content: Mapping[str, str]) -> None:
    """Have the unit's secret `label` hold this content."""
    secret = _own(charm, label)
    if secret is None:
        charm.unit.add_secret(dict(content), label=label)
    else:
        _set(charm, label, secret, content)


def _own(charm: ops.CharmBase, label: str) -> ops.Secret | None:
    """The application's or unit's secret `label`, read with its newest content; None if none."""
    read = _READ.setdefault(charm, {})
    if label not in read:
        try:
            secret = charm.model.get_secret(label=label)
            # refresh: an owner that peeks keeps the first revision in use for ever
            secret.get_content(refresh=True)
        except ops.SecretNotFoundError:
            return None
        read[label] = secret
    return read[label]


def _set(charm: ops.CharmBase, label: str, secret: ops.Secret, content: Mapping[str, str]) -> None:
    secret.set_content(dict(content))
    _READ[charm].pop(label, None)


def forget_secret(charm: ops.CharmBase, label: str) -> None:
    """Remove the application's secret `label` with all revisions, if it is there."""
    _READ.get(charm, {}).pop(label, None)
    try:
        charm.model.get_secret(label=label).remove_all_revisions()
    except ops.SecretNotFoundError:
        return


def gone(charm: ops.CharmBase, endpoint: str, names: Iterable[str]) -> set[str]:
    """Those of the names `relation-ID` whose relation is gone; none if this unit does not lead."""
    if not charm.unit.is_leader():
        return set()
    present = {f"relation-{each.id}" for each in charm.model.relations[endpoint] if each.active}
    return set(names) - present


class Provider:
    """The side that answers requests; one that is wrong does not keep the others from theirs.

    Attributes:
        problems: what is wrong with the requests that `requests` passed over.
    """

    def __init__(self, charm: ops.CharmBase, endpoint: str):
        self._charm = charm
        self._endpoint = endpoint
        self.problems: list[str] = []

    def require_valid(self) -> None:
        """To be called when all good requests are answered.

        Raises:
            Blocked: a request is wrong; the text names the first.
        """
        if self.problems:
            raise Blocked(self.problems[0])
