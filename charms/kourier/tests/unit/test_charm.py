"""Kourier: what its programs are given, who reaches them, what it waits for, its routes."""

from __future__ import annotations

import base64
import dataclasses
import json

import ops
import pytest
import yaml
from ops import testing

from charmed_mlops.testing import relation

GROUP = "/apis/networking.internal.knative.dev/v1alpha1"
PODS = "/api/v1/namespaces/shop/pods"
MAPS = "/api/v1/namespaces/shop/configmaps"
KOURIER = "kourier.ingress.networking.knative.dev"


def envoy(charm, out) -> dict:
    return yaml.safe_load(charm.file(out, "/tmp/envoy.yaml"))


def port(each: dict) -> int:
    return each["address"]["socket_address"]["port_value"]


def listeners(charm, out) -> dict[str, dict]:
    return {each["name"]: each for each in envoy(charm, out)["static_resources"]["listeners"]}


def clusters(charm, out) -> dict[str, dict]:
    """Where each cluster leads."""
    return {
        each["name"]: each["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"][
            "address"
        ]["socket_address"]
        for each in envoy(charm, out)["static_resources"]["clusters"]
    }


def served(charm, out, listener: str) -> list[dict]:
    (chain,) = listeners(charm, out)[listener]["filter_chains"]
    config = chain["filters"][0]["typed_config"]
    return config["route_config"]["virtual_hosts"][0]["routes"]


# Envoy and its controller


def test_each_envoy_asks_the_controller_of_its_own_pod(charm):
    out = charm.settled()
    assert clusters(charm, out)["xds_cluster"] == {"address": "127.0.0.1", "port_value": 18000}
    # the controller's answers are for this node
    assert envoy(charm, out)["node"]["id"] == "3scale-kourier-gateway"


def test_envoy_opens_its_listeners_before_the_controller_answers(charm):
    found = envoy(charm, charm.settled())["dynamic_resources"]
    timeouts = {found[each]["initial_fetch_timeout"] for each in ("cds_config", "lds_config")}
    assert timeouts == {"1s"}


def test_the_pod_is_ready_when_the_listener_that_serves_is_there(charm):
    out = charm.settled()
    plan = out.get_container("gateway").plan
    assert plan.checks["gateway"].http == {"url": "http://localhost:9000/ready"}
    (route,) = [each for each in served(charm, out, "stats") if each["match"]["path"] == "/ready"]
    assert route["route"] == {"cluster": "own", "host_rewrite_literal": "internalkourier"}
    assert clusters(charm, out)["own"]["port_value"] == 8081


def test_a_controller_that_is_away_takes_no_traffic_from_envoy(charm):
    assert not charm.settled().get_container("controller").plan.checks


def test_only_figures_and_readiness_can_be_asked_from_outside_the_pod(charm):
    out = charm.settled()
    assert [each["match"]["path"] for each in served(charm, out, "stats")] == [
        "/stats/prometheus", "/ready",
    ]  # fmt: skip
    local = {
        name
        for name, each in listeners(charm, out).items()
        if each["address"]["socket_address"]["address"] == "127.0.0.1"
    }
    assert local == {"api"}
    assert envoy(charm, out)["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"


def test_the_controller_finds_everything_in_the_model(charm):
    found = charm.environment(charm.settled(), "controller")
    assert found["SYSTEM_NAMESPACE"] == found["KOURIER_GATEWAY_NAMESPACE"] == "shop"
    assert found["POD_NAME"] == "kourier-0"


def test_the_controller_is_told_that_there_are_no_secrets(charm):
    out = charm.settled()
    access = yaml.safe_load(charm.file(out, "/tmp/kubeconfig.yaml", "controller"))
    api = port(listeners(charm, out)["api"])
    cluster = access["clusters"][0]["cluster"]
    assert cluster["server"] == f"https://127.0.0.1:{api}"
    # client-go sends its token over TLS only
    own = charm.file(out, "/tmp/api/tls.crt").encode()
    assert base64.b64decode(cluster["certificate-authority-data"]) == own
    watch, every, rest = served(charm, out, "api")
    assert watch["match"]["path"] == every["match"]["path"] == "/api/v1/secrets"
    body = yaml.safe_load(every["direct_response"]["body"]["inline_string"])
    assert (body["kind"], body["items"]) == ("SecretList", [])
    assert rest["route"] == {"cluster": "api", "timeout": "0s"}


def test_it_has_no_right_to_secrets_and_reads_configuration_in_the_model_alone(charm):
    out = charm.settled()
    roles = [each for each in charm.manifests(out) if each["kind"] in ("Role", "ClusterRole")]
    rules = [(each["kind"], rule) for each in roles for rule in each["rules"]]
    assert not [rule for _, rule in rules if "secrets" in rule["resources"]]
    assert {kind for kind, rule in rules if "configmaps" in rule["resources"]} == {"Role"}


def test_a_unit_that_ends_goes_on_for_a_while(charm):
    out = charm.settled(config={"drain-seconds": 7})
    script = charm.file(out, "/tmp/gateway.sh")
    assert "POST /healthcheck/fail" in script
    assert "sleep 7\n" in script
    assert charm.service(out).kill_delay == "12s"


# who reaches it


def test_the_service_for_inside_leads_to_pods_that_serve(charm):
    spec = charm.manifest(charm.settled(), "Service")["spec"]
    assert spec["selector"] == {
        "app.kubernetes.io/name": "kourier",
        "charmed-mlops.io/serving": "true",
    }
    (http,) = spec["ports"]
    assert (http["port"], http["targetPort"]) == (80, 8082)
    assert spec.get("type", "ClusterIP") == "ClusterIP"


def test_clients_get_the_service_s_address(charm):
    out = charm.settled(relation("local-gateway", "gateway"))
    found = charm.published(out, "local-gateway")
    assert (found["host"], found["port"]) == ("kourier-internal.shop.svc.cluster.local", "80")


def sources(charm, out, name: str) -> dict[int, list[dict]]:
    """Who reaches which port by a NetworkPolicy."""
    rules = charm.manifest(out, "NetworkPolicy", name)["spec"]["ingress"]
    return {each["port"]: rule["from"] for rule in rules for each in rule.get("ports", [])}


def test_users_pods_reach_just_the_listener_that_asks_who_they_are(charm):
    out = charm.settled()
    assert set(sources(charm, out, "kourier")) == {8082}
    policies = [each for each in charm.manifests(out) if each["kind"] == "NetworkPolicy"]
    assert len(policies) == 2
    assert charm.manifest(out, "Service")["spec"]["ports"][0]["targetPort"] == 8082


def test_what_asks_nobody_is_for_kouriers_own_units(charm):
    own = [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "kourier"}}}]
    found = sources(charm, charm.settled(), "kourier-probes")
    assert found == {8081: own, 8090: own}


def test_the_ports_are_the_listeners(charm):
    out = charm.settled()
    assert {each.port for each in out.opened_ports} == {8082, 9000}
    assert port(listeners(charm, out)["fence"]) == 8082


# who calls what; test_fence.py has the attacks


def test_the_authorizer_runs_beside_envoy(charm):
    out = charm.settled(config={"drain-seconds": 7})
    assert charm.service(out, "authorizer").command == (
        "/usr/local/bin/python3 /tmp/authorizer.py --port=9001 --peer=x-kourier-peer"
        " --namespace=shop --gateways= --open=false --ttl=3 --leaving=8"
    )
    # as long as Envoy asks it, and less than Kubernetes gives a pod
    assert charm.service(out, "authorizer").kill_delay == "12s"
    checks = out.get_container("authorizer").plan.checks
    assert checks["authorizer"].http == {"url": "http://localhost:9001/healthz"}


def test_gateways_are_those_that_are_related(charm):
    out = charm.settled(relation("gateway", "door"))
    assert " --gateways=door " in charm.service(out, "authorizer").command


def test_a_gateway_gets_a_route_to_users_services_by_their_own_names(charm):
    out = charm.settled(relation("gateway", "door"))
    (route,) = json.loads(charm.published(out, "gateway")["routes"])
    assert (route["prefix"], route["rewrite"]) == ("/knative/{namespace}/{name}/", "/")
    assert (route["host"], route["port"]) == ("{name}.{namespace}.svc.cluster.local", 80)
    assert (route["own_host"], route["access"]) == (True, "namespace")
    assert (route["group"], route["resource"]) == ("serving.knative.dev", "services")
    rules = charm.manifest(out, "NetworkPolicy", "kourier")["spec"]["ingress"]
    door = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "door"}}}
    assert {"from": [door]} in rules


def test_a_cluster_of_one_team_can_open_it(charm):
    out = charm.settled(config={"open-to-pods": True})
    assert " --open=true " in charm.service(out, "authorizer").command


def test_without_an_answer_nothing_passes(charm):
    (chain,) = listeners(charm, charm.settled())["fence"]["filter_chains"]
    ask, route = chain["filters"][0]["typed_config"]["http_filters"]
    assert route["name"] == "envoy.filters.http.router"
    assert ask["typed_config"]["failure_mode_allow"] is False
    allowed = ask["typed_config"]["allowed_headers"]["patterns"]
    assert allowed == [{"exact": "x-gateway-namespace"}]


# options


def test_options_reach_kourier_s_configuration(charm):
    data = charm.manifest(charm.settled(), "ConfigMap", "config-kourier")["data"]
    assert data == {"enable-service-access-logging": "false", "stream-idle-timeout": "0s"}
    out = charm.settled(config={"access-log": True, "idle-timeout": 60, "log-level": "debug"})
    data = charm.manifest(out, "ConfigMap", "config-kourier")["data"]
    assert data == {"enable-service-access-logging": "true", "stream-idle-timeout": "60s"}
    assert "--log-level debug" in charm.service(out).command


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"drain-seconds": 0}, "config drain-seconds=0: "),
        ({"idle-timeout": -1}, "config idle-timeout=-1: "),
        ({"log-level": "loud"}, "config log-level=loud: must be one of "),
    ],
)
def test_a_wrong_option_is_named(charm, config, text):
    assert charm.refusal(config).startswith(text)


# Knative Serving


@pytest.fixture
def pod(api):
    """The unit's pod in the API."""
    api.add(PODS, {"metadata": {"namespace": "shop", "name": "kourier-0"}})
    return lambda: api.get(PODS, "kourier-0")


@pytest.fixture
def unready(charm, pod):
    """A state in which Envoy has got no routes yet."""

    def found() -> testing.State:
        out = charm.settled()
        container = out.get_container("gateway")
        down = testing.CheckInfo(
            "gateway-start",
            failures=3,
            threshold=1,
            startup=ops.pebble.CheckStartup.DISABLED,
            status=ops.pebble.CheckStatus.DOWN,
        )
        kept = {each for each in container.check_infos if each.name != "gateway-start"}
        changed = dataclasses.replace(container, check_infos=kept | {down})
        others = [each for each in out.containers if each.name != "gateway"]
        return charm.again(out, containers=[changed, *others])

    return found


def test_it_says_that_it_waits_for_knative_serving(charm, api, unready):
    api.add(MAPS, {"metadata": {"namespace": "shop", "name": "config-kourier"}})
    out = unready()
    assert out.unit_status == testing.WaitingStatus(
        "waiting for knative-serving to bring config-network"
    )
    # it goes on to ask: the controller waits for it
    assert charm.service(out, "controller").startup == "enabled"


def test_with_knative_serving_it_waits_for_envoy(charm, api, unready):
    api.add(MAPS, {"metadata": {"namespace": "shop", "name": "config-network"}})
    assert unready().unit_status == testing.WaitingStatus("waiting for gateway to answer")


def test_while_envoy_serves_nothing_is_asked(charm, api, pod):
    out = charm.settled()
    api.calls.clear()
    assert charm.again(out).unit_status == testing.ActiveStatus()
    assert api.calls == []


def test_the_pod_has_the_label_by_which_the_controller_knows_that_it_has_gone(charm, pod):
    charm.settled()
    assert pod()["metadata"]["labels"]["app"] == "3scale-kourier-gateway"


# routes


def ingress(name: str, status: str, ingress_class: str = KOURIER, **why: str) -> dict:
    splits = [
        {"serviceNamespace": "a", "serviceName": "m-1", "servicePort": 80, "percent": 90},
        {"serviceNamespace": "a", "serviceName": "m-2", "servicePort": 80, "percent": 10},
    ]
    rule = {"hosts": [f"{name}.a.svc.cluster.local", f"{name}.a"]}
    return {
        "metadata": {
            "namespace": "a",
            "name": name,
            "annotations": {"networking.knative.dev/ingress.class": ingress_class},
        },
        "spec": {"rules": [{**rule, "http": {"paths": [{"splits": splits}]}}]},
        "status": {"conditions": [{"type": "Ready", "status": status, **why}]},
    }


def test_routes_are_listed_with_where_they_lead_and_why_one_is_not_ready(charm, api):
    path = f"{GROUP}/namespaces/a/ingresses"
    api.add(path, ingress("m", "True"))
    api.add(path, ingress("n", "False", reason="DomainConflict", message="taken"))
    api.add(path, ingress("o", "True", ingress_class="istio"))
    found = charm.act("list-routes", charm.settled(), namespace="a")
    assert found["count"] == "2"
    assert found["routes"]["1"] == {
        "namespace": "a",
        "name": "m",
        "hosts": "m.a, m.a.svc.cluster.local",
        "to": "a/m-1:80 (90%), a/m-2:80 (10%)",
        "ready": "True",
    }
    assert found["routes"]["2"]["reason"] == "DomainConflict taken"


def test_without_knative_serving_there_are_no_routes(charm, api, pod):
    api.add(GROUP, {"metadata": {"name": "certificates"}})
    with pytest.raises(testing.ActionFailed, match="there is no Knative Serving"):
        charm.act("list-routes", charm.settled())
