"""The Kubernetes API with the unit's own ServiceAccount, for actions; no client library needed."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charmed_mlops.errors import ActionFailed

if TYPE_CHECKING:
    from charmed_mlops.options import Named

Object = dict[str, Any]
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT_SECONDS = 10
_MOST_BYTES = 100 * 1024


def token(account: Path | None = None) -> str:
    """The unit's ServiceAccount token; the kubelet renews its file.

    Raises:
        ActionFailed: the pod has none.
    """
    try:
        return ((account or _ACCOUNT) / "token").read_text().strip()
    except OSError:
        raise ActionFailed("the unit's pod has no ServiceAccount token") from None


def audience(account: Path | None = None) -> str:
    """Whom the unit's ServiceAccount token is for: the API server; empty where it does not say."""
    try:
        payload = token(account).split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ActionFailed, IndexError, ValueError):
        return ""
    found = claims.get("aud", "")
    return found if isinstance(found, str) else next(iter(found), "")


def get(path: str) -> Object:
    """An object or a list by its path, such as `/api/v1/namespaces/x/pods`.

    Raises:
        ActionFailed: the API server says no or nothing.
    """
    return json.loads(_call("GET", path))


def items(path: str) -> list[Object]:
    """The objects of a list."""
    return get(path)["items"]


def text(path: str) -> str:
    """What a path answers in plain text, such as a pod's log."""
    return _call("GET", path).decode(errors="replace")


def log(pod: str, lines: int) -> str:
    """The last lines of a pod's log, as far as they fit into an action's results.

    Each result is an argument of `action-set`. Linux takes no argument of more than 128 KiB, and
    none with a NUL: execve(2).

    Args:
        pod: its path.
        lines: how many.
    """
    found = text(f"{pod}/log?tailLines={lines}").replace("\0", "\N{REPLACEMENT CHARACTER}")
    content = found.encode()
    if len(content) <= _MOST_BYTES:
        return found
    end = content[-_MOST_BYTES:].decode(errors="ignore")
    return end.partition("\n")[2] or end


def failed_log(job: Named, label: str, lines: int) -> dict[str, str]:
    """The last lines of the first pod of a job that failed, and the pod's name.

    Args:
        job: whose pods.
        label: the label, as a URL has it, by which pods name their job.
        lines: how many.

    Raises:
        ActionFailed: none has failed.
    """
    pods = f"/api/v1/namespaces/{job.namespace}/pods"
    for pod in items(f"{pods}?labelSelector={label}%3D{job.name}"):
        if (pod.get("status") or {}).get("phase") == "Failed":
            name = pod["metadata"]["name"]
            return {"pod": name, "log": log(f"{pods}/{name}", lines)}
    raise ActionFailed(f"no pod of {job} has failed")


def post(path: str, body: Object, *, present: bool = False) -> None:
    """Make an object in the collection `path`; with `present`, one that is there is fine.

    Raises:
        ActionFailed: the API server says no, or the object is there.
    """
    try:
        _call("POST", path, body)
    except Conflict:
        if not present:
            raise


def appears(plural: str, name: str, seconds: int) -> bool:
    """Whether an object of the core group without namespace is there, or is within the time."""
    query = f"watch=1&timeoutSeconds={seconds}&fieldSelector=metadata.name%3D{name}"
    with _open("GET", f"/api/v1/{plural}?{query}", timeout=seconds + _TIMEOUT_SECONDS) as answer:
        return bool(answer.readline())  # the first event, if there is one before the end


def patch(path: str, body: Object) -> Object:
    """Merge `body` into an object."""
    return json.loads(_call("PATCH", path, body, "application/merge-patch+json"))


def delete(path: str) -> None:
    """Delete an object, its dependents in the background; what is gone is fine."""
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
    try:
        _call("DELETE", path, options)
    except NotFound:
        return


class NotFound(ActionFailed):
    """There is no such object."""


class NoCluster(ActionFailed):
    """The charm runs in no pod, as in a unit test: it has no API server."""


class Conflict(ActionFailed):
    """There is one already."""


def _call(
    method: str, path: str, body: Object | None = None, kind: str = "application/json"
) -> bytes:
    with _open(method, path, body, kind) as answer:
        return answer.read()


@contextlib.contextmanager
def _open(
    method: str,
    path: str,
    body: Object | None = None,
    kind: str = "application/json",
    timeout: float = _TIMEOUT_SECONDS,
) -> Iterator[http.client.HTTPResponse]:
    try:
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    except KeyError:
        raise NoCluster("the unit runs in no pod: it has no Kubernetes API") from None
    request = urllib.request.Request(
        f"https://{host}:{port}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {token()}",
            "Content-Type": kind,
        },
    )
    context = ssl.create_default_context(cafile=str(_ACCOUNT / "ca.crt"))
    try:
        with urllib.request.urlopen(request, timeout=timeout, context=context) as answer:
            yield answer
    except urllib.error.HTTPError as error:
        with error:
            reason = _reason(error.read())
        if error.code == 404:
            raise NotFound(f"there is no {path.rpartition('/')[2]}") from None
        if error.code == 409:
            raise Conflict(reason or f"{path} is in the way") from None
        raise ActionFailed(
            f"the Kubernetes API answers {error.code} to {method} {path}"
            + (f": {reason}" if reason else "")
        ) from None
    except OSError as error:
        raise ActionFailed(f"the Kubernetes API does not answer: {error}") from None


def _reason(body: bytes) -> str:
    """The message of the API server's Status, on one line."""
    try:
        return " ".join(str(json.loads(body)["message"]).split())
    except (ValueError, KeyError, TypeError):
        return ""
