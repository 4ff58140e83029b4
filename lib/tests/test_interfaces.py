"""Wire formats of the library's own interfaces; nothing malformed raises."""

from __future__ import annotations

import json

import ops
import pytest
from ops import testing

from charmed_mlops import (
    Address,
    DashboardLinks,
    GatewayRoute,
    Link,
    Route,
    ServiceCharm,
    ServiceProvider,
    ServiceRequirer,
)
from charmed_mlops.interfaces.dashboard_links import DashboardLinksProvider
from charmed_mlops.interfaces.gateway_route import Entrance, GatewayRouteProvider

ROUTE = Route("tea", "/tea/{namespace}/", "tea.{namespace}.svc", 80, access="namespace",
              resource="teas", group="tea.example.com")  # fmt: skip
LINK = Link("Tea", "/tea/")
ENTRANCE = Entrance("https://gateway.shop.svc:8443", "PEM", "us")
META = {
    "name": "tea",
    "requires": {
        "water": {"interface": "service_address"},
        "gateway": {"interface": "gateway_route"},
        "dashboard-links": {"interface": "kubeflow_dashboard_links"},
    },
    "provides": {
        "address": {"interface": "service_address"},
        "routes": {"interface": "gateway_route"},
        "links": {"interface": "kubeflow_dashboard_links"},
    },
}


class Tea(ServiceCharm):
    """Has both sides of each interface."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container=None)
        self.water = ServiceRequirer(self, "water")
        self.provider = ServiceProvider(self, "address")
        self.route = GatewayRoute(self)
        self.routes = GatewayRouteProvider(self)
        self.links = DashboardLinks(self)
        self.menu = DashboardLinksProvider(self)

    def reconcile(self) -> None:
        self.provider.publish(Address("tea.shop", 80, "grpc"))
        self.route.publish(ROUTE)
        self.routes.publish("https://example.com", ENTRANCE)
        self.links.publish(LINK)


def manager(*relations: testing.Relation, leader: bool = True):
    context = testing.Context(Tea, meta=META)
    state = testing.State(leader=leader, relations=relations)
    return context(context.on.config_changed(), state)


def related(endpoint: str, app: str = "other", **data: str) -> testing.Relation:
    return testing.Relation(endpoint, remote_app_name=app, remote_app_data=data)


def test_the_wire_format_of_an_address():
    relation = related("address")
    with manager(relation) as running:
        out = running.run()
    data = out.get_relation(relation.id).local_app_data
    assert data == {"version": "1", "host": "tea.shop", "port": "80", "scheme": "grpc"}


def test_a_follower_writes_nothing():
    relation = related("address")
    with manager(relation, leader=False) as running:
        out = running.run()
    assert out.get_relation(relation.id).local_app_data == {}


def test_an_address_is_read():
    data = {"version": "1", "host": "h", "port": "8", "scheme": "https", "ca": "PEM"}
    with manager(related("water", **data)) as running:
        address = running.charm.water.get()
    assert address == Address("h", 8, "https", "PEM")
    assert address.url == "https://h:8"


@pytest.mark.parametrize("data", [{}, {"host": "h"}, {"host": "h", "port": "x"}, {"port": "1"}])
def test_an_incomplete_address_is_waited_for(data):
    with (
        manager(related("water", "kettle", **data)) as running,
        pytest.raises(Exception, match="waiting for kettle to give its address"),
    ):
        running.charm.water.get()


def test_without_the_relation_an_address_is_none_or_the_command_that_brings_it():
    with manager() as running:
        assert running.charm.water.get_or_none() is None
        with pytest.raises(Exception, match="juju integrate tea:water"):
            running.charm.water.get()


def test_the_wire_format_of_routes_is_what_the_gateway_reads():
    relation = related("gateway")
    with manager(relation) as running:
        out = running.run()
    data = out.get_relation(relation.id).local_app_data
    assert data["version"] == "1"
    with manager(related("routes", "kettle", **data)) as running:
        found = running.charm.routes.requests()
    assert found.routes == {"kettle": [ROUTE]}
    assert found.problems == []


def test_the_wire_format_of_the_gateway_s_addresses_is_what_an_application_reads():
    relation = related("routes", "kettle")
    with manager(relation) as running:
        data = running.run().get_relation(relation.id).local_app_data
    assert data == {
        "url": "https://example.com",
        "cluster-url": "https://gateway.shop.svc:8443",
        "ca": "PEM",
        "token-audience": "us",
    }
    with manager(related("gateway", "gateway", **data)) as running:
        assert running.charm.route.url() == "https://example.com"
        assert running.charm.route.entrance() == ENTRANCE


def test_a_gateway_of_before_tells_no_way_in_for_pods():
    with manager(related("gateway", "gateway", url="https://example.com")) as running:
        assert running.charm.route.entrance() is None


@pytest.mark.parametrize(
    "text, problem",
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("3", "not a list"),
        ("[3]", "unknown or missing fields"),
        ('[{"name": "x", "evil": 1}]', "unknown or missing fields"),
        ({"name": 3}, "wrong types"),
        ({"prefix": "/a b/"}, "prefix"),
        ({"prefix": "tea"}, "prefix"),
        ({"host": "a b"}, "host is not a DNS name"),
        ({"port": 0}, "port"),
        ({"port": "80"}, "port"),
        ({"rewrite": "x"}, "rewrite"),
        ({"access": "all"}, "access must be one of"),
        ({"access": "namespace", "resource": ""}, "needs {namespace} and a resource"),
        ({"group": "a}\n"}, "group"),
        ({"verb": "GET *"}, "verb"),
    ],
)
def test_a_route_that_is_wrong_harms_no_other_application(text, problem):
    good = {"name": "good", "prefix": "/good/", "host": "good", "port": 80}
    bad = text if isinstance(text, str) else json.dumps([{**good, "prefix": "/bad/", **text}])
    with manager(
        related("routes", "bad", routes=bad), related("routes", "good", routes=json.dumps([good]))
    ) as running:
        found = running.charm.routes.requests()
    assert found.routes["good"] == [Route(**good)]
    assert found.routes["bad"] == []
    (line,) = found.problems
    assert line.startswith("bad: ")
    assert problem in line


def test_a_prefix_belongs_to_the_application_that_was_related_first():
    route = json.dumps([{"name": "x", "prefix": "/x/", "host": "x", "port": 80}])
    first, second = (
        related("routes", "first", routes=route),
        related("routes", "second", routes=route),
    )
    with manager(second, first) as running:
        found = running.charm.routes.requests()
    assert [name for name, routes in found.routes.items() if routes] == ["first"]
    assert found.problems == ["second: first has /x/"]


def test_the_wire_format_of_links_is_what_the_dashboard_reads():
    relation = related("dashboard-links")
    with manager(relation) as running:
        out = running.run()
    data = out.get_relation(relation.id).local_app_data
    with manager(related("links", "kettle", **data)) as running:
        assert running.charm.menu.get() == [LINK]


@pytest.mark.parametrize(
    "text", ["{", "3", "[3]", '[{"text": "x"}]', '[{"text": "x", "link": "javascript:alert(1)"}]']
)
def test_a_link_that_is_none_is_passed_over(text):
    with manager(related("links", "bad", dashboard_links=text)) as running:
        assert running.charm.menu.get() == []
