"""The engine's socket in pods: hook commands and the charm containers' agents call it.

A hook command's connection is one JSON request and one JSON answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from localjuju.agent.commands import Answer, execute
from localjuju.agent.context import CommandError, Context
from localjuju.agent.hub import Hub
from localkube.host.sockets import PrivateSocket

_log = logging.getLogger(__name__)
_LIMIT = 64 << 20  # a relation's data may be large; Juju's own limit on it is 16 MB per document


class AgentSocket(PrivateSocket):
    """Serves `agent.sock`.

    A context id, known only to its dispatch, lets a hook command in; an agent's token is looked at
    by the hub.
    """

    def __init__(self, path: Path, terminating: Callable[[str], Awaitable[None]], hub: Hub):
        # A charm may run as another user: 0666, see the context id.
        super().__init__(path, self._serve_one, mode=0o666, limit=_LIMIT)
        self._terminating, self._hub = terminating, hub
        self._contexts: dict[str, Context] = {}

    async def start(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        await super().start()

    @contextlib.contextmanager
    def open(self, context: Context) -> Iterator[None]:
        """Lets the hook commands of a dispatch in while it runs."""
        self._contexts[context.id] = context
        try:
            yield
        finally:
            del self._contexts[context.id]

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = json.loads(await reader.readline())
            if "agent" in request:
                await self._hub.serve_agent(request["agent"], reader, writer)
            elif "stream" in request:
                await self._hub.serve_stream(request["stream"], reader, writer)
            else:
                answer = await self._answer(request)
                writer.write(json.dumps(asdict(answer)).encode() + b"\n")
                await writer.drain()
        except (ValueError, KeyError, TypeError, ConnectionError):
            pass  # not one of ours, or gone: there is nobody to tell
        finally:
            writer.close()

    async def _answer(self, request: dict) -> Answer:
        argv = request["argv"]
        if argv[0] == "container-agent":
            await self._terminating(argv[1])
            return Answer()
        context = self._contexts.get(request["context"])
        if context is None:
            return Answer(stderr="ERROR context id does not belong to a running hook\n", code=1)
        try:
            answer = execute(context, argv, request.get("stdin"))
            await context.deliver()
            return answer
        except CommandError as error:
            return Answer(stderr=f"ERROR {error}\n", code=error.code)
        except Exception:
            _log.exception("%s failed in %s", argv[0], context.unit)
            return Answer(stderr=f"ERROR {argv[0]}: failed in the engine; see its log\n", code=1)
