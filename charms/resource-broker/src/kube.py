"""The few requests to the Kubernetes API that the broker makes, for objects of any kind."""

from __future__ import annotations

import json
import logging
import weakref
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx  # lightkube's own client

from charmed_mlops.conditions import condition

for _name in ("httpx2", "httpcore2"):  # else every request is a line of `juju debug-log`
    logging.getLogger(_name).setLevel(logging.WARNING)

Object = dict[str, Any]
_TIMEOUT_SECONDS = 30.0


class ApiError(Exception):
    """The API server said no; str() is its message.

    Attributes:
        code: HTTP status; 0 when there was no answer.
    """

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, order=True)
class Ref:
    """What names one object; namespace is "" for cluster-scoped ones."""

    api: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}" + (f" in {self.namespace}" if self.namespace else "")


class Cluster:
    """A client of the API server with the unit's own ServiceAccount."""

    def __init__(self, http: httpx.Client):
        self._http = http
        weakref.finalize(self, http.close)
        self._kinds: dict[str, dict[str, tuple[str, bool]]] = {}

    @classmethod
    def connect(cls) -> Cluster:
        """In a pod by its mounted token; elsewhere by $KUBECONFIG, as lightkube does."""
        from lightkube.config.client_adapter import Client, ConnectionParams
        from lightkube.config.kubeconfig import KubeConfig
        from lightkube.core.exceptions import ConfigError

        try:
            config = KubeConfig.from_env().get()
        except (ConfigError, OSError) as error:
            raise ApiError(0, f"the pod has no ServiceAccount token: {error}") from error
        assert config is not None
        parameters = ConnectionParams(timeout=httpx.Timeout(_TIMEOUT_SECONDS))
        return cls(Client(config, parameters))

    def ready(self) -> bool:
        """Whether the API server is up; one that has just started refuses what it allows later."""
        try:
            return self._http.get("/readyz").is_success
        except httpx.HTTPError:
            return False

    def get(self, ref: Ref) -> Object | None:
        """The object, or None when it or its kind is not there."""
        try:
            return self._call("GET", self._path(ref))
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def apply(self, ref: Ref, body: Object, manager: str) -> Object:
        """Server-side apply; fields of other managers that differ are taken over."""
        return self._call(
            "PATCH",
            self._path(ref),
            params={"fieldManager": manager, "force": "true"},
            content=json.dumps(body).encode(),
            headers={"Content-Type": "application/apply-patch+yaml"},
        )

    def delete(self, ref: Ref) -> None:
        """Delete in the background; what is not there is fine."""
        try:
            self._call("DELETE", self._path(ref), params={"propagationPolicy": "Background"})
        except ApiError as error:
            if error.code != 404:
                raise

    def list(self, api: str, kind: str, selector: str = "", namespace: str = "") -> list[Object]:
        """All objects of a kind, in one namespace or all; none when there is no such kind."""
        try:
            plural, _ = self._kind(api, kind)
            middle = f"/namespaces/{namespace}" if namespace else ""
            answer = self._call(
                "GET", f"{_root(api)}{middle}/{plural}", params={"labelSelector": selector}
            )
        except ApiError as error:
            if error.code == 404:
                return []
            raise
        return [{"apiVersion": api, "kind": kind, **item} for item in answer["items"]]

    def merge(self, ref: Ref, patch: Object) -> None:
        """JSON merge patch; what is not there is fine."""
        try:
            self._call(
                "PATCH",
                self._path(ref),
                content=json.dumps(patch).encode(),
                headers={"Content-Type": "application/merge-patch+json"},
            )
        except ApiError as error:
            if error.code != 404:
                raise

    def drop_finalizers(self, ref: Ref) -> None:
        """Take all finalizers off an object whose controller is gone."""
        self.merge(ref, {"metadata": {"finalizers": None}})

    def wait_established(self, definition: Ref, seconds: int) -> None:
        """Return when the definition's kind is served, or the API server's watch times out.

        One request that the API server answers when it happens, usually within milliseconds.
        """
        parameters = {
            "fieldSelector": f"metadata.name={definition.name}",
            "watch": "true",
            "resourceVersion": "0",  # from the server's cache: a consistent one takes seconds
            "timeoutSeconds": str(seconds),
        }
        path = self._path(definition).rpartition("/")[0]
        try:
            with self._http.stream("GET", path, params=parameters) as events:
                for line in events.iter_lines():
                    if _established(json.loads(line)):
                        return
        except httpx.HTTPError as error:
            raise ApiError(0, f"the API server does not answer: {type(error).__name__}") from error

    def forget_kinds(self) -> None:
        """Ask the API server again which kinds it has: definitions came or went."""
        self._kinds.clear()

    def namespaced(self, api: str, kind: str) -> bool:
        """Whether objects of the kind live in namespaces; ApiError 404 when there is none."""
        return self._kind(api, kind)[1]

    def _kind(self, api: str, kind: str) -> tuple[str, bool]:
        if api not in self._kinds:
            resources = self._call("GET", _root(api))["resources"]
            self._kinds[api] = {
                entry["kind"]: (entry["name"], entry["namespaced"])
                for entry in resources
                if "/" not in entry["name"]
            }
        try:
            return self._kinds[api][kind]
        except KeyError:
            del self._kinds[api]
            raise ApiError(404, f"the cluster has no kind {kind} in {api}") from None

    def _path(self, ref: Ref) -> str:
        plural, namespaced = self._kind(ref.api, ref.kind)
        middle = f"/namespaces/{ref.namespace}" if namespaced else ""
        return f"{_root(ref.api)}{middle}/{plural}/{ref.name}"

    def _call(self, method: str, path: str, **request: Any) -> Any:
        try:
            response = self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise ApiError(0, f"the API server does not answer: {type(error).__name__}") from error
        if response.is_success:
            return response.json()
        try:
            message = response.json()["message"]
        except (ValueError, KeyError, TypeError):
            message = response.reason_phrase
        raise ApiError(response.status_code, " ".join(str(message).split())[:400])


def _established(event: Object) -> bool:
    """Whether a watch says that a kind is served, or that it cannot tell."""
    if event.get("type") == "ERROR":
        return True
    return condition(event["object"], "Established").status == "True"


def _root(api: str) -> str:
    return f"/apis/{api}" if "/" in api else f"/api/{api}"
