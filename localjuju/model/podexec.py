"""Programs in any container, over Kubernetes' exec API as a WebSocket.

Every message has the channel's number in its first byte. Source: subprotocol v5.channel.k8s.io in
staging/src/k8s.io/apimachinery/pkg/util/remotecommand/constants.go of Kubernetes.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from typing import Any

import aiohttp
from lightkube import KubeConfig
from lightkube.config.kubeconfig import SingleConfig

from localjuju.model.substrate import ExecResult

_PROTOCOL = "v5.channel.k8s.io"
_STDIN, _STDOUT, _STDERR, _ERROR, _CLOSE = 0, 1, 2, 3, 255
_BLOCK = 1 << 15
_CONNECT_SECONDS = 30.0


async def run(
    config: KubeConfig, namespace: str, pod: str, container: str, argv: Sequence[str], stdin: bytes
) -> ExecResult:
    """Runs a program in a container to its end.

    Args:
        config: access to the API server by a client certificate.

    Raises:
        OSError: the container does not run, the program cannot be started, the connection broke.
    """
    access = _access(config)
    query = [("container", container), *(("command", word) for word in argv)]
    query += [(name, "true") for name in ("stdin", "stdout", "stderr")]
    url = f"{access.cluster.server}/api/v1/namespaces/{namespace}/pods/{pod}/exec"
    timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.ws_connect(
                url, params=query, protocols=[_PROTOCOL], ssl=_tls(access), max_msg_size=0
            ) as socket,
        ):
            return await _talk(socket, stdin)
    except aiohttp.ClientError as error:
        raise OSError(str(error)) from error


async def _talk(socket: aiohttp.ClientWebSocketResponse[Any], stdin: bytes) -> ExecResult:
    for start in range(0, len(stdin), _BLOCK):
        await socket.send_bytes(bytes([_STDIN]) + stdin[start : start + _BLOCK])
    await socket.send_bytes(bytes([_CLOSE, _STDIN]))
    printed = {_STDOUT: bytearray(), _STDERR: bytearray()}
    async for message in socket:
        if message.type != aiohttp.WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel in printed:
            printed[channel] += data
        elif channel == _ERROR:
            code = _code(json.loads(data))
            return ExecResult(code, bytes(printed[_STDOUT]), bytes(printed[_STDERR]))
    raise ConnectionError("the connection ended before the program did")


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
