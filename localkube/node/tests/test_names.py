"""How the name server is reached, and what it is told."""

from __future__ import annotations

from pathlib import Path

from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice

from localkube.node import configurations, names


def test_the_service_is_the_usual_one_and_leads_to_the_node():
    service, leads = names.objects()
    assert isinstance(service, Service)
    assert isinstance(leads, EndpointSlice)
    assert service.metadata is not None
    assert (service.metadata.namespace, service.metadata.name) == ("kube-system", "kube-dns")
    assert service.spec is not None
    assert service.spec.clusterIP == "10.152.183.10"
    assert service.spec.selector is None
    assert leads.metadata is not None
    assert leads.metadata.labels == {"kubernetes.io/service-name": "kube-dns"}
    assert [endpoint.addresses for endpoint in leads.endpoints or []] == [["10.1.0.1"]]
    of_both = [
        {(port.name, port.port, port.protocol) for port in ports or []}
        for ports in (service.spec.ports, leads.ports)
    ]
    assert of_both == [{("dns", 53, "UDP"), ("dns-tcp", 53, "TCP")}] * 2


def test_pods_are_told_of_the_service_and_the_domain():
    told = configurations.kubelet(Path("/state"), Path("/ca"), Path("/crt"), Path("/key"))
    assert told["clusterDNS"] == [names.ADDRESS]
    assert told["clusterDomain"] == names.DOMAIN


def test_what_is_not_the_clusters_does_not_exist():
    inside, outside = names.corefile(Path("/some state/kubeconfig")).split("\n. {")
    assert 'kubeconfig "/some state/kubeconfig"' in inside
    assert "rcode NXDOMAIN" in outside
    assert "forward" not in inside + outside


def test_with_a_way_out_others_are_asked_for_there():
    _, outside = names.corefile(Path("/kubeconfig"), "10.0.2.3").split("\n. {")
    assert "forward . 10.0.2.3" in outside
    assert "NXDOMAIN" not in outside
