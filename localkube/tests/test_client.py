"""What the node asks the API server for while that is away for a moment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from lightkube import AsyncClient, KubeConfig
from lightkube.config.models import Cluster, User

from localkube.node import limits


class Server:
    """Answers each request first as one does that has no etcd, then not at all, then as asked."""

    def __init__(self) -> None:
        self.asked: dict[str, int] = {}

    async def answer(self, request: web.Request) -> web.Response:
        """An object as it was sent; a volume is refused in the policy's name."""
        place = f"{request.method} {request.path}"
        self.asked[place] = self.asked.get(place, 0) + 1
        body = await request.json()
        if self.asked[place] == 1:
            return _failure(500, "etcdserver: request timed out")
        if self.asked[place] == 2:
            assert request.transport is not None
            request.transport.close()
        if "persistentvolumes" in place:
            return _failure(422, f"ValidatingAdmissionPolicy {limits.NAME} denied request")
        return _response(200, body)


def _failure(code: int, message: str) -> web.Response:
    return _response(
        code, {"kind": "Status", "apiVersion": "v1", "code": code, "message": message}
    )


def _response(code: int, body: dict[str, Any]) -> web.Response:
    # without the charset that aiohttp adds to text: Kubernetes sends none
    return web.Response(
        status=code, body=json.dumps(body).encode(), content_type="application/json"
    )


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, AsyncClient]]:
    """The server and a client of it."""
    answering = Server()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answering.answer)
    async with TestServer(application) as running:
        url = str(running.make_url("")).rstrip("/")
        config = KubeConfig.from_one(cluster=Cluster(server=url), user=User())
        client = AsyncClient(config, field_manager="localkube", trust_env=False)
        yield answering, client
        await client.close()


async def test_the_policy_is_made_by_a_server_that_was_away(
    server: tuple[Server, AsyncClient], tmp_path: Path
):
    answering, client = server
    await asyncio.wait_for(limits.apply(client, [], tmp_path), 30)
    assert set(answering.asked.values()) == {3}
