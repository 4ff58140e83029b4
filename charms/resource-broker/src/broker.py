"""The provider's side of `cluster_resources`: reads requests, applies, answers, removes."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping

import apply
import ops
import removal
from inventory import Book
from kube import ApiError, Cluster
from policy import RULES, Policy

from charmed_mlops import ActionFailed, Blocked, ServiceCharm, Waiting
from charmed_mlops.interfaces.manifests import (
    APPLICATION_KEY,
    CONTENT_KEY,
    SECRET_FIELD,
    Answer,
    InvalidManifests,
    Manifest,
    Problem,
    Request,
    name_of,
    unpack,
)

Allowances = Mapping[str, frozenset[str]]


def allowances(text: str) -> Allowances:
    """The rules lifted per application, from `app=rule,rule other=rule`.

    Raises:
        Blocked: not of that form, or no such rule.
    """
    found: dict[str, frozenset[str]] = {}
    for entry in text.split():
        application, _, names = entry.partition("=")
        rules = frozenset(names.split(","))
        if unknown := sorted(rules - set(RULES)):
            raise Blocked(
                f"config allow: {unknown[0]!r} is not a rule: write APP=RULE,RULE with rules of "
                + ", ".join(RULES)
            )
        found[application] = rules
    return found


class Broker:
    """One model's broker; only the leader acts."""

    def __init__(self, charm: ServiceCharm, endpoint: str):
        self._charm = charm
        self._endpoint = endpoint
        self._known: Cluster | None = None
        self._look = False

    @property
    def _cluster(self) -> Cluster:
        if self._known is None:
            self._known = Cluster.connect()
        return self._known

    @property
    def _book(self) -> Book:
        return Book(self._cluster, self._charm.app.name, self._charm.model.name)

    def look_for_missing(self) -> None:
        """Have the next `serve` restore what someone else has deleted."""
        self._look = True

    def serve(self, allowed: Allowances, *, everything: bool) -> None:
        """Apply what live relations declare and remove what ended ones did.

        Raises:
            Blocked: the broker has no rights over the cluster.
            Waiting: the API server does not answer, or custom resources are being finished.
        """
        try:
            applications = self._book.all()
            relations = self._relations()
            pending = 0
            for application in sorted(set(applications) - set(relations)):
                outcome = removal.remove(
                    self._cluster, self._book, application, everything=everything, final=False
                )
                pending += len(outcome.pending)
            for application, relation in sorted(relations.items()):
                gone = self._look and apply.missing(self._cluster, self._book, application)
                self._answer(relation, allowed, force=bool(gone))
        except ApiError as error:
            raise self._status(error) from error
        if pending:
            raise Waiting(f"waiting for {pending} custom resources to be finished")

    def remove_all(self, *, everything: bool) -> None:
        """Remove what any application has: the broker goes, nobody could do it later."""
        for application in self._book.all():
            removal.remove(
                self._cluster, self._book, application, everything=everything, final=True
            )

    def inventory(self, application: str) -> dict[str, list[str]]:
        """Names of the applied objects, by application."""
        try:
            found = self._book.all()
        except ApiError as error:
            raise self._status(error) from error
        if application and application not in found:
            raise ActionFailed(f"application {application} has no objects")
        return {
            name: [str(ref) for ref in sorted(entry.objects)]
            for name, entry in sorted(found.items())
            if application in ("", name)
        }

    def leftovers(self) -> list[dict[str, str]]:
        """Objects of applications that are not related any more."""
        try:
            found = removal.leftovers(self._cluster, self._book, set(self._relations()))
        except ApiError as error:
            raise self._status(error) from error
        return [{"application": application, "object": str(ref)} for application, ref in found]

    def reapply(self, allowed: Allowances, application: str) -> list[dict[str, str]]:
        """Apply all that one application, or every one, declares; returns the problems."""
        if not self._charm.unit.is_leader():
            raise ActionFailed(f"run it on the leader: {self._charm.app.name}/leader")
        relations = self._relations()
        if application and application not in relations:
            raise ActionFailed(f"application {application} is not related")
        try:
            return [
                problem.model_dump()
                for name, relation in sorted(relations.items())
                if application in ("", name)
                for problem in self._answer(relation, allowed, force=True)
            ]
        except ApiError as error:
            raise self._status(error) from error

    def _relations(self) -> dict[str, ops.Relation]:
        return {
            relation.app.name: relation
            for relation in self._charm.model.relations[self._endpoint]
            if relation.active and relation.app
        }

    def _answer(self, relation: ops.Relation, allowed: Allowances, force: bool) -> list[Problem]:
        request = relation.load(Request, relation.app)
        if not request.hash or not request.manifests:
            return []
        before = relation.load(Answer, self._charm.app)
        try:
            problems = self._apply(relation, request, allowed, force)
        except InvalidManifests as error:
            problems = [Problem(object="manifests", reason=str(error), outcome="refused")]
        answer = Answer(hash=request.hash, problems=problems)
        if answer != before:
            relation.save(answer, self._charm.app)
        return problems

    def _apply(
        self, relation: ops.Relation, request: Request, allowed: Allowances, force: bool
    ) -> list[Problem]:
        application = relation.app.name
        manifests = unpack(request.manifests or "")
        namespace = self._charm.model.name
        if request.tenants:
            raise InvalidManifests("objects for tenants are not applied yet")
        # Juju gives each application a ServiceAccount of its name; what it claims counts not
        policy = Policy(application, application, namespace, allowed.get(application, ()))
        refused = [
            Problem(object=name_of(manifest), reason=refusal.reason, outcome="refused")
            for manifest, refusal in policy.check(manifests)
        ]
        if refused:  # all or nothing: half of an application's objects is of no use to it
            return refused
        try:
            resolved = [self._resolve(manifest, application) for manifest in manifests]
        except InvalidManifests:
            raise
        except (ops.SecretNotFoundError, ops.ModelError, KeyError, ValueError):
            text = "its Juju secret cannot be read yet"
            return [Problem(object="Secret", reason=text, outcome="failed")]
        return apply.apply(self._cluster, self._book, application, resolved, force)

    def _resolve(self, manifest: Manifest, application: str) -> Manifest:
        """A Secret with the content of the Juju secret that it names, if that is its own."""
        if SECRET_FIELD not in manifest:
            return manifest
        secret = self._charm.model.get_secret(id=manifest[SECRET_FIELD])
        given = secret.get_content(refresh=True)
        if given.get(APPLICATION_KEY) != application:
            raise InvalidManifests(
                f"the Juju secret of {name_of(manifest)} is not {application}'s"
            )
        content = json.loads(given[CONTENT_KEY])
        rest = {key: value for key, value in manifest.items() if key != SECRET_FIELD}
        # not as stringData: server-side apply does not remove keys that were given that way
        data = {key: b64encode(value.encode()).decode() for key, value in content.items()}
        return {**rest, "data": data}

    def _status(self, error: ApiError) -> Blocked | Waiting:
        if error.code in (401, 403):
            name = self._charm.app.name
            return Blocked(f"no rights over the cluster: juju trust {name} --scope=cluster")
        return Waiting(f"waiting for the Kubernetes API: {error}")
