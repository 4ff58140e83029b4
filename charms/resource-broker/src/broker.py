"""The provider's side of `cluster_resources`: reads requests, applies, answers, removes."""

from __future__ import annotations

import json
import logging
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import apply
import guard
import msgspec
import ops
import removal
import rollout
from inventory import MANAGED_BY, MODEL, Book, Inventory
from kinds import WEBHOOKS
from kube import ApiError, Cluster

from charmed_mlops import ActionFailed, Blocked, ServiceCharm, Waiting
from charmed_mlops.interfaces.manifests import (
    APPLICATION_KEY,
    CONTENT_KEY,
    SECRET_FIELD,
    TENANT,
    TENANT_LABEL,
    VERSION,
    Answer,
    InvalidManifests,
    Manifest,
    Problem,
    Request,
    digest,
    for_tenant,
    name_of,
    unpack,
)

if TYPE_CHECKING:
    import policy
    import report
    from policy import Grants, Policy

logger = logging.getLogger(__name__)


def grants(text: str) -> Grants:
    """What the config option `allow` says.

    Raises:
        Blocked: it cannot be read.
    """
    if not text.strip():
        return {}
    import policy

    try:
        return policy.grants(text)
    except ValueError as error:
        raise Blocked(f"config allow: {error}") from None


class NotYet(Exception):  # noqa: N818
    """A request cannot be served yet; str() says what for."""


class Broker:
    """One model's broker; only the leader acts."""

    def __init__(self, charm: ServiceCharm, endpoint: str):
        self._charm = charm
        self._endpoint = endpoint
        self._look = False
        self._applications: Mapping[str, Inventory] | None = None
        self._applied = False
        self._unsettled = False
        self._paced = set[str]()

    @cached_property
    def _cluster(self) -> Cluster:
        return Cluster.connect()

    @property
    def _book(self) -> Book:
        name, namespace = self._charm.app.name, self._charm.model.name
        return Book(self._cluster, name, namespace, self._relations(), self._charm.model.uuid)

    @cached_property
    def _tenants(self) -> list[str]:
        """The namespaces of tenants; never one of the cluster's, of Juju's or of a model."""
        return sorted(
            item["metadata"]["name"]
            for item in self._cluster.list("v1", "Namespace", "=".join(TENANT_LABEL))
            if not re.match(guard.PROTECTED, item["metadata"]["name"])
            and not item["metadata"].get("deletionTimestamp")
            and "model.juju.is/name" not in (item["metadata"].get("labels") or {})
            and item["metadata"]["name"] not in ("default", self._charm.model.name)
        )

    @property
    def _fences(self) -> bool:
        """Whether the applications' own NetworkPolicies are applied."""
        return bool(self._charm.config["network-policies"])

    def look_for_missing(self) -> None:
        """Have the next `serve` restore what someone else has deleted."""
        self._look = True

    def serve(self, granted: Grants, *, everything: bool) -> None:
        """Apply what live relations declare and remove what ended ones did.

        What goes wrong with one application is its own problem: the others are served.

        Raises:
            Blocked: the broker has no rights over the cluster.
            Waiting: the API server does not answer, or custom resources are being finished.
        """
        relations, pending, failed = self._relations(), 0, ""
        try:
            book = self._book
            guard.ensure(self._cluster, book.namespace, book.broker, book.uuid, relations)
            applications = self._applications = self._book.all()
            if self._look:
                removal.remove_orphans(self._cluster, self._book, set(applications))
            for application in sorted(set(applications) - set(relations)):
                try:
                    outcome = removal.remove(
                        self._cluster, self._book, application, everything=everything, final=False
                    )
                    pending += len(outcome.pending)
                except ApiError as error:
                    if error.code in (0, 401):
                        raise
                    logger.exception("the objects of %s cannot be removed", application)
                    failed = f"will try again to remove the objects of {application}: {error}"
            lost = set[str]()
            if self._look:
                lost = apply.changed(self._cluster, self._book, applications.values())
            for application, relation in sorted(relations.items()):
                problems = self._answer(relation, granted, force=application in lost)
                self._unsettled |= any(each.outcome == "failed" for each in problems)
            if self._applied or self._look:
                rollout.pace(self._cluster, book.namespace, self._paced)
            if self._applied or set(applications) - set(relations):
                self._applications = self._book.all()
        except ApiError as error:
            self._unsettled = True
            raise self._status(error) from error
        if failed:
            self._unsettled = True
            raise Waiting(failed)
        if pending:
            raise Waiting(f"waiting for {pending} custom resources to be finished")

    def watched(self) -> dict[str, Any]:
        """What the watcher is to watch, after `serve`.

        Where `serve` did not get so far as to know it, that is when to try again.
        """
        name, namespace = self._charm.app.name, self._charm.model.name
        applications = self._applications or {}
        refs = {(ref.api, ref.kind) for each in applications.values() for ref in each.objects}
        return {
            "broker": name,
            "namespace": namespace,
            "selector": f"{MODEL}={namespace},{MANAGED_BY}={name}",
            "tenants": "=".join(TENANT_LABEL),
            "kinds": sorted([(guard.API, guard.POLICY), (guard.API, guard.BINDING), *refs]),
            # a webhook is served by its application's own Service, says the policy
            "webhooks": sorted(
                application
                for application, inventory in applications.items()
                if any((ref.api, ref.kind) in WEBHOOKS for ref in inventory.objects)
            ),
            "unsettled": self._unsettled,
        }

    def remove_all(self, *, everything: bool) -> None:
        """Remove what any application has: the broker goes, nobody could do it later.

        What users made stays unless `everything` is said. What is refused is left behind: a
        broker without rights has to be removable.

        Raises:
            ApiError: the API server is not there. The hook fails and Juju runs it again, which
                is all that can keep the broker from going before its work is done.
        """
        name, namespace = self._charm.app.name, self._charm.model.name
        try:
            cluster = self._cluster
        except ApiError as error:  # it has no token, and will have none
            logger.error("nothing is removed from the cluster: %s", error)
            return
        try:
            applications = self._book.all()
        except ApiError as error:
            self._left(error, "nothing is removed from the cluster")
            return
        for application in applications:
            try:
                removal.remove(cluster, self._book, application, everything=everything, final=True)
            except ApiError as error:
                self._left(error, f"objects of {application} are left in the cluster")
        try:
            guard.remove(cluster, namespace, name)
        except ApiError as error:
            self._left(error, "the guard is left in the cluster")

    def _left(self, error: ApiError, what: str) -> None:
        """Log what is left behind; raises the error where the API server is not there.

        One that is up may refuse for ever: a webhook that has gone fails with 500.
        """
        if error.code == 0 or not self._cluster.ready():
            raise error
        logger.error("%s: %s", what, error)

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

    def reapply(self, granted: Grants, application: str) -> list[dict[str, str]]:
        """Apply all that one application, or every one, declares; returns the problems."""
        relations = self._leading(application)
        try:
            return [
                msgspec.structs.asdict(problem)
                for name, relation in sorted(relations.items())
                if application in ("", name)
                for problem in self._answer(relation, granted, force=True)
            ]
        except ApiError as error:
            raise self._status(error) from error

    def adopt(self, application: str, names: Sequence[str]) -> list[str]:
        """Make existing objects, named `Kind/name`, the application's; returns their names."""
        relation = self._leading(application)[application]
        manifests = self._unpacked(Request.load(relation, relation.app))[0]
        declared = {name_of(manifest): manifest for manifest in manifests}
        if unknown := sorted(set(names) - set(declared)):
            raise ActionFailed(f"{application} does not declare {unknown[0]}")
        try:
            chosen = [declared[name] for name in names]
            book, adopted = self._book, []
            for ref in apply.references(self._cluster, chosen, self._charm.model.name):
                found = self._cluster.get(ref)
                if found is None:
                    raise ActionFailed(f"{ref} is not there")
                if apply.owned_by_broker(found) and not book.owns(application, found):
                    raise ActionFailed(f"{ref} is another application's")
                self._cluster.merge(ref, {"metadata": {"labels": book.labels(application)}})
                adopted.append(str(ref))
        except ApiError as error:
            raise self._status(error) from error
        return adopted

    def explain(self, granted: Grants, application: str) -> dict[str, report.Report]:
        """What the policy says to the request of one application, or of every related one."""
        import report

        relations = self._relations()
        if application and application not in relations:
            return {application: report.unrelated(granted.get(application, ()))}
        return {
            name: self._explained(relation, granted.get(name, ()))
            for name, relation in sorted(relations.items())
            if application in ("", name)
        }

    def _explained(self, relation: ops.Relation, granted: Sequence[policy.Grant]) -> report.Report:
        import report

        checker = self._policy(relation.app.name, granted)
        try:
            manifests, tenants = self._unpacked(Request.load(relation, relation.app))
            found = report.explain(checker, manifests, tenants)
        except (ValueError, RecursionError) as error:  # InvalidManifests is one
            return report.unreadable(str(error))
        if self._charm.unit.is_leader():  # others may not read what it answered
            report.add_problems(found, Answer.load(relation, self._charm.app).problems)
        return found

    def _leading(self, application: str) -> dict[str, ops.Relation]:
        if not self._charm.unit.is_leader():
            raise ActionFailed(f"run it on the leader: {self._charm.app.name}/leader")
        relations = self._relations()
        if application and application not in relations:
            raise ActionFailed(f"application {application} is not related")
        return relations

    def _relations(self) -> dict[str, ops.Relation]:
        return {
            relation.app.name: relation
            for relation in self._charm.model.relations[self._endpoint]
            if relation.active and relation.app
        }

    def _answer(self, relation: ops.Relation, granted: Grants, force: bool) -> list[Problem]:
        """Serve one application; only an API server that is not there concerns the others."""
        application = relation.app.name
        before = Answer.load(relation, self._charm.app)
        answer = Answer(hash=_hash(relation))
        try:
            request = Request.load(relation, relation.app)
            if not request.hash or request.manifests is None:
                return []
            if request.serving:
                self._paced.add(application)
            answer.tenants = self._tenants if request.tenants is not None else []
            answer.checked = self._checked(request, granted.get(application, ()), answer.tenants)
            settled = before.checked == answer.checked and not before.problems
            if settled and before.hash == request.hash and not force:
                return []
            answer.problems = self._apply(relation, request, granted.get(application, ()), force)
        except ApiError as error:
            if error.code in (0, 401):
                raise
            answer.problems = [_problem("failed", str(error))]
        except NotYet as reason:
            answer.problems = [_problem("failed", str(reason))]
        except InvalidManifests as error:
            answer.problems = [_problem("refused", str(error))]
        except Exception:
            logger.exception("the request of %s cannot be read", application)
            answer.problems = [_problem("refused", "malformed")]
        if answer != before:
            answer.save(relation, self._charm.app)
        return answer.problems

    def _checked(self, request: Request, granted: Sequence[policy.Grant], tenants: list[str]):
        """Changes with all that an answer depends on besides the request."""
        known = [grant.model_dump(mode="json") for grant in granted]
        inputs = {"request": request.hash, "granted": known, "tenants": tenants}
        return digest([{**inputs, "network-policies": self._fences}])[:16]

    def _unpacked(self, request: Request) -> tuple[list[Manifest], list[Manifest]]:
        if request.version != VERSION:
            raise InvalidManifests(
                f"version {request.version} of the interface; refresh the broker or the charm, "
                f"the broker knows {VERSION}"
            )
        return unpack(request.manifests or "[]"), unpack(request.tenants or "[]")

    def _apply(
        self,
        relation: ops.Relation,
        request: Request,
        granted: Sequence[policy.Grant],
        force: bool,
    ) -> list[Problem]:
        application = relation.app.name
        manifests, tenants = self._unpacked(request)
        checker = self._policy(relation.app.name, granted)
        refused = [
            Problem(object=name_of(manifest), reason=refusal.reason, outcome="refused")
            for manifest, refusal in checker.check(manifests, tenants)
        ]
        if refused:  # all or nothing: half of an application's objects is of no use to it
            return refused
        resolved = [
            self._resolve(manifest, application)
            for manifest in manifests
            if self._fences or manifest["kind"] != "NetworkPolicy"
        ]
        for manifest in tenants:
            resolved += self._of_tenants(self._resolve(manifest, application))
        self._applied = True
        return apply.apply(self._cluster, self._book, application, resolved, force)

    def _policy(self, application: str, granted: Sequence[policy.Grant]) -> Policy:
        # here, as it takes a third of a hook's time to load and most hooks check no request
        from policy import Policy

        return Policy(application, self._charm.model.name, granted, self._charm.app.name)

    def _of_tenants(self, manifest: Manifest) -> list[Manifest]:
        """An object as it is applied in the namespace of each tenant that it is for."""
        only = manifest["metadata"].get("namespace") or TENANT
        found = []
        for tenant in self._tenants:
            if for_tenant(only, tenant) == tenant:
                made = for_tenant(manifest, tenant)
                found.append({**made, "metadata": {**made["metadata"], "namespace": tenant}})
        return found

    def _resolve(self, manifest: Manifest, application: str) -> Manifest:
        """A Secret with the content of the Juju secret that it names, if that is its own."""
        if SECRET_FIELD not in manifest:
            return manifest
        name = name_of(manifest)
        try:
            secret = self._charm.model.get_secret(id=manifest[SECRET_FIELD])
            given = secret.get_content(refresh=True)
        except (ops.SecretNotFoundError, ops.ModelError):
            raise NotYet(f"the Juju secret of {name} cannot be read yet") from None
        if given.get(APPLICATION_KEY) != application:
            raise InvalidManifests(f"the Juju secret of {name} is not {application}'s")
        content = json.loads(given.get(CONTENT_KEY, "{}"))
        if not isinstance(content, Mapping) or not all(
            isinstance(value, str) for value in content.values()
        ):
            raise InvalidManifests(f"the Juju secret of {name} holds no map of texts")
        rest = {
            key: value
            for key, value in manifest.items()
            if key not in (SECRET_FIELD, "data", "stringData")
        }
        # not as stringData: server-side apply does not remove keys that were given that way
        data = {key: b64encode(value.encode()).decode() for key, value in content.items()}
        return {**rest, "data": data}

    def _status(self, error: ApiError) -> Blocked | Waiting:
        if error.code in (401, 403):
            name = self._charm.app.name
            return Blocked(f"no rights over the cluster: juju trust {name} --scope=cluster")
        return Waiting(f"waiting for the Kubernetes API: {error}")


def _problem(outcome: str, reason: str) -> Problem:
    return Problem(object="manifests", reason=reason, outcome=outcome)


def _hash(relation: ops.Relation) -> str:
    """The hash of a request of which the rest may be malformed."""
    try:
        found = json.loads(relation.data[relation.app].get("hash", '""'))
    except (ValueError, RecursionError):
        return ""
    return found if isinstance(found, str) else ""
