"""KServe's controller: every status, every manifest, the files and the command of the manager."""

from __future__ import annotations

import base64
import importlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ops
import pytest
import yaml
from ops import testing

from charmed_mlops.interfaces.manifests import CONTENT_KEY, SECRET_FIELD, unpack
from charmed_mlops.testing import relation

CHARM = Path(__file__).parents[2]
META = yaml.safe_load((CHARM / "charmcraft.yaml").read_text())
BROKER = Path(__file__).parents[3] / "resource-broker" / "src"
MODULES = ("charm", "kserve", "api", "policy")
MODEL = testing.Model("shop")
SERVICES = "svc.cluster.local"
ENDPOINT = "http://object-store.shop.svc.cluster.local:7070"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The charm's modules, as only its own dispatch sees them, and the broker's policy."""
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(BROKER))
    monkeypatch.syspath_prepend(str(CHARM / "src"))
    for name in MODULES:
        sys.modules.pop(name, None)
    policy = importlib.import_module("policy")
    found = {name: importlib.import_module(name) for name in MODULES if name != "policy"}
    # both charms have a charm.py: this one's is first on the path
    assert str(CHARM) in str(found["charm"].__file__)
    yield {**found, "policy": policy}
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def context(modules: dict[str, Any]) -> testing.Context:
    keys = ("name", "containers", "resources", "requires", "provides")
    return testing.Context(
        modules["charm"].KServeController,
        meta={key: META[key] for key in keys},
        config=META["config"],
        actions=META["actions"],
        charm_root=CHARM,
    )


def broker(**answer: Any) -> testing.Relation:
    data = {key: json.dumps(value) for key, value in answer.items()}
    return testing.Relation("manifests", remote_app_name="resource-broker", remote_app_data=data)


def bucket() -> tuple[testing.Relation, testing.Secret]:
    keys = testing.Secret({"access-key": "relation-3", "secret-key": "open-sesame"})
    data = {"bucket": "b", "endpoint": ENDPOINT, "region": "us-east-1", "secret-extra": keys.id}
    relation = testing.Relation(
        "object-store", remote_app_name="object-store", remote_app_data=data
    )
    return relation, keys


def container(**changes: Any) -> testing.Container:
    return testing.Container("kserve-controller", **{"can_connect": True, **changes})


def run(context: testing.Context, *relations: testing.Relation, **state: Any) -> testing.State:
    given: dict[str, Any] = {"leader": True, "model": MODEL, "relations": relations}
    given["containers"] = [container()]
    return context.run(context.on.config_changed(), testing.State(**{**given, **state}))


def request(out: testing.State, relation: testing.Relation) -> dict[str, Any]:
    data = out.get_relation(relation.id).local_app_data
    return {key: json.loads(value) for key, value in data.items()}


def declared(context: testing.Context, *relations: testing.Relation, **state: Any) -> list[dict]:
    asked = broker()
    return unpack(request(run(context, asked, *relations, **state), asked)["manifests"])


def settled(context: testing.Context, **state: Any) -> tuple[testing.State, testing.State]:
    """The states after the request and after the broker's answer to it."""
    asked = broker()
    first = run(context, asked, **state)
    answered = broker(hash=request(first, asked)["hash"], problems=[])
    return first, run(context, answered, **{**state, "secrets": first.secrets})


def test_without_a_broker_it_is_blocked(context):
    out = run(context)
    assert isinstance(out.unit_status, ops.BlockedStatus)
    assert "juju integrate kserve-controller:manifests resource-broker" in out.unit_status.message


def test_it_waits_for_the_broker_and_then_runs(context):
    first, out = settled(context)
    assert first.unit_status == ops.WaitingStatus(
        "waiting for resource-broker to apply the cluster objects"
    )
    assert out.unit_status == ops.ActiveStatus()
    assert out.workload_version == "0.16.0"
    assert {port.port for port in out.opened_ports} == {8080, 9443}
    after = out.get_container("kserve-controller")
    service = after.plan.services["kserve-controller"]
    assert service.command.split()[0] == "/manager"
    assert "--leader-elect" in service.command.split()
    assert service.environment["POD_NAMESPACE"] == "shop"
    files = after.get_filesystem(context)
    certificates = files / "tmp/k8s-webhook-server/serving-certs"
    assert (certificates / "tls.crt").read_text().count("BEGIN CERTIFICATE") == 2
    assert "PRIVATE KEY" in (certificates / "tls.key").read_text()


def test_it_waits_for_its_container(context):
    _, out = settled(context, containers=[container(can_connect=False)])
    assert out.unit_status == ops.WaitingStatus("waiting for container kserve-controller")


def test_a_refusal_blocks(context):
    asked = broker()
    first = run(context, asked)
    problem = {"object": "ClusterRole/x", "reason": "no *", "outcome": "refused"}
    answered = broker(hash=request(first, asked)["hash"], problems=[problem])
    out = run(context, answered, secrets=first.secrets)
    assert out.unit_status == ops.BlockedStatus("resource-broker refuses ClusterRole/x: no *")


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("log-level", "loud", "must be one of debug, info or error"),
        ("deployment-mode", "Serverless", "must be one of Standard or Knative"),
        ("images", "[", "must be a YAML map"),
        ("images", "{oven: x}", "no image 'oven'"),
        ("images", "{mlserver: 'a b'}", "not an image reference"),
        ("predictor-cpu-request", "much", "must be a quantity"),
        ("predictor-memory-limit", "2 GB", "must be a quantity"),
    ],
)
def test_a_wrong_option_blocks(context, option, value, text):
    out = run(context, broker(), config={option: value})
    assert isinstance(out.unit_status, ops.BlockedStatus)
    assert f"config {option}" in out.unit_status.message
    assert text in out.unit_status.message


def test_it_waits_for_the_object_store(context):
    unanswered = testing.Relation("object-store", remote_app_name="object-store")
    out = run(context, broker(), unanswered)
    assert isinstance(out.unit_status, ops.WaitingStatus)
    assert "object-store" in out.unit_status.message


def test_the_policy_takes_all_of_it(context, modules):
    relation, keys = bucket()
    manifests = declared(context, relation, secrets=[keys])
    bundle = yaml.safe_load((CHARM.parents[1] / "bundle" / "bundle.yaml").read_text())
    allow = bundle["applications"]["resource-broker"]["options"]["allow"]
    granted = modules["policy"].grants(allow)["kserve-controller"]
    policy = modules["policy"].Policy("kserve-controller", "shop", granted)
    assert list(policy.check(manifests)) == []


def test_the_keys_travel_only_in_a_juju_secret(context):
    relation, keys = bucket()
    asked = broker()
    out = run(context, asked, relation, secrets=[keys])
    manifests = unpack(request(out, asked)["manifests"])
    assert "open-sesame" not in json.dumps(manifests)
    (secret,) = [item for item in manifests if item["kind"] == "Secret"]
    (kept,) = [item for item in out.secrets if item.id == secret[SECRET_FIELD]]
    content = json.loads(kept.latest_content[CONTENT_KEY])
    assert content["AWS_SECRET_ACCESS_KEY"] == "open-sesame"
    assert content["AWS_ENDPOINT_URL"] == ENDPOINT
    assert content["S3_USE_HTTPS"] == "0"
    (storage,) = [item for item in manifests if item["kind"] == "ClusterStorageContainer"]
    names = (secret["metadata"]["name"], "mlpipeline-minio-artifact")  # the model's, a tenant's
    assert storage["spec"]["container"]["envFrom"] == [
        {"secretRef": {"name": name, "optional": True}} for name in names
    ]


def test_every_model_format_has_one_runtime_of_highest_priority(context):
    offers: dict[tuple[str, str, str], list[int]] = {}
    for item in declared(context):
        if item["kind"] != "ClusterServingRuntime":
            continue
        assert item["spec"]["containers"][0]["name"] == "kserve-container"
        for entry in item["spec"]["supportedModelFormats"]:
            for protocol in item["spec"]["protocolVersions"]:
                if entry.get("autoSelect"):
                    key = (entry["name"], entry["version"], protocol)
                    offers.setdefault(key, []).append(entry["priority"])
    formats = {name for name, _, _ in offers}
    assert formats >= {
        "sklearn", "mlflow", "xgboost", "lightgbm", "pytorch", "tensorflow", "onnx", "huggingface"
    }  # fmt: skip
    for key, priorities in offers.items():
        assert priorities.count(max(priorities)) == 1, key


def test_definitions_are_structural(context):
    definitions = [i for i in declared(context) if i["kind"] == "CustomResourceDefinition"]
    assert len(definitions) == 6
    for definition in definitions:
        names = definition["spec"]["names"]
        group = definition["spec"]["group"]
        assert definition["metadata"]["name"] == f"{names['plural']}.{group}"
        for version in definition["spec"]["versions"]:
            assert set(version) <= {
                "name", "served", "storage", "schema", "subresources", "additionalPrinterColumns"
            }  # fmt: skip
            structural(version["schema"]["openAPIV3Schema"], names["kind"])


def structural(schema: Mapping[str, Any], path: str) -> None:
    """Kubernetes' rules: a type everywhere, no properties beside additionalProperties."""
    if schema.get("x-kubernetes-int-or-string"):
        assert "type" not in schema, path
        return
    assert schema.get("type") in ("object", "array", "string", "integer", "boolean"), path
    assert not ("properties" in schema and "additionalProperties" in schema), path
    assert schema["type"] != "array" or "items" in schema, path
    for name, inner in (schema.get("properties") or {}).items():
        structural(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            structural(schema[key], f"{path}[]")


def test_webhooks_call_the_application_with_its_own_authority(context):
    manifests = declared(context)
    hooks = [hook for item in manifests for hook in item.get("webhooks", ())]
    assert len(hooks) == 7
    for hook in hooks:
        service = hook["clientConfig"]["service"]
        assert (service["name"], service["namespace"]) == ("kserve-controller", "shop")
        authority = base64.b64decode(hook["clientConfig"]["caBundle"]).decode()
        assert authority.startswith("-----BEGIN CERTIFICATE")


def test_settings_need_no_mesh_and_follow_the_options(context):
    config = {"predictor-cpu-limit": "3", "images": "{mlserver: host/own:1}"}
    manifests = declared(context, config=config)
    (settings,) = [item["data"] for item in manifests if item["kind"] == "ConfigMap"]
    assert json.loads(settings["deploy"]) == {"defaultDeploymentMode": "Standard"}
    ingress = json.loads(settings["ingress"])
    assert ingress["disableIngressCreation"]
    assert ingress["disableIstioVirtualHost"]
    assert json.loads(settings["inferenceService"])["resource"]["cpuLimit"] == "3"
    (runtime,) = [i for i in manifests if i["metadata"]["name"] == "kserve-mlserver"]
    (server,) = runtime["spec"]["containers"]
    assert server["image"] == "host/own:1"
    assert server["resources"]["limits"]["cpu"] == "3"


def test_actions_tell_what_is_served(context, api):
    ready = {"type": "Ready", "status": "False", "message": "no pod"}
    status = {
        "conditions": [ready],
        "url": "http://wine.a.example.com",
        "address": {"url": "http://wine.a.svc.cluster.local"},
    }
    group = "/apis/serving.kserve.io"
    metadata = {"namespace": "a", "name": "wine"}
    api.add(f"{group}/v1beta1/inferenceservices", {"metadata": metadata, "status": status})
    run_action(context, "list-inference-services")
    assert context.action_results
    assert context.action_results["not-ready"] == "a/wine"
    (entry,) = context.action_results["inference-services"].values()
    assert entry["reason"] == "no pod"
    assert entry["url"] == "http://wine.a.svc.cluster.local"  # the other resolves nowhere
    spec = {"supportedModelFormats": [{"name": "sklearn"}], "containers": [{"image": "i"}]}
    runtime = {"metadata": {"name": "r"}, "spec": spec}
    api.add(f"{group}/v1alpha1/clusterservingruntimes", runtime)
    run_action(context, "list-runtimes")
    (entry,) = context.action_results["runtimes"].values()
    assert entry == {"name": "r", "formats": "sklearn", "image": "i"}


@pytest.mark.parametrize(
    ("spec", "path"),
    [({"predictor": {}}, ""), ({"predictor": {}, "transformer": {}}, "transformer/")],
)
def test_an_action_tells_where_a_model_is_behind_the_gateway(context, api, spec, path):
    served = {"metadata": {"namespace": "a", "name": "wine"}, "spec": spec}
    api.add("/apis/serving.kserve.io/v1beta1/inferenceservices", served)
    door = testing.Relation("gateway", remote_app_data={"url": "https://door:8443"})
    run_action(context, "list-inference-services", door)
    assert context.action_results
    (entry,) = context.action_results["inference-services"].values()
    assert entry["gateway-url"] == f"https://door:8443/serving/a/wine/{path}"


def run_action(context: testing.Context, name: str, *relations: testing.Relation) -> None:
    state = testing.State(leader=True, model=MODEL, containers=[container()], relations=relations)
    context.run(context.on.action(name), state)


def test_the_manager_restarts_only_for_what_it_reads_when_it_starts(charm):
    first = charm.settled()

    def digest(**config: str) -> str:
        """With the same certificate."""
        return charm.digest(charm.settled(secrets=first.secrets, config=config))

    assert digest() == charm.digest(first)
    assert digest(**{"predictor-cpu-limit": "3"}) == charm.digest(first)
    assert digest(domain="shop.example") != charm.digest(first)


GATEWAY = {"host": "kourier-internal.shop.svc.cluster.local", "port": "80"}


WATCHING = ["get", "list", "watch"]


def rules(charm, out: testing.State, group: str) -> list[dict[str, Any]]:
    role = charm.manifest(out, "ClusterRole", "shop-kserve-controller-manager")
    return [each for each in role["rules"] if group in each["apiGroups"]]


@pytest.mark.parametrize(
    ("group", "plural"),
    [
        ("serving.knative.dev", "services"),
        ("keda.sh", "scaledobjects"),
        ("opentelemetry.io", "opentelemetrycollectors"),
    ],
)
def test_it_may_watch_what_it_watches_wherever_the_cluster_has_the_kind(charm, group, plural):
    """Without the right its caches are never filled, and it ends."""
    (rule,) = rules(charm, charm.settled(), group)
    assert rule["resources"] == [plural]
    assert set(rule["verbs"]) >= set(WATCHING)


def test_with_knative_serving_it_may_make_knative_services_and_looks_for_their_kind_anew(charm):
    alone = charm.settled()
    (watched,) = rules(charm, alone, "serving.knative.dev")
    assert watched["verbs"] == WATCHING
    out = charm.settled(
        relation("serverless", "knative-serving", **GATEWAY), secrets=alone.secrets
    )
    assert out.unit_status == testing.ActiveStatus()
    (rule,) = rules(charm, out, "serving.knative.dev")
    assert {"create", "update", "delete"} < set(rule["verbs"])
    assert charm.digest(out) != charm.digest(alone)
    variables = charm.service(out).environment
    assert variables["KNATIVE_CONFIG_AUTOSCALER_NAMESPACE"] == "shop"
    deploy = json.loads(charm.manifest(out, "ConfigMap")["data"]["deploy"])
    assert deploy == {"defaultDeploymentMode": "Standard"}  # an annotation asks for the other


def test_knative_services_are_the_rule_where_the_option_says_so(charm):
    out = charm.settled(
        relation("serverless", "knative-serving", **GATEWAY),
        config={"deployment-mode": "Knative"},
    )
    deploy = json.loads(charm.manifest(out, "ConfigMap")["data"]["deploy"])
    assert deploy == {"defaultDeploymentMode": "Knative"}


def test_it_waits_for_knative_serving_to_be_up(charm):
    out = charm.settled(relation("serverless", "knative-serving"))
    assert out.unit_status == testing.WaitingStatus(
        "waiting for knative-serving to give its address"
    )


def test_knative_services_cannot_be_the_rule_without_knative_serving(charm):
    out = charm.settled(config={"deployment-mode": "Knative"})
    assert out.unit_status == testing.BlockedStatus(
        "config deployment-mode is Knative: juju integrate kserve-controller:serverless"
        " knative-serving, or set Standard"
    )


def test_hugging_face_models_have_shared_memory(charm):
    runtime = charm.manifest(charm.settled(), "ClusterServingRuntime", "kserve-huggingfaceserver")
    (server,) = runtime["spec"]["containers"]
    assert server["volumeMounts"] == [{"mountPath": "/dev/shm", "name": "devshm"}]
    assert runtime["spec"]["volumes"] == [{"name": "devshm", "emptyDir": {"medium": "Memory"}}]


def proxied(charm, **config: str) -> dict[str, dict[str, str]]:
    """The variables of each container that fetches models, by its object's name."""
    found = {}
    for each in charm.manifests(charm.settled(config=config)):
        spec = each.get("spec", {})
        if each["kind"] == "ClusterServingRuntime":
            (container,) = spec["containers"]
        elif each["kind"] == "ClusterStorageContainer":
            container = spec["container"]
        else:
            continue
        variables = {item["name"]: item["value"] for item in container.get("env", [])}
        assert len(variables) == len(container.get("env", []))
        found[each["metadata"]["name"]] = variables
    return found


def test_the_proxy_reaches_the_storage_initializer_and_every_runtime(charm, monkeypatch):
    monkeypatch.setenv("JUJU_CHARM_HTTPS_PROXY", "http://proxy:3128")
    found = proxied(charm, **{"no-proxy": "intranet"})
    assert {"default", "kserve-mlserver", "kserve-huggingfaceserver"} <= set(found)
    for name, variables in found.items():
        assert variables["HTTPS_PROXY"] == "http://proxy:3128", name
        assert variables["no_proxy"].startswith("intranet,"), name
    assert found["kserve-mlserver"]["MODELS_DIR"] == "/mnt/models"


def test_without_a_proxy_no_container_has_its_variables(charm):
    for name, variables in proxied(charm).items():
        assert not [key for key in variables if "proxy" in key.lower()], name


def test_each_component_has_a_path_behind_the_gateway(charm):
    out = charm.settled(relation("gateway", "door"))
    routes = json.loads(charm.published(out, "gateway")["routes"])
    assert {each["prefix"]: each["host"] for each in routes} == {
        f"/serving/{{namespace}}/{{name}}/{part}": f"{{name}}-{component}.{{namespace}}.{SERVICES}"
        for part, component in (
            ("", "predictor"), ("transformer/", "transformer"), ("explainer/", "explainer"),
        )
    }  # fmt: skip
    for each in routes:
        assert (each["access"], each["resource"], each["verb"]) == (
            "namespace", "inferenceservices", "get",
        )  # fmt: skip
        assert each["own_host"]  # Knative's gateway serves many by their names


def test_a_tenant_s_models_answer_her_namespace_and_the_gateway_only(charm):
    (fence,) = charm.tenant_manifests(charm.settled(relation("gateway", "door")))
    (rule,) = fence["spec"]["ingress"]
    applications = [each["podSelector"].get("matchLabels") for each in rule["from"]]
    name = "app.kubernetes.io/name"
    assert applications == [None, {name: "kserve-controller"}, {name: "door"}]
    (selected,) = fence["spec"]["podSelector"]["matchExpressions"]
    assert selected["key"] == "serving.kserve.io/inferenceservice"
