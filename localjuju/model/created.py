"""Removes what applications made in Kubernetes, when Juju does: with them and with their model.

Sources, in internal/provider/kubernetes of juju/juju: application/application.go, `Delete`, and
its TestDeleteAllCreatedResources; teardown.go and customresourcedefinitions.go for a model.
"""

from __future__ import annotations

import re
from typing import Any

from lightkube import ApiError, AsyncClient, operators
from lightkube.generic_resource import create_global_resource, create_namespaced_resource
from lightkube.resources import admissionregistration_v1 as admissions
from lightkube.resources import apps_v1, core_v1, networking_v1, storage_v1
from lightkube.resources import rbac_authorization_v1 as rbac
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.types import CascadeType, PatchType

from localjuju.model import admission

_LIFECYCLE = "juju-resource-lifecycle"
_IN_THE_MODEL = (
    apps_v1.StatefulSet, apps_v1.Deployment, core_v1.Service, core_v1.ConfigMap, rbac.Role,
    rbac.RoleBinding, core_v1.ServiceAccount, networking_v1.Ingress, apps_v1.DaemonSet,
)  # fmt: skip
_ROLES = (rbac.ClusterRoleBinding, rbac.ClusterRole)
_WEBHOOKS = (admissions.MutatingWebhookConfiguration, admissions.ValidatingWebhookConfiguration)

_FREE: dict[str, Any] = {"metadata": {"finalizers": []}}

Labels = dict[str, Any]


async def remove_with_application(
    client: AsyncClient, model: str, uuid: str, application: str
) -> None:
    """Neither pods, volume claims, jobs nor Secrets, but for those of images' registries."""
    labels: Labels = {**admission.created_labels(model, uuid, application)}
    for kind in _IN_THE_MODEL:
        await _remove_all(client, kind, labels, model)
    of_registry = re.compile(rf"{re.escape(application)}-.+-secret")
    await _remove_all(client, core_v1.Secret, labels, model, of_registry)
    for kind in _ROLES:
        await _remove_all(client, kind, labels)
    definitions = [item async for item in client.list(CustomResourceDefinition, labels=labels)]
    for kind, namespaced in _served(definitions):
        await _remove_all(client, kind, labels, model if namespaced else None)
    for kind in (CustomResourceDefinition, *_WEBHOOKS):
        await _remove_all(client, kind, labels)


async def remove_with_model(client: AsyncClient, model: str, uuid: str) -> None:
    """What is in no namespace, and of each definition its objects in all of them.

    A definition stays that says so by its label `juju-resource-lifecycle`.
    """
    labels: Labels = {**admission.model_labels(model, uuid)}
    for kind in (*_ROLES, *_WEBHOOKS, storage_v1.StorageClass):
        await _remove_all(client, kind, labels)
    going: Labels = {**labels, _LIFECYCLE: operators.not_in(["persistent"])}
    definitions = [item async for item in client.list(CustomResourceDefinition, labels=going)]
    for kind, namespaced in _served(definitions):
        everywhere: dict[str, Any] = {"namespace": "*"} if namespaced else {}
        async for item in client.list(kind, **everywhere):
            meta = item.metadata
            where = {"namespace": meta.namespace} if namespaced else {}
            if meta.finalizers:
                call = client.patch(kind, meta.name, _FREE, **where, patch_type=PatchType.MERGE)
                await _though_gone(call)
            await _though_gone(client.delete(kind, meta.name, **where))
    await _remove_all(client, CustomResourceDefinition, going)


def _served(definitions: list[CustomResourceDefinition]) -> list[tuple[Any, bool]]:
    """Their kinds, each in a version that is served, and whether these are in namespaces."""
    found: list[tuple[Any, bool]] = []
    for definition in definitions:
        spec = definition.spec
        version = next((each.name for each in spec.versions if each.served), None)
        if version is not None:
            namespaced = spec.scope == "Namespaced"
            make = create_namespaced_resource if namespaced else create_global_resource
            names = spec.names
            found.append((make(spec.group, version, names.kind, names.plural), namespaced))
    return found


async def _remove_all(
    client: AsyncClient,
    kind: Any,
    labels: Labels,
    namespace: str | None = None,
    named: re.Pattern[str] | None = None,
) -> None:
    where: dict[str, Any] = {"namespace": namespace} if namespace else {}
    found = [item async for item in client.list(kind, labels=labels, **where)]
    for item in found:
        if named is None or named.fullmatch(item.metadata.name):
            call = client.delete(kind, item.metadata.name, **where, cascade=CascadeType.BACKGROUND)
            await _though_gone(call)


async def _though_gone(call: Any) -> None:
    """Awaits a call; fine where the object is not there any more."""
    try:
        await call
    except ApiError as error:
        if error.status.code != 404:
            raise
