"""Whom pods reach under NetworkPolicies; see `cluster_inside`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from lightkube.resources.networking_v1 import NetworkPolicy

from localjuju.node.tests.cluster_inside import Cluster, ask, until

_DNS = {"ports": [{"protocol": kind, "port": 53} for kind in ("UDP", "TCP")]}


def _is(wanted: bool) -> Callable[[str], bool]:
    return lambda said: (" " in said) == wanted


class _Walls:
    def __init__(self, cluster: Cluster):
        self._cluster = cluster

    async def put(self, name: str, namespace: str = "default", **spec: Any) -> None:
        await self._cluster.create(
            "NetworkPolicy", name, namespace, version="networking.k8s.io/v1", spec=spec
        )

    async def drop(self, name: str, namespace: str = "default") -> None:
        await self._cluster.api.delete(NetworkPolicy, name, namespace=namespace)


async def _timed(look: Callable[[], Awaitable[str]], wanted: bool) -> list[Any]:
    begin = time.monotonic()
    said = await until(look, _is(wanted))
    return [said.partition(" ")[0], time.monotonic() - begin]


def _app(name: str) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": {"app": name}}}


async def policies(cluster: Cluster) -> Any:
    """Policies by pod, by namespace, by default and for what goes out, one after the other."""
    walls = _Walls(cluster)
    await cluster.create("Namespace", "walled", labels={"team": "a"})
    web, friend, *_ = await asyncio.gather(
        cluster.server("web"), cluster.server("friend"), cluster.server("stranger"),
        cluster.server("inner", "walled"),
    )  # fmt: skip
    service = (await cluster.service("web")).clusterIP
    await cluster.service("inner", "walled")
    inner = "inner.walled"
    found: dict[str, Any] = {}

    async def asked(pod: str, host: str = service, port: int = 80, space: str = "default") -> str:
        return (await cluster.ask(pod, host, port, namespace=space)).partition(" ")[0]

    found["open"] = await _timed(lambda: cluster.ask("stranger", service), True)

    await walls.put("friends", **_app("web"), ingress=[{"from": [_app("friend")]}])
    found["stranger"] = await _timed(lambda: cluster.ask("stranger", service), False)
    found["stranger to the pod"] = await asked("stranger", web, 8080)
    found["friend"] = await asked("friend")
    found["friend to the pod"] = await asked("friend", web, 8080)
    found["other namespace"] = await asked("inner", space="walled")
    found["node"] = (await ask(service)).partition(" ")[0]
    found["is ready"] = (await cluster.pod("web")).status.containerStatuses[0].ready

    team = {"namespaceSelector": {"matchLabels": {"team": "a"}}}
    await walls.put("team", **_app("web"), ingress=[{"from": [team]}])
    found["team"] = await _timed(lambda: cluster.ask("inner", service, namespace="walled"), True)
    found["stranger beside the team"] = await asked("stranger")

    await walls.put("closed", "walled", podSelector={}, policyTypes=["Ingress"])
    found["closed"] = await _timed(lambda: cluster.ask("friend", inner), False)
    found["beside the closed"] = await asked("stranger", friend, 8080)

    await walls.put(
        "out", **_app("friend"), policyTypes=["Egress"], egress=[_DNS, {"to": [_app("web")]}]
    )
    await cluster.service("stranger")
    found["out, not allowed"] = await _timed(lambda: cluster.ask("friend", "stranger"), False)
    found["out, allowed, by name"] = await asked("friend", "web")

    await walls.drop("friends")
    await walls.drop("team")
    found["open again"] = await _timed(lambda: cluster.ask("stranger", service), True)
    return found


TESTS = {"policies": policies}
