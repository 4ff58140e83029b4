"""Addresses, and the names of Services and pods."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest
from dnslib import DNSRecord
from lightkube import codecs

from localjuju.node.dns import NameServer, ServiceNames, addresses, names_of
from localkube.node.network import Addresses

KNOWN = {
    ("m", "web"): ServiceNames("10.152.183.7", (("web-0", "10.1.0.3"),)),
    ("m", "web-endpoints"): ServiceNames(None, (("web-0", "10.1.0.3"), ("web-1", "10.1.0.4"))),
    ("m", "alias"): ServiceNames(None, (), "web.m.svc.cluster.local"),
}


def find(namespace: str, service: str) -> ServiceNames | None:
    return KNOWN.get((namespace, service))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("web.m.svc.cluster.local.", ["10.152.183.7"]),
        ("web-endpoints.m.svc.cluster.local", ["10.1.0.3", "10.1.0.4"]),
        ("web-1.web-endpoints.m.svc.cluster.local", ["10.1.0.4"]),
        ("alias.m.svc.cluster.local", ["10.152.183.7"]),
        ("web-9.web-endpoints.m.svc.cluster.local", None),
        ("web.other.svc.cluster.local", None),
        ("example.com", None),
    ],
)
def test_names_of_services_and_pods(name: str, found: list[str] | None):
    assert addresses(name, find) == found


async def test_the_name_server_answers_over_udp_and_tcp():
    server = NameServer(find)
    await server.start("127.0.0.1", 15353)
    try:
        question = DNSRecord.question("web.m.svc.cluster.local")
        answer = await asyncio.to_thread(question.send, "127.0.0.1", 15353, timeout=5)
        assert str(DNSRecord.parse(answer).short()) == "10.152.183.7"
        answer = await asyncio.to_thread(question.send, "127.0.0.1", 15353, tcp=True, timeout=5)
        assert str(DNSRecord.parse(answer).short()) == "10.152.183.7"
        missing = DNSRecord.question("no.m.svc.cluster.local")
        answer = await asyncio.to_thread(missing.send, "127.0.0.1", 15353, timeout=5)
        assert DNSRecord.parse(answer).header.rcode == 3
    finally:
        await server.stop()


def test_an_address_is_given_once_until_it_is_given_back():
    pool = Addresses(ipaddress.ip_network("10.0.0.0/30"), taken=["10.0.0.1"])
    assert pool.take() == "10.0.0.2"
    with pytest.raises(OSError, match="no address is left"):
        pool.take()
    pool.give_back("10.0.0.2")
    assert pool.take() == "10.0.0.2"


def service(**spec: object):
    return codecs.from_dict(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}
    )


def endpoint_slice(*endpoints: dict[str, object]):
    return codecs.from_dict(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "web-1"},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": list(endpoints),
        }
    )


def test_only_ready_endpoints_have_names():
    made = service(clusterIP="10.152.183.7", ports=[{"name": "http", "port": 80}])
    pieces = [
        endpoint_slice(
            {"addresses": ["10.1.0.3"], "conditions": {"ready": True}, "hostname": "web-0"},
            {"addresses": ["10.1.0.4"], "conditions": {"ready": False}},
        )
    ]
    assert names_of(made, pieces) == ServiceNames("10.152.183.7", (("web-0", "10.1.0.3"),))
    assert names_of(service(clusterIP="None"), pieces).cluster_ip is None
