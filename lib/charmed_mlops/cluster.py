"""Cluster objects of an application, applied for it by the resource broker."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import ops

from charmed_mlops.charm import ServiceCharm
from charmed_mlops.errors import Blocked, Waiting
from charmed_mlops.interfaces.manifests import (
    APPLICATION_KEY,
    CONTENT_KEY,
    SECRET_FIELD,
    VERSION,
    Answer,
    Manifest,
    Request,
    digest,
    name_of,
    pack,
    unpack,
)
from charmed_mlops.network import NOBODY, Reach, policy


class ClusterResources:
    """Declares what `src/manifests/*.yaml.j2` renders to, over a relation to the broker.

    Templates get `app`, `namespace` (the model's) and what `apply` is given. What
    `src/manifests/tenants/*.yaml.j2` renders to is applied in the namespace of every tenant,
    where `$(tenant)` becomes the namespace's name. A Secret is written with stringData; its
    content goes through a Juju secret, never through the databag.

    To these come the application's NetworkPolicy, which follows from its relations, and, where the
    charm says its ports, the Service that leads to the units that serve.

    Rendering is most of a hook's cost. The request in the databag says from what it was rendered,
    so a leader renders again only when the code, the templates or what `apply` is given differ.
    """

    def __init__(self, charm: ServiceCharm, relation: str = "manifests"):
        self._charm = charm
        self._endpoint = relation
        charm.declare_by(self)

    @property
    def related(self) -> bool:
        """Whether there is a broker, for an application that can do without."""
        relation = self._charm.model.get_relation(self._endpoint)
        return relation is not None and relation.active

    @property
    def tenants(self) -> list[str]:
        """The tenants' namespaces, as the broker answered; empty while it has not."""
        relation = self._charm.model.get_relation(self._endpoint)
        return _answer(relation).tenants if relation else []

    @property
    def gone_known(self) -> bool:
        """Whether a tenant that is not among `tenants` has gone.

        A broker that has not answered yet, or could not ask the API server, names none.
        """
        relation = self._charm.model.get_relation(self._endpoint)
        if relation is None or not relation.active:
            return True
        answer = _answer(relation)
        return bool(answer.hash) and bool(answer.tenants or not answer.problems)

    @property
    def requested(self) -> bool:
        """Whether the broker has been asked for objects so far; the leader may ask."""
        relation = self._charm.model.get_relation(self._endpoint)
        if relation is None or not relation.active:
            return False
        return bool(Request.load(relation, self._charm.app).hash)

    @property
    def by_label(self) -> bool:
        """Whether Services select by the label of pods that serve so far; the leader may ask."""
        relation = self._charm.model.get_relation(self._endpoint)
        if relation is None or not relation.active:
            return True
        current = Request.load(relation, self._charm.app)
        return not current.hash or current.serving

    def protect(self, reach: Reach = NOBODY) -> None:
        """Have the application's NetworkPolicy applied, where there is a broker.

        For an application that needs nothing else of the cluster.

        Raises:
            Blocked, Waiting: as `apply` does.
        """
        if self.related:
            self.apply(reach)

    def apply(self, reach: Reach = NOBODY, /, **context: Any) -> None:
        """Have the objects applied; returns when the broker says that they are.

        The leader insists on an answer to what it declares. Another unit takes any answer: while
        an application is refreshed it may run another revision than the leader does.

        Args:
            reach: who reaches the application besides the related ones.
            context: what the templates get.

        Raises:
            Blocked: no relation, or the broker refuses an object; the text says why.
            Waiting: the broker has not done it yet, or could not.
        """
        relation = self._charm.model.get_relation(self._endpoint)
        if relation is None or not relation.active:
            self._charm.leave_serving_address()
            raise Blocked(
                f"missing relation {self._endpoint}: "
                f"juju integrate {self._charm.app.name}:{self._endpoint} resource-broker"
            )
        wanted = None
        if self._charm.unit.is_leader():
            own = [policy(self._charm, reach), *self._charm.serving_services()]
            wanted = self._request(relation, own, context)
        answer = _answer(relation)
        if not answer.hash or wanted not in (None, answer.hash):
            raise Waiting(f"waiting for {relation.app.name} to apply the cluster objects")
        for problem in answer.problems:
            if problem.outcome == "refused":
                raise Blocked(f"{relation.app.name} refuses {problem.object}: {problem.reason}")
        for problem in answer.problems:
            if problem.outcome != "deferred":
                raise Waiting(f"waiting for {problem.object}: {problem.reason}")

    def _request(
        self, relation: ops.Relation, own: list[Manifest], context: dict[str, Any]
    ) -> str:
        """Have the objects requested, `own` ones before the rendered; returns the hash."""
        inputs = self._inputs(own, context)
        current = Request.load(relation, self._charm.app)
        if inputs and current.hash and (current.inputs, current.version) == (inputs, VERSION):
            return current.hash
        manifests = [*own, *self._rendered("", context)]
        tenants = self._rendered("tenants/", context)
        wanted = digest(manifests, tenants)
        self._publish(relation, current, manifests, tenants, wanted, inputs)
        return wanted

    def _inputs(self, own: list[Manifest], context: dict[str, Any]) -> str:
        """A digest of all that rendering depends on; "" when that cannot be told."""
        charm = self._charm
        given = {
            "app": charm.app.name,
            "namespace": charm.model.name,
            "own": own,
            "context": context,
        }
        try:
            text = json.dumps(given, sort_keys=True, default=_plain)
        except TypeError:
            return ""
        found = hashlib.sha256(text.encode())
        for folder in (charm.charm_dir / "src", Path(__file__).parent):
            for file in sorted(folder.rglob("*")):
                if file.suffix in (".py", ".j2") and "tests" not in file.parts:
                    content = file.read_bytes()
                    found.update(f"{file.relative_to(folder)} {len(content)} ".encode() + content)
        return found.hexdigest()[:32]

    def forget(self, secret: str, tenant: str) -> None:
        """Remove the Juju secret of a tenant's Secret that no broker is asked for any more."""
        named = {"kind": "Secret", "metadata": {"name": secret, "namespace": tenant}}
        with contextlib.suppress(ops.SecretNotFoundError):
            label = self._label(named, "tenants.")
            self._charm.model.get_secret(label=label).remove_all_revisions()

    def _rendered(self, folder: str, context: dict[str, Any]) -> list[Manifest]:
        """The objects of a folder of templates, Secrets with their content."""
        import yaml  # here: most hooks render nothing

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        charm = self._charm
        objects: list[Manifest] = []
        for template in sorted((charm.charm_dir / "src" / "manifests" / folder).glob("*.yaml.j2")):
            text = charm.render(
                folder + template.name, app=charm.app.name, namespace=charm.model.name, **context
            )
            objects += [document for document in yaml.load_all(text, loader) if document]
        return objects

    def _publish(
        self,
        relation: ops.Relation,
        current: Request,
        manifests: list[Manifest],
        tenants: list[Manifest],
        wanted: str,
        inputs: str,
    ) -> None:
        if current.hash == wanted and current.version == VERSION:
            same = {"inputs": inputs, "serving": self._charm.selects_by_label}
            msgspec.structs.replace(current, **same).save(relation, self._charm.app)
            return
        names: set[str] = set()
        packed = [
            pack(self._without_content(relation, manifest, scope, names) for manifest in found)
            for scope, found in (("", manifests), ("tenants.", tenants))
        ]
        # an empty list, too, asks for the tenants' names, which the objects may depend on
        asks = bool(tenants) or (self._charm.charm_dir / "src/manifests/tenants").is_dir()
        request = Request(
            manifests=packed[0],
            tenants=packed[1] if asks else None,
            hash=wanted,
            inputs=inputs,
            serving=self._charm.selects_by_label,
        )
        before = self._secret_labels(current)
        request.save(relation, self._charm.app)
        for label in sorted(before - names):
            with contextlib.suppress(ops.SecretNotFoundError):
                self._charm.model.get_secret(label=label).remove_all_revisions()

    def _without_content(
        self, relation: ops.Relation, manifest: Manifest, scope: str, labels: set[str]
    ) -> Manifest:
        """A Secret with its content in a Juju secret; any other object as it is."""
        if (manifest["apiVersion"], manifest["kind"]) != ("v1", "Secret"):
            return manifest
        if "data" in manifest:
            raise ValueError(f"{name_of(manifest)}: write its content as stringData, not as data")
        content = {
            APPLICATION_KEY: self._charm.app.name,
            CONTENT_KEY: json.dumps(manifest.get("stringData") or {}, sort_keys=True),
        }
        label = self._label(manifest, scope)
        labels.add(label)
        try:
            secret = self._charm.model.get_secret(label=label)
            if secret.get_content(refresh=True) != content:
                secret.set_content(content)
        except ops.SecretNotFoundError:
            secret = self._charm.app.add_secret(content, label=label)
        secret.grant(relation)
        kept = {key: value for key, value in manifest.items() if key != "stringData"}
        return {**kept, SECRET_FIELD: secret.get_info().id}

    def _label(self, manifest: Manifest, scope: str) -> str:
        """What the owner calls the Juju secret of a Secret."""
        namespace = manifest["metadata"].get("namespace") or ""
        own = namespace in ("", self._charm.model.name)
        return f"{self._endpoint}.{scope}{'' if own else namespace + '.'}{name_of(manifest)}"

    def _secret_labels(self, request: Request) -> set[str]:
        """The labels of the Juju secrets that an earlier request names."""
        return {
            self._label(manifest, scope)
            for scope, text in (("", request.manifests), ("tenants.", request.tenants))
            for manifest in (unpack(text) if text else ())
            if SECRET_FIELD in manifest
        }


def _answer(relation: ops.Relation) -> Answer:
    """What the broker answered; one that wrote what nobody can read has not answered yet."""
    try:
        return Answer.load(relation, relation.app)
    except ValueError:
        return Answer()


def _plain(value: Any) -> Any:
    """Models and dataclasses by their fields, for json.dumps, which cannot write them itself."""
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no form in JSON")
