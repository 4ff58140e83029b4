"""Cluster objects of an application, applied for it by the resource broker."""

from __future__ import annotations

import json
from typing import Any

import ops
import yaml

from charmed_mlops.charm import ServiceCharm
from charmed_mlops.errors import Blocked, Waiting
from charmed_mlops.interfaces.manifests import (
    CONTENT_KEY,
    SECRET_FIELD,
    Answer,
    Manifest,
    Request,
    digest,
    name_of,
    pack,
)

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ClusterResources:
    """Declares what `src/manifests/*.yaml.j2` renders to, over a relation to the broker.

    Templates get `app`, `namespace` (the model's) and what `apply` is given. A Secret is written
    with stringData; its content goes through a Juju secret, never through the databag.
    """

    def __init__(self, charm: ServiceCharm, relation: str = "manifests"):
        self._charm = charm
        self._endpoint = relation

    def apply(self, **context: Any) -> None:
        """Have the objects applied; returns when the broker says that they are.

        Raises:
            Blocked: no relation, or the broker refuses an object; the text says why.
            Waiting: the broker has not done it yet, or could not.
        """
        relation = self._charm.model.get_relation(self._endpoint)
        if relation is None:
            raise Blocked(
                f"missing relation {self._endpoint}: "
                f"juju integrate {self._charm.app.name}:{self._endpoint} resource-broker"
            )
        manifests = self.manifests(**context)
        wanted = digest(manifests)
        if self._charm.unit.is_leader():
            self._publish(relation, manifests, wanted)
        answer = relation.load(Answer, relation.app)
        if answer.hash != wanted:
            raise Waiting(f"waiting for {relation.app.name} to apply the cluster objects")
        for problem in answer.problems:
            if problem.outcome == "refused":
                raise Blocked(f"{relation.app.name} refuses {problem.object}: {problem.reason}")
        for problem in answer.problems:
            if problem.outcome != "deferred":
                raise Waiting(f"waiting for {problem.object}: {problem.reason}")

    def manifests(self, **context: Any) -> list[Manifest]:
        """The rendered objects, Secrets with their content."""
        charm = self._charm
        objects: list[Manifest] = []
        for template in sorted((charm.charm_dir / "src" / "manifests").glob("*.yaml.j2")):
            text = charm.render(
                template.name, app=charm.app.name, namespace=charm.model.name, **context
            )
            objects += [document for document in yaml.load_all(text, _LOADER) if document]
        return objects

    def _publish(self, relation: ops.Relation, manifests: list[Manifest], wanted: str) -> None:
        current = relation.load(Request, self._charm.app)
        if current.hash == wanted:
            return
        request = Request(
            manifests=pack(self._without_content(relation, manifest) for manifest in manifests),
            hash=wanted,
            service_account=self._charm.app.name,
        )
        relation.save(request, self._charm.app)

    def _without_content(self, relation: ops.Relation, manifest: Manifest) -> Manifest:
        """A Secret with its content in a Juju secret; any other object as it is."""
        if (manifest["apiVersion"], manifest["kind"]) != ("v1", "Secret"):
            return manifest
        content = {CONTENT_KEY: json.dumps(manifest.get("stringData") or {}, sort_keys=True)}
        label = f"{self._endpoint}.{name_of(manifest)}"
        try:
            secret = self._charm.model.get_secret(label=label)
            if secret.peek_content() != content:
                secret.set_content(content)
        except ops.SecretNotFoundError:
            secret = self._charm.app.add_secret(content, label=label)
        secret.grant(relation)
        kept = {key: value for key, value in manifest.items() if key not in ("data", "stringData")}
        return {**kept, SECRET_FIELD: secret.get_info().id}
