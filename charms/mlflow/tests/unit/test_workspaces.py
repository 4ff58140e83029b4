"""MLflow by tenants: namespaces are workspaces, rights are Kubernetes', tokens the pods' own."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

from charmed_mlops.testing import ROOT, broker, relation

ON = {"workspaces": True}
DOOR = {
    "url": "https://mlops.example.com",
    "cluster-url": "https://gateway--serving.shop.svc.cluster.local:8443",
    "ca": "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n",
    "token-audience": "charmed-mlops",
}


def through_the_door(charm):
    return charm.settled(broker(), relation("gateway", "gateway", **DOOR), config=ON)


def test_without_the_option_there_is_one_place_for_all(charm):
    out = charm.settled(broker())
    assert "--enable-workspaces" not in charm.service(out).command
    assert {each["kind"] for each in charm.manifests(out)} == {"NetworkPolicy", "Service"}
    found = charm.manifest(out, "NetworkPolicy")
    users, tenants = found["spec"]["ingress"][0]["from"]
    assert (users, list(tenants)) == ({"podSelector": {}}, ["namespaceSelector"])


def test_namespaces_of_tenants_are_the_workspaces(charm):
    out = through_the_door(charm)
    words = charm.service(out).command.split()
    assert words[words.index("--workspace-store-uri") + 1] == "kubernetes://"
    assert words[words.index("--app-name") + 1] == "kubernetes-auth"
    selector = charm.environment(out)["MLFLOW_K8S_WORKSPACE_LABEL_SELECTOR"]
    assert selector == "app.kubernetes.io/part-of=kubeflow-profile"


@pytest.mark.parametrize(("config", "folder"), [(ON, "workspaces"), ({}, None)])
def test_a_tenant_s_key_is_for_the_artifacts_of_her_workspace(charm, config, folder):
    out = charm.settled(broker(), config=config)
    (store,) = (each for each in out.relations if each.endpoint == "object-store")
    assert store.local_app_data.get("tenants") == folder


def test_it_believes_the_gateway_only_and_nobody_else_reaches_it(charm):
    out = through_the_door(charm)
    environment = charm.environment(out)
    assert environment["MLFLOW_K8S_AUTH_AUTHORIZATION_MODE"] == "subject_access_review"
    assert environment["MLFLOW_K8S_AUTH_REMOTE_USER_HEADER"] == "kubeflow-userid"
    (rule,) = charm.manifest(out, "NetworkPolicy")["spec"]["ingress"]
    assert rule == {
        "from": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "gateway"}}}]
    }


def test_without_a_gateway_each_request_carries_a_token_and_no_header_is_believed(charm):
    out = charm.settled(broker(), config=ON)
    assert "MLFLOW_K8S_AUTH_AUTHORIZATION_MODE" not in charm.environment(out)
    (rule,) = charm.manifest(out, "NetworkPolicy")["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 5000}]


def test_it_needs_the_broker_for_its_rights(charm):
    relations, secrets = charm.required()
    out = charm.run(*relations, secrets=secrets, config=ON)
    assert out.unit_status.name == "blocked"
    assert "juju integrate mlflow:manifests" in out.unit_status.message


def test_its_own_rights_are_to_see_namespaces_and_to_ask(charm):
    rules = charm.manifest(through_the_door(charm), "ClusterRole", "shop-mlflow-workspaces")
    assert [(each["resources"], each["verbs"]) for each in rules["rules"]] == [
        (["namespaces"], ["get", "list", "watch"]),
        (["subjectaccessreviews"], ["create"]),
        (["mlflowconfigs"], ["list", "watch"]),
    ]


def test_viewers_read_experiments_and_editors_write_them(charm):
    out = through_the_door(charm)
    view = charm.manifest(out, "ClusterRole", "mlflow-kubeflow-view")["rules"]
    edit = charm.manifest(out, "ClusterRole", "mlflow-kubeflow-edit")["rules"]
    assert view[0]["verbs"] == ["get", "list"]
    assert "experiments" in view[0]["resources"]
    assert "gatewaysecrets" not in view[0]["resources"]
    assert {"create", "update", "delete"} <= set(edit[0]["verbs"])


def test_the_gateway_s_names_in_the_cluster_are_allowed_hosts(charm):
    hosts = charm.environment(through_the_door(charm))["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert {"gateway--serving.shop.svc.cluster.local:8443", "mlops.example.com"} <= set(hosts)
    # pods that began before a refresh keep Juju's name
    assert "gateway.shop.svc.cluster.local:8443" in hosts


def tenant_objects(charm, out):
    pod_default, config_map = charm.tenant_manifests(out)
    assert (pod_default["kind"], config_map["kind"]) == ("PodDefault", "ConfigMap")
    return pod_default["spec"], config_map["data"]


def test_a_notebook_logs_through_the_gateway_with_a_token_for_it(charm):
    spec, data = tenant_objects(charm, through_the_door(charm))
    environment = {each["name"]: each.get("value", each.get("valueFrom")) for each in spec["env"]}
    assert environment == {
        "MLFLOW_TRACKING_URI": "https://gateway--serving.shop.svc.cluster.local:8443/mlflow",
        "MLFLOW_WORKSPACE": {"fieldRef": {"fieldPath": "metadata.namespace"}},
        "MLFLOW_EXPERIMENT_NAME": "Default",  # experiment 0 is in no tenant's workspace
        "MLFLOW_TRACKING_AUTH": "service-account",
        "PYTHONPATH": "/opt/charmed-mlops/mlflow",
        "MLFLOW_TRACKING_SERVER_CERT_PATH": "/opt/charmed-mlops/mlflow/ca.crt",
    }
    files, token = spec["volumes"]
    (source,) = token["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == "charmed-mlops"
    assert data["ca.crt"] == DOOR["ca"]
    assert {item["key"] for item in files["configMap"]["items"]} == set(data)


def test_mlflow_finds_the_provider_among_the_files_that_a_notebook_gets(
    charm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    spec, data = tenant_objects(charm, through_the_door(charm))
    for item in spec["volumes"][0]["configMap"]["items"]:
        file = tmp_path / item["path"]
        file.parent.mkdir(exist_ok=True)
        file.write_text(data[item["key"]])
    monkeypatch.syspath_prepend(str(tmp_path))
    group = "mlflow.request_auth_provider"
    (found,) = importlib.metadata.entry_points(group=group, name="service-account")
    assert found.value == "charmed_mlops_mlflow:ServiceAccount"
    assert (tmp_path / "charmed_mlops_mlflow.py").read_text() == data["plugin.py"]


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The provider's module; its base class is MLflow's, which is not installed here."""
    place = "mlflow.tracking.request_auth.abstract_request_auth_provider"
    base = ModuleType(place)
    vars(base)["RequestAuthProvider"] = object
    parts = place.split(".")
    for length in range(1, len(parts)):
        name = ".".join(parts[:length])
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, place, base)
    setattr(sys.modules[".".join(parts[:-1])], parts[-1], base)
    file = ROOT / "charms/mlflow/src/client/plugin.py"
    spec = importlib.util.spec_from_file_location("charmed_mlops_mlflow", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_provider_adds_the_token_that_the_kubelet_keeps_fresh(
    plugin: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    token = tmp_path / "token"
    monkeypatch.setattr(plugin, "TOKEN", token)
    authorize = plugin.ServiceAccount().get_auth()
    for text in ("first", "second"):
        token.write_text(f"{text}\n")
        request = authorize(SimpleNamespace(headers={}))
        assert request.headers == {"Authorization": f"Bearer {text}"}


def test_the_overlay_switches_it_on_with_an_image_that_has_the_plugins():
    overlay = yaml.safe_load((ROOT / "bundle/overlays/workspaces.yaml").read_text())
    mlflow = overlay["applications"]["mlflow"]
    assert mlflow["options"] == ON
    assert "mlflow-integration" in mlflow["resources"]["oci-image"]
    assert json.dumps(overlay["applications"]) == json.dumps({"mlflow": mlflow})
