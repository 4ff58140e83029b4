"""What pods and the node are answered by Services; see `cluster_inside`."""

from __future__ import annotations

import asyncio
from typing import Any

from localjuju.node.tests.cluster_inside import Cluster, ask, until
from localkube.node.network import NODE_IP


def _answered(said: str) -> bool:
    return " " in said


async def services(cluster: Cluster) -> Any:
    """Every kind of Service, asked from a pod and from the node."""
    server, client = await asyncio.gather(cluster.server("web"), cluster.server("client"))
    made = await cluster.service("web", type="NodePort")
    await cluster.service("headless", app="web", clusterIP="None")
    await cluster.service("balanced", app="web", type="LoadBalancer")
    nobody = await cluster.service("nobody")
    port = made.ports[0].nodePort
    first = await until(lambda: cluster.ask("client", made.clusterIP), _answered)
    return {
        "addresses": {"server": server, "client": client, "node": NODE_IP},
        "tcp": first,
        "another port": await cluster.ask("client", made.clusterIP, 81),
        "udp": await cluster.ask("client", made.clusterIP, kind="udp"),
        "by name": await cluster.ask("client", "web"),
        "headless": await cluster.ask("client", "headless", 8080),
        "itself": await cluster.ask("web", made.clusterIP),
        "node port": await cluster.ask("client", NODE_IP, port),
        "pod": await cluster.ask("client", server, 8080),
        "nobody": await cluster.ask("client", nobody.clusterIP),
        "from the node": await ask(made.clusterIP),
        "from the node, by name": await ask("web.default.svc.cluster.local"),
        "from the node, udp": await ask(made.clusterIP, kind="udp"),
        "from the node, node port": await ask(NODE_IP, port),
        "balancer": await until(lambda: cluster.ask("client", "10.152.184.1"), _answered),
        "out": await cluster.ask("client", "192.0.2.1"),
    }


TESTS = {"services": services}
