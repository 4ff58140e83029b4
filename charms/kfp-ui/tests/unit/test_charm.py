"""The interface: whom it talks to, whose keys it uses, where others find it."""

from __future__ import annotations

import dataclasses
import json

import pytest
from ops import testing

from charmed_mlops.testing import KEYS, address, bucket, relation


def test_it_runs_as_its_image_does(charm):
    service = charm.service(charm.settled())
    assert service.command == "node dist/server.js ../client/ 3000"
    assert service.working_dir == "/server"


def test_its_environment_is_what_upstream_reads(charm):
    out = charm.settled(address("kfp-api", 8888), address("metadata-envoy", 9090))
    assert charm.environment(out) == {
        "KUBEFLOW_USERID_HEADER": "kubeflow-userid",
        "KUBEFLOW_USERID_PREFIX": "",
        "DEPLOYMENT": "KUBEFLOW",
        "ENABLE_AUTHZ": "true",
        "FRONTEND_SERVER_NAMESPACE": "shop",
        "CLUSTER_DOMAIN": ".svc.cluster.local",
        "ML_PIPELINE_SERVICE_HOST": "kfp-api.shop",
        "ML_PIPELINE_SERVICE_PORT": "8888",
        "METADATA_ENVOY_SERVICE_SERVICE_HOST": "metadata-envoy.shop",
        "METADATA_ENVOY_SERVICE_SERVICE_PORT": "9090",
        "MINIO_HOST": "object-store",
        "MINIO_NAMESPACE": "",
        "MINIO_PORT": "7070",
        "MINIO_SSL": "false",
        "MINIO_ACCESS_KEY": KEYS["access-key"],
        "MINIO_SECRET_KEY": KEYS["secret-key"],
        "ARGO_ARCHIVE_LOGS": "true",
        "ARGO_ARCHIVE_ARTIFACTORY": "minio",
        "ARGO_ARCHIVE_BUCKETNAME": "b",
        "ARGO_KEYFORMAT": "private-artifacts/{{workflow.namespace}}/{{workflow.name}}/"
        "{{workflow.creationTimestamp.Y}}/{{workflow.creationTimestamp.m}}/"
        "{{workflow.creationTimestamp.d}}/{{pod.name}}",
        "ARTIFACTS_SERVICE_PROXY_ENABLED": "false",
        "ALLOW_CUSTOM_VISUALIZATIONS": "false",
        "HIDE_SIDENAV": "false",
        "DISABLE_GKE_METADATA": "true",
        "VIEWER_TENSORBOARD_POD_TEMPLATE_SPEC_PATH": "/tmp/viewer-pod-template.json",
        "VIEWER_TENSORBOARD_TF_IMAGE_NAME": "docker.io/tensorflow/tensorflow",
    }


def test_a_viewer_runs_as_the_users_account(charm):
    template = json.loads(charm.file(charm.settled(), "/tmp/viewer-pod-template.json"))
    assert template == {"spec": {"serviceAccountName": "default-editor"}}


@pytest.mark.parametrize(
    "given, variable, value",
    [
        ({"custom-visualizations": True}, "ALLOW_CUSTOM_VISUALIZATIONS", "true"),
        ({"hide-side-navigation": True}, "HIDE_SIDENAV", "true"),
        (
            {"registry": "r.local:5000/k"},
            "VIEWER_TENSORBOARD_TF_IMAGE_NAME",
            "r.local:5000/k/tensorflow/tensorflow",
        ),
    ],
)
def test_options_reach_it(charm, given, variable, value):
    assert charm.environment(charm.settled(config=given))[variable] == value


def test_the_gateway_sends_who_is_logged_in(charm):
    out = charm.settled(relation("gateway", "gateway"))
    (route,) = json.loads(charm.published(out, "gateway")["routes"])
    assert (route["prefix"], route["host"], route["port"]) == (
        "/pipeline/",
        "kfp-ui--serving.shop.svc.cluster.local",
        3000,
    )
    assert (route["access"], route["rewrite"]) == ("user", None)


def test_the_dashboard_links_to_each_page(charm):
    out = charm.settled(relation("dashboard-links", "dashboard"))
    links = json.loads(charm.published(out, "dashboard-links")["dashboard_links"])
    assert [each["link"] for each in links if each["location"] == "menu"] == [
        "/pipeline/#/pipelines",
        "/pipeline/#/experiments",
        "/pipeline/#/runs",
        "/pipeline/#/recurringruns",
        "/pipeline/#/artifacts",
        "/pipeline/#/executions",
    ]


def test_it_reads_one_secret_of_tenants_and_no_other(charm):
    out = charm.settled()
    for each in charm.manifests(out):
        for rule in each.get("rules", ()):
            assert "secrets" not in rule["resources"]
    role, binding, *_ = charm.tenant_manifests(out)
    assert role["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": ["mlpipeline-minio-artifact"],
            "verbs": ["get"],
        }
    ]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "kfp-ui", "namespace": "shop"}
    ]


def test_users_who_may_view_may_see_artifacts(charm):
    view = charm.manifest(charm.settled(), "ClusterRole", "kfp-ui-kubeflow-view")
    assert view["rules"][0]["resources"] == ["viewers"]


ENTRANCE = {
    "url": "https://ml.example.com", "cluster-url": "https://gateway.shop.svc:8443",
    "ca": "PEM", "token-audience": "ours",
}  # fmt: skip


def pod_defaults(charm, *relations, **config):
    out = charm.settled(*relations, config=config)
    found = [each for each in charm.tenant_manifests(out) if each["kind"] == "PodDefault"]
    return {each["metadata"]["name"]: each["spec"] for each in found}


def variables(spec):
    return {each["name"]: each.get("value") for each in spec["env"]}


def test_a_notebook_gets_the_gateway_s_address_and_a_token_for_it(charm):
    spec = pod_defaults(charm, relation("gateway", "gateway", **ENTRANCE))["pipelines"]
    assert spec["selector"]["matchLabels"] == {"pipelines": "true"}
    token = spec["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]
    assert (token["audience"], token["path"]) == ("ours", "token")
    folder = spec["volumeMounts"][0]["mountPath"]
    assert variables(spec) == {
        "KF_PIPELINES_ENDPOINT": "https://gateway.shop.svc:8443/pipeline",
        "KF_PIPELINES_SA_TOKEN_PATH": f"{folder}/token",
        "KF_PIPELINES_CA": f"{spec['volumeMounts'][1]['mountPath']}/ca.crt",
    }


def test_a_notebook_gets_the_tenant_s_own_key_of_the_store_and_her_folder(charm):
    found = pod_defaults(charm)
    assert found.keys() == {"object-store"}  # without a gateway nobody may name users
    spec = found["object-store"]
    keys = [each["valueFrom"]["secretKeyRef"] for each in spec["env"][:2]]
    assert [each["key"] for each in keys] == ["accesskey", "secretkey"]
    assert {each["name"] for each in keys} == {"mlpipeline-minio-artifact"}
    assert variables(spec)["S3_FOLDER"] == "s3://b/private-artifacts/$(tenant)"
    assert variables(spec)["AWS_ENDPOINT_URL"] == "http://object-store:7070"
    assert variables(spec)["S3_USE_HTTPS"] == "0"
    assert variables(spec)["AWS_RETRY_MODE"] == "standard"
    assert variables(spec)["AWS_MAX_ATTEMPTS"] == "10"
    assert KEYS["secret-key"] not in str(spec)


def test_without_the_kind_there_are_none(charm):
    relations = [relation("gateway", "gateway", **ENTRANCE)]
    assert pod_defaults(charm, *relations, **{"pod-defaults": False}) == {}


def test_it_trusts_the_ca_of_the_store(charm):
    assert "NODE_EXTRA_CA_CERTS" not in charm.environment(charm.settled())
    given, keys = bucket("object-store")
    data = {**given.remote_app_data, "tls-ca-chain": '["a CA"]'}
    store = dataclasses.replace(given, remote_app_data=data)
    out = charm.settled(store, secrets=[keys])
    file = charm.environment(out)["NODE_EXTRA_CA_CERTS"]
    assert charm.file(out, file) == "a CA\n"


def test_a_bucket_of_which_the_page_shows_nothing_is_named_and_the_page_goes_on(charm):
    store, keys = bucket("object-store", "data.example")
    out = charm.settled(store, secrets=[keys])
    assert out.unit_status == testing.BlockedStatus(
        "bucket data.example: the page shows no artifacts of one with a dot: use another"
    )
    assert charm.service(out).command.startswith("node ")
