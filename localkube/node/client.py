"""The node's view of the API server: what it reads, follows and writes."""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from lightkube import ApiError, AsyncClient, KubeConfig
from lightkube.models.authentication_v1 import BoundObjectReference, TokenRequestSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ServiceAccountToken
from lightkube.types import PatchType

_RETRY_SECONDS = 0.5
_T = TypeVar("_T")
_log = logging.getLogger(__name__)
UNREACHABLE = (httpx2.HTTPError, OSError)


def client(kubeconfig: Path) -> AsyncClient:
    """A client as the cluster's administrator; no proxy of the user's is asked."""
    config = KubeConfig.from_file(str(kubeconfig))
    return AsyncClient(config, field_manager="localkube", trust_env=False)


async def follow(
    api: AsyncClient, kind: Any, **selection: Any
) -> AsyncIterator[dict[tuple[str, str], Any]]:
    """Yields all objects of a kind, by namespace and name, each time one of them changed.

    Goes on by itself when the API server is away for a while. The same dictionary is yielded
    each time.
    """
    while True:
        try:
            listed = api.list(kind, **selection)
            known = {_key(item): item async for item in listed}
            yield known
            async for change, item in api.watch(
                kind, resource_version=listed.resourceVersion, **selection
            ):
                if change == "DELETED":
                    known.pop(_key(item), None)
                else:
                    known[_key(item)] = item
                yield known
        except ApiError as error:
            _log.info("list of %s: %s", kind.__name__, error)
        except (*UNREACHABLE, ValueError) as error:
            _log.debug("watch of %s: %s", kind.__name__, error)
        await asyncio.sleep(_RETRY_SECONDS)


def _key(item: Any) -> tuple[str, str]:
    return item.metadata.namespace or "", item.metadata.name


async def until_done(call: Callable[[], Awaitable[_T]], what: str) -> _T | None:
    """Repeats a call while the API server cannot be reached; None where the object is gone."""
    while True:
        try:
            return await call()
        except ApiError as error:
            if error.status.code == 404:
                return None
            if error.status.code not in (409, 429, 500, 503, 504):
                _log.warning("%s: %s", what, error)
                return None
            if error.status.code == 409:
                return None
        except UNREACHABLE as error:
            _log.debug("%s: %s", what, error)
        await asyncio.sleep(_RETRY_SECONDS)


async def delete_exactly(api: AsyncClient, kind: Any, item: Any) -> None:
    """Deletes this very object at once, never a later one of its name.

    Looked at first, because lightkube's delete takes no preconditions.
    """
    meta = item.metadata
    now = await api.get(kind, meta.name, namespace=meta.namespace)
    if now.metadata.uid == meta.uid:
        await api.delete(kind, meta.name, namespace=meta.namespace, grace_period=0)


async def patch_status(api: AsyncClient, kind: Any, item: Any, status: dict[str, Any]) -> None:
    """Writes a status until it is written or the object has gone."""
    where = {"namespace": item.metadata.namespace} if item.metadata.namespace else {}
    # The uid keeps a status from landing on a later object of the same name.
    body = {"metadata": {"uid": item.metadata.uid}, "status": status}
    await until_done(
        lambda: api.patch(
            kind.Status, item.metadata.name, body, patch_type=PatchType.STRATEGIC, **where
        ),
        f"status of {item.metadata.name}",
    )


class Tokens:
    """Bound tokens of service accounts, renewed when four fifths of their life have passed."""

    def __init__(self, api: AsyncClient):
        self._api = api
        self._kept: dict[tuple[str, str, int], tuple[float, str]] = {}

    async def token(self, pod: Any, audience: str, seconds: int) -> str:
        """A token for the pod's service account.

        Raises:
            OSError: the API server refuses or is away.
        """
        key = (pod.metadata.uid, audience, seconds)
        now = datetime.datetime.now(datetime.timezone.utc).timestamp()
        renew_at, token = self._kept.get(key, (0.0, ""))
        if now < renew_at:
            return token
        spec = TokenRequestSpec(
            audiences=[audience] if audience else [],
            expirationSeconds=seconds,
            boundObjectRef=BoundObjectReference(
                apiVersion="v1", kind="Pod", name=pod.metadata.name, uid=pod.metadata.uid
            ),
        )
        try:
            answer = await self._api.create(
                ServiceAccountToken(metadata=ObjectMeta(), spec=spec),
                pod.spec.serviceAccountName or "default",
                namespace=pod.metadata.namespace,
            )
        except (ApiError, *UNREACHABLE) as error:
            raise OSError(f"no token for {pod.metadata.name}: {error}") from None
        token = answer.status.token if answer.status else None
        if not token:
            raise OSError(f"no token for {pod.metadata.name}")
        self._kept[key] = (now + seconds * 0.8, token)
        return token

    def forget(self, pod: Any) -> None:
        """Drops what is kept for a pod."""
        for key in [key for key in self._kept if key[0] == pod.metadata.uid]:
            del self._kept[key]
