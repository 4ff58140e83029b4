"""The node's view of the API server: what it reads, follows and writes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from lightkube import ApiError, AsyncClient, KubeConfig
from lightkube.types import PatchType

_RETRY_SECONDS = 0.5
_T = TypeVar("_T")
_log = logging.getLogger(__name__)
UNREACHABLE = (httpx2.HTTPError, OSError)
_FOR_A_WHILE = (429, 500, 503, 504)  # it starts, is overloaded, or waits for etcd


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


def may_pass(error: ApiError) -> bool:
    """Whether the API server may do later what it did not do now."""
    return error.status.code in _FOR_A_WHILE


async def until_done(call: Callable[[], Awaitable[_T]], what: str) -> _T | None:
    """Repeats a call while the API server cannot be reached; None where the object is gone."""
    while True:
        try:
            return await call()
        except ApiError as error:
            if error.status.code == 404:
                return None
            if error.status.code == 409:
                return None
            if not may_pass(error):
                _log.warning("%s: %s", what, error)
                return None
        except UNREACHABLE as error:
            _log.debug("%s: %s", what, error)
        await asyncio.sleep(_RETRY_SECONDS)


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
