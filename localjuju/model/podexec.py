"""Programs in any container, over Kubernetes' exec API as a WebSocket.

Every message has the channel's number in its first byte. Source: subprotocol v5.channel.k8s.io in
staging/src/k8s.io/apimachinery/pkg/util/remotecommand/constants.go of Kubernetes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Sequence
from typing import Any

import aiohttp
from lightkube import KubeConfig
from lightkube.config.kubeconfig import SingleConfig

from localjuju.model.changes import end
from localjuju.model.substrate import Incoming, Tell
from localjuju.streams import END, SIZE, STDERR, STDIN, STDOUT

_PROTOCOL = "v5.channel.k8s.io"
_CLOSE = 255
_CONNECT_SECONDS = 30.0


async def run(
    config: KubeConfig, namespace: str, pod: str, container: str, argv: Sequence[str],
    incoming: Incoming, tell: Tell, *, terminal: bool = False,
) -> int:  # fmt: skip
    """Runs a program in a container to its end; returns its exit code.

    Args:
        config: access to the API server by a client certificate.
        incoming: the program's input, and the sizes of its terminal.
        tell: is given what it prints as it comes: at a terminal all of it is STDOUT.

    Raises:
        OSError: the container does not run, the program cannot be started, the connection broke.
    """
    access = _access(config)
    query = [("container", container), *(("command", word) for word in argv)]
    query += [(name, "true") for name in ("stdin", "stdout", "tty" if terminal else "stderr")]
    url = f"{access.cluster.server}/api/v1/namespaces/{namespace}/pods/{pod}/exec"
    timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.ws_connect(
                url, params=query, protocols=[_PROTOCOL], ssl=_tls(access), max_msg_size=0
            ) as socket,
        ):
            return await _talk(socket, incoming, tell)
    except aiohttp.ClientError as error:
        raise OSError(str(error)) from error


async def _talk(
    socket: aiohttp.ClientWebSocketResponse[Any], incoming: Incoming, tell: Tell
) -> int:
    sender = asyncio.create_task(_send(socket, incoming))
    try:
        async for message in socket:
            if message.type != aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel in (STDOUT, STDERR) and data:
                await tell(channel, data)
            elif channel == END:
                return _code(json.loads(data))
    finally:
        await end([sender])
    raise ConnectionError("the connection ended before the program did")


async def _send(socket: aiohttp.ClientWebSocketResponse[Any], incoming: Incoming) -> None:
    """Passes all on; where whoever sends is gone, so is the program's connection."""
    try:
        async for channel, data in incoming:
            if channel == SIZE:
                size = json.loads(data)
                data = json.dumps({"Width": size["width"], "Height": size["height"]}).encode()
            if channel == STDIN and not data:
                await socket.send_bytes(bytes([_CLOSE, STDIN]))
            else:
                await socket.send_bytes(bytes([channel]) + data)
    except aiohttp.ClientError:
        return  # the program has ended: what it left unread is nobody's
    except (OSError, ValueError):
        with contextlib.suppress(aiohttp.ClientError):
            await socket.close()


def _code(status: dict) -> int:
    """The exit code of a Kubernetes Status. Raises OSError: the program did not run."""
    if status.get("status") == "Success":
        return 0
    for cause in (status.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise OSError(status.get("message") or "the program did not run")


def _access(config: KubeConfig) -> SingleConfig:
    found = config.get()
    assert found is not None
    return found


def _tls(access: SingleConfig) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=access.cluster.certificate_auth)
    assert access.user is not None
    assert access.user.client_cert is not None
    context.load_cert_chain(access.user.client_cert, access.user.client_key)
    return context
