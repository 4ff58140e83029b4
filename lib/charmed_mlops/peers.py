"""Values that units of an application share: the leader's, and those of one unit each."""

from __future__ import annotations

import json
from typing import Any

import ops

from charmed_mlops.errors import Waiting

ENDPOINT = "peers"


class Peers:
    """The application's databag of the peer relation; a change wakes every unit."""

    def __init__(self, charm: ops.CharmBase, endpoint: str = ENDPOINT):
        self._charm = charm
        self._endpoint = endpoint

    @property
    def declared(self) -> bool:
        """Whether the charm has a peer relation at all."""
        return self._endpoint in self._charm.meta.peers

    def get(self, key: str) -> Any:
        """The value, None if the leader has set none.

        Raises:
            Waiting: the peer relation is not there yet.
        """
        text = self._data().get(key)
        return None if text is None else json.loads(text)

    def set(self, key: str, value: Any) -> None:
        """Share a value; only the leader does, the others leave it.

        Raises:
            Waiting: the peer relation is not there yet.
        """
        if self._charm.unit.is_leader():
            text, data = json.dumps(value, sort_keys=True), self._data()
            if data.get(key) != text:
                data[key] = text

    def tell(self, key: str, value: Any) -> None:
        """Tell the others a value of this unit's; it does not wake them: installer/dispatch.

        Raises:
            Waiting: the peer relation is not there yet.
        """
        text, data = json.dumps(value, sort_keys=True), self._data(self._charm.unit)
        if data.get(key) != text:
            data[key] = text

    def told(self, key: str) -> list[Any]:
        """What each other unit has told, None for one that has not.

        Raises:
            Waiting: the peer relation is not there yet.
        """
        relation = self._relation()
        units = relation.units if relation else ()
        texts = [self._data(unit).get(key) for unit in units]
        return [None if text is None else json.loads(text) for text in texts]

    def announce(self, label: str, secret: ops.Secret) -> None:
        """Wake the followers: Juju fires no event on them when a secret is made.

        Source: https://github.com/juju/juju/issues/18606
        """
        relation = self._relation()
        if relation is not None and self._charm.unit.is_leader():
            data, key = relation.data[self._charm.app], f"secret-{label}"
            if not data.get(key):
                # the databag needs the URI, which a secret found by its label does not know
                data[key] = secret.id or secret.get_info().id

    def _relation(self) -> ops.Relation | None:
        return self._charm.model.get_relation(self._endpoint) if self.declared else None

    def _data(self, whose: ops.Application | ops.Unit | None = None) -> ops.RelationDataContent:
        relation = self._relation()
        if relation is None:
            raise Waiting("waiting for the peer relation")
        return relation.data[whose or self._charm.app]
