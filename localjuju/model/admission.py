"""Labels what applications make in Kubernetes, as a webhook of Juju's does in every model.

Each object that a ServiceAccount of an application creates or updates in the model's namespace,
or in no namespace, is labelled as made by that application. By this Juju finds what goes with an
application or a model, see `localjuju.model.created`.

Sources, in juju/juju: internal/worker/caasadmission/admission.go, `NewAdmissionCreator`, for what
is asked about; handler.go, `admissionHandler` and `patchForLabels`, for the answer; ignores.go for
the reviews; internal/worker/caasrbacmapper/mapper.go for whose an account is;
internal/provider/kubernetes/utils/labels.go, `LabelsForAppCreated`, for the labels of 3.6.11 and
newer.

It is a webhook, not a MutatingAdmissionPolicy: that one refuses what is written in the first
seconds of a new kind, with 503 whatever its failure policy. Source: k8s.io/apiserver 0.35,
pkg/admission/plugin/policy/mutating/dispatcher.go, `dispatchOne`.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from localkube.controlplane.pki import Authority

CREATED_BY, UNHOOKED = "app.juju.is/created-by", "model.juju.is/disable-webhook"
MODEL, MODEL_ID, MANAGED = (
    "model.juju.is/name", "model.juju.is/id", "app.kubernetes.io/managed-by",
)  # fmt: skip
_HOST = "127.0.0.1"
_LARGEST = 16 << 20  # bytes: a review may have an object of before and after

ApplicationOf = Callable[[str, str, str], str]
"""The application of a ServiceAccount by its namespace, name and uid; "" where it is none's."""


def model_labels(model: str, uuid: str) -> dict[str, str]:
    return {MODEL: model, MODEL_ID: uuid}


def created_labels(model: str, uuid: str, application: str) -> dict[str, str]:
    """What is on each object that the application made."""
    return {CREATED_BY: application, MANAGED: "juju", **model_labels(model, uuid)}


class Admission:
    """Answers the API server between `start` and `stop`."""

    def __init__(self, authority: Authority, application_of: ApplicationOf):
        """Prepares; serves nothing.

        Args:
            authority: signs the server's certificate.
            application_of: whose a ServiceAccount is.
        """
        self._authority, self._application_of = authority, application_of
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def start(self) -> None:
        pair = self._authority.issue("admission", "admission.juju.is", hosts=(_HOST,))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.certificate, pair.key)
        served = web.Application(client_max_size=_LARGEST)
        served.router.add_post("/{model}/{uuid}", self._review)
        self._runner = web.AppRunner(served, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, _HOST, 0, ssl_context=context).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner:
            assert self._runner.server is not None
            for connection in self._runner.server.connections:
                if connection.transport:
                    connection.transport.abort()  # else TLS waits for the API server
            await self._runner.cleanup()

    def configuration(self, model: str, uuid: str) -> dict[str, Any]:
        """Has the API server ask about what the model's applications write.

        Juju is asked about all that anybody writes there, and has nothing to say to most of it.
        Here the API server passes that over by itself: accounts of other namespaces, reviews of
        rights, and what is labelled already, such as the leases of controllers.
        """
        prefix = f"system:serviceaccount:{model}:"
        labelled = [f"'{key}' in object.metadata.labels" for key in (MODEL, MODEL_ID, MANAGED)]
        by = f"object.metadata.labels[?'{CREATED_BY}'].orValue('')"
        labelled.append(f"{by} == request.userInfo.username.substring({len(prefix)})")
        conditions = {
            "of-the-model": f"request.userInfo.username.startsWith('{prefix}')",
            "no-review": "request.resource.group != 'authorization.k8s.io'",
            "not-labelled": f"!(has(object.metadata.labels) && {' && '.join(labelled)})",
        }
        authority = self._authority.pair.certificate.read_bytes()
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": configuration_name(model), "labels": model_labels(model, uuid)},
            "webhooks": [{
                "name": "admission.juju.is",
                "clientConfig": {
                    "url": f"https://{_HOST}:{self._port}/{model}/{uuid}",
                    "caBundle": base64.b64encode(authority).decode(),
                },
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Ignore",
                "matchPolicy": "Equivalent",
                "namespaceSelector": {"matchLabels": model_labels(model, uuid)},
                "objectSelector": {
                    "matchExpressions": [{"key": UNHOOKED, "operator": "DoesNotExist"}],
                },
                "rules": [{
                    "operations": ["CREATE", "UPDATE"], "apiGroups": ["*"],
                    "apiVersions": ["*"], "resources": ["*"], "scope": "*",
                }],
                "matchConditions": [
                    {"name": condition, "expression": expression}
                    for condition, expression in conditions.items()
                ],
            }],
        }  # fmt: skip

    async def _review(self, request: web.Request) -> web.Response:
        asked = (await request.json())["request"]
        model, uuid = request.match_info["model"], request.match_info["uuid"]
        user = asked["userInfo"]
        account = user["username"].removeprefix(f"system:serviceaccount:{model}:")
        application = self._application_of(model, account, user.get("uid", ""))
        response: dict[str, Any] = {"uid": asked["uid"], "allowed": True}
        if application:
            found = asked["object"]["metadata"].get("labels") or {}
            patch = _patch(found, created_labels(model, uuid, application))
            response["patch"] = base64.b64encode(json.dumps(patch).encode()).decode()
            response["patchType"] = "JSONPatch"
        return web.json_response(
            {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
        )


def configuration_name(model: str) -> str:
    """Of the model's configuration."""
    return f"juju-model-admission-{model}"


def _patch(found: Mapping[str, str], wanted: Mapping[str, str]) -> list[dict[str, Any]]:
    """Whose it is is always told; a label of another kind that is there stays."""
    patch: list[dict[str, Any]] = []
    if not found:
        patch.append({"op": "add", "path": "/metadata/labels", "value": {}})
    for key, value in wanted.items():
        if key == CREATED_BY or key not in found:
            path = key.replace("~", "~0").replace("/", "~1")
            patch.append({"op": "add", "path": f"/metadata/labels/{path}", "value": value})
    return patch
