"""Knative Serving: three programs and a proxy in a pod, certificate, options, rights."""

from __future__ import annotations

import base64
import json

import pytest

from charmed_mlops.testing import address, broker, relation

SECRET = "webhook-certs"


def config_map(charm, out, name: str) -> dict[str, str]:
    return charm.manifest(out, "ConfigMap", name)["data"]


def rules(charm, out, kind: str, name: str) -> list[dict]:
    return charm.manifest(out, kind, name)["rules"]


# the pod


def test_the_programs_take_ports_of_their_own(charm):
    out = charm.settled()
    for variable in ("METRICS_PROMETHEUS_PORT", "PROFILING_PORT"):
        given = [
            charm.environment(out, program)[variable]
            for program in ("activator", "autoscaler", "webhook")
        ]
        assert len(set(given)) == 3


def test_activator_and_autoscaler_know_their_pod(charm):
    out = charm.settled()
    for program in ("activator", "autoscaler"):
        given = charm.environment(out, program)
        assert given["POD_NAME"] == "knative-serving-0"
        assert given["POD_IP"]
        assert given["SYSTEM_NAMESPACE"] == "shop"


def test_programs_that_list_secrets_go_by_the_proxy(charm):
    out = charm.settled()
    port = "--port=8001"
    assert port in charm.service(out, "api-proxy").command
    for program in ("activator", "webhook"):
        assert "--server=http://127.0.0.1:8001" in charm.service(out, program).command
    assert charm.service(out, "autoscaler").command == "/ko-app/autoscaler"


def test_an_activator_that_ends_has_time_for_its_requests(charm):
    service = charm.service(charm.settled(), "activator")
    assert service.kill_delay == "2m0s"


def test_an_autoscaler_is_found_before_the_pod_is_ready(charm):
    # else none ever is: an activator is ready when it has found one
    service = charm.manifest(charm.settled(), "Service", "autoscaler")
    assert service["spec"]["publishNotReadyAddresses"] is True
    activator = charm.manifest(charm.settled(), "Service", "activator-service")
    assert "publishNotReadyAddresses" not in activator["spec"]
    assert {each["targetPort"] for each in activator["spec"]["ports"]} >= {8012, 8013}


def test_a_unit_without_an_address_waits_for_it(charm, monkeypatch):
    monkeypatch.setattr("ops.Model.get_binding", lambda *_: None)
    assert charm.settled().unit_status.message == "waiting for the pod's address"


# relations


def test_kinds_are_there_before_the_ingress_layer_says_its_address(charm):
    silent = relation("local-gateway", "kourier")
    out = charm.settled(silent)
    assert out.unit_status.message == "waiting for kourier to give its address"
    assert charm.manifest(
        out, "CustomResourceDefinition", "ingresses.networking.internal.knative.dev"
    )
    assert "autoscaler" in out.get_container("autoscaler").plan.services


def test_the_controller_is_told_when_kinds_and_options_are_there(charm):
    asked = charm.run(
        address("local-gateway"), broker(), relation("serving", "knative-controller")
    )
    assert not charm.published(asked, "serving").get("host")
    out = charm.applied(asked)
    assert charm.published(out, "serving")["host"] == "knative-serving.shop.svc.cluster.local"


def test_the_ingress_layer_s_address_is_passed_on(charm):
    out = charm.settled(relation("serverless", "kserve-controller"))
    told = charm.published(out, "serverless")
    assert (told["host"], told["port"], told["scheme"]) == ("local-gateway.shop", "80", "http")


def test_metrics_of_all_programs_are_read_each_by_a_job_of_its_own(charm):
    out = charm.settled(relation("metrics-endpoint", "prometheus"))
    jobs = json.loads(charm.published(out, "metrics-endpoint")["scrape_jobs"])
    assert {job["job_name"]: job["static_configs"] for job in jobs} == {
        "activator": [{"targets": ["*:9090"]}],
        "autoscaler": [{"targets": ["*:9091"]}],
        "webhook": [{"targets": ["*:9092"]}],
    }


# the webhook's certificate


def test_the_webhook_reads_the_charm_s_certificate_from_the_secret(charm):
    content = charm.kubernetes_secret(charm.settled(), SECRET)
    assert set(content) == {"ca-cert.pem", "server-cert.pem", "server-key.pem"}


def test_a_renewed_certificate_is_in_the_secret_and_nothing_restarts(charm):
    out = charm.settled()
    context = charm.context()
    renewed = context.run(context.on.action("renew-certificate"), out)
    before, after = (charm.kubernetes_secret(each, SECRET) for each in (out, renewed))
    assert after["server-key.pem"] != before["server-key.pem"]
    assert charm.service(charm.applied(renewed), "webhook") == charm.service(out, "webhook")


def test_webhooks_are_declared_whole_so_that_the_program_has_nothing_to_change(charm):
    out = charm.settled()
    mutating = charm.manifest(out, "MutatingWebhookConfiguration")
    validating = charm.manifest(
        out, "ValidatingWebhookConfiguration", "validation.webhook.serving.knative.dev"
    )
    for configuration in (mutating, validating):
        (webhook,) = configuration["webhooks"]
        # upstream's program looks for this name
        assert webhook["name"] == configuration["metadata"]["name"]
        ca = base64.b64decode(webhook["clientConfig"]["caBundle"]).decode()
        assert ca == charm.kubernetes_secret(out, SECRET)["ca-cert.pem"]
        service = webhook["clientConfig"]["service"]
        assert (service["name"], service["port"]) == ("knative-serving", 8443)
    # of ConfigMaps, which are not Knative's alone, it sees none
    config = charm.manifest(
        out, "ValidatingWebhookConfiguration", "config.webhook.serving.knative.dev"
    )
    assert config["webhooks"] == []


# rights


def test_of_secrets_it_reads_its_own_alone(charm):
    out = charm.settled()
    found = [
        rule
        for each in charm.manifests(out)
        if each["kind"] in ("Role", "ClusterRole")
        for rule in each["rules"]
        if "secrets" in rule["resources"]
    ]
    assert [(rule["resourceNames"], rule["verbs"]) for rule in found] == [
        ([SECRET], ["get", "list", "watch"])
    ]


def test_it_writes_the_endpoints_of_the_one_service_that_selects_nothing(charm):
    out = charm.settled()
    (name,) = [
        each["metadata"]["name"]
        for each in charm.manifests(out)
        if each["kind"] == "Service" and "selector" not in each["spec"]
    ]
    changed = [
        rule.get("resourceNames")
        for rule in rules(charm, out, "Role", "knative-serving-own")
        if rule["resources"] == ["endpoints"] and "update" in rule["verbs"]
    ]
    assert changed == [[name]]


def test_pods_of_services_answer_activator_autoscaler_and_ingress_layer(charm):
    found = charm.tenant_manifests(charm.settled())
    (policy,) = [each for each in found if each["kind"] == "NetworkPolicy"]
    (expression,) = policy["spec"]["podSelector"]["matchExpressions"]
    assert expression["key"] == "serving.knative.dev/revision"
    (rule,) = policy["spec"]["ingress"]
    own, *applications = rule["from"]
    assert own == {"podSelector": {}}
    assert [
        each["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for each in applications
    ] == ["knative-serving", "local-gateway"]


def test_the_webhook_may_try_pods_where_services_live_and_nowhere_else(charm):
    out = charm.settled()
    (role,) = [each for each in charm.tenant_manifests(out) if each["kind"] == "Role"]
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}]
    for each in charm.manifests(out):
        for rule in each.get("rules") or ():
            assert not ("pods" in rule["resources"] and "create" in rule["verbs"])


def test_the_ingress_layer_reaches_the_activator_and_units_each_other_s_autoscaler(charm):
    policy = charm.manifest(charm.settled(), "NetworkPolicy", "knative-serving-requests")
    reached = {
        rule["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/name"]: {
            each["port"] for each in rule["ports"]
        }
        for rule in policy["spec"]["ingress"]
    }
    assert reached == {"knative-serving": {8080}, "local-gateway": {8012, 8013}}


# options


def test_options_reach_the_programs(charm):
    out = charm.settled(
        config={
            "scale-to-zero": False,
            "stable-window": 90,
            "max-scale-limit": 5,
            "initial-scale": 0,
            "progress-deadline": 1200,
            "skip-tag-resolving": "registry.example.com:5000",
            "log-level": "debug",
            "ingress-class": "mine.example.com",
        }
    )
    autoscaler = config_map(charm, out, "config-autoscaler")
    assert autoscaler["enable-scale-to-zero"] == "false"
    assert autoscaler["stable-window"] == "90s"
    # upstream refuses a limit with a default that is above it, or none
    assert (autoscaler["max-scale-limit"], autoscaler["max-scale"]) == ("5", "5")
    assert (autoscaler["initial-scale"], autoscaler["allow-zero-initial-scale"]) == ("0", "true")
    deployment = config_map(charm, out, "config-deployment")
    assert deployment["progress-deadline"] == "1200s"
    assert deployment["registries-skipping-tag-resolving"] == "registry.example.com:5000"
    assert config_map(charm, out, "config-logging")["loglevel.activator"] == "debug"
    assert config_map(charm, out, "config-network")["ingress-class"] == "mine.example.com"


def test_the_sidecar_is_an_image_of_the_charm_s_list(charm):
    out = charm.settled(config={"images": "{queue: 'registry.local/queue:1'}"})
    assert config_map(charm, out, "config-deployment")["queue-sidecar-image"] == (
        "registry.local/queue:1"
    )


def test_no_route_leads_out_of_the_cluster(charm):
    assert config_map(charm, charm.settled(), "config-domain") == {"svc.cluster.local": ""}


def test_what_reaches_the_node_stays_off(charm):
    features = config_map(charm, charm.settled(), "config-features")
    assert "kubernetes.podspec-persistent-volume-claim" in features
    assert not [each for each in features if "host" in each]


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"stable-window": 5}, "config stable-window=5: "),
        ({"target-concurrency": 0}, "config target-concurrency=0: "),
        ({"skip-tag-resolving": "a, b"}, "config skip-tag-resolving=a, b: "),
        ({"log-level": "loud"}, "config log-level=loud: must be one of "),
        ({"images": "{q: x}"}, "config images: no image 'q'"),
    ],
)
def test_a_wrong_option_is_named(charm, config, text):
    assert charm.refusal(config).startswith(text)


# actions

SERVING = "/apis/serving.knative.dev/v1/namespaces/a"
SCALES = "/apis/autoscaling.internal.knative.dev/v1alpha1/namespaces/a/podautoscalers"


def thing(name: str, ready: str, message: str = "", **status: object) -> dict:
    condition = {"type": "Ready", "status": ready, **({"message": message} if message else {})}
    return {
        "metadata": {
            "namespace": "a",
            "name": name,
            "labels": {"serving.knative.dev/configuration": "hello"},
        },
        "status": {"conditions": [{"type": "RoutesReady", "status": "True"}, condition], **status},
    }


def scale(revision: str, **status: int) -> dict:
    labels = {"serving.knative.dev/revision": revision}
    return {
        "metadata": {"namespace": "a", "name": revision, "labels": labels},
        "status": status,
    }


def test_services_are_listed_with_their_pods_or_why_they_are_not_ready(charm, api):
    url = "http://hello.a.svc.cluster.local"
    api.add(
        f"{SERVING}/services",
        thing("hello", "True", url=url, latestReadyRevisionName="hello-00002"),
    )
    api.add(f"{SERVING}/services", thing("new", "False", "no\n such image"))
    api.add(SCALES, scale("hello-00002", desiredScale=2, actualScale=1))
    found = charm.act("list-services", charm.settled(), namespace="a")["services"]
    assert found["1"] == {
        "namespace": "a",
        "name": "hello",
        "ready": "True",
        "url": url,
        "revision": "hello-00002",
        "pods-wanted": "2",
        "pods": "1",
    }
    assert (found["2"]["ready"], found["2"]["reason"]) == ("False", "no such image")


def test_revisions_are_listed_with_their_pods(charm, api):
    api.add(f"{SERVING}/revisions", thing("hello-00001", "True"))
    api.add(SCALES, scale("hello-00001", desiredScale=-1))
    found = charm.act("list-revisions", charm.settled())["revisions"]["1"]
    assert (found["configuration"], found["pods-wanted"], found["pods"]) == (
        "hello", "unknown", "0",
    )  # fmt: skip
