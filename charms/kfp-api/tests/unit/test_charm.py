"""The API server: its environment, what tenants get, who may reach it."""

from __future__ import annotations

import dataclasses
import json
import urllib.parse

import pytest
import yaml
from ops import testing

from charmed_mlops.testing import DATABASE, KEYS, address, bucket, database, relation


def test_it_runs_the_images_command_with_grpc_behind_the_front(charm):
    out = charm.settled()
    assert charm.service(out).command == (
        "/bin/apiserver --config=/config --sampleconfig=/tmp/sample_config.json"
        " -logtostderr=true --logLevel=info --rpcPortFlag=:8886 --httpPortFlag=:8888"
    )
    assert charm.service(out).kill_delay == "3s"


def test_example_pipelines_are_loaded_only_on_request(charm):
    out = charm.settled()
    assert json.loads(charm.file(out, "/tmp/sample_config.json"))["pipelines"] == []
    out = charm.settled(config={"samples": True})
    assert "--sampleconfig=/config/sample_config.json" in charm.service(out).command


def test_its_environment_is_what_the_source_reads(charm):
    environment = charm.environment(charm.settled())
    expected = {
        "DBDRIVERNAME": "mysql",
        "DBCONFIG_MYSQLCONFIG_USER": DATABASE["username"],
        "DBCONFIG_MYSQLCONFIG_PASSWORD": DATABASE["password"],
        "DBCONFIG_MYSQLCONFIG_HOST": "mariadb",
        "DBCONFIG_MYSQLCONFIG_PORT": "3306",
        "DBCONFIG_MYSQLCONFIG_DBNAME": "db",
        "DBCONFIG_CONMAXLIFETIME": "120s",
        "OBJECTSTORECONFIG_HOST": "object-store",
        "OBJECTSTORECONFIG_PORT": "7070",
        "OBJECTSTORECONFIG_SECURE": "false",
        "OBJECTSTORECONFIG_BUCKETNAME": "b",
        "OBJECTSTORECONFIG_ACCESSKEY": KEYS["access-key"],
        "OBJECTSTORECONFIG_SECRETACCESSKEY": KEYS["secret-key"],
        "KUBEFLOW_USERID_HEADER": "kubeflow-userid",
        "KUBEFLOW_USERID_PREFIX": "",
        "MULTIUSER": "true",
        "POD_NAMESPACE": "shop",
        "DEFAULTPIPELINERUNNERSERVICEACCOUNT": "default-editor",
        "ML_PIPELINE_SERVICE_NAME": "kfp-api--serving",
        "METADATA_SERVICE_NAME": "metadata",
        "V2_DRIVER_IMAGE": "ghcr.io/kubeflow/kfp-driver:2.16.0",
        "V2_LAUNCHER_IMAGE": "ghcr.io/kubeflow/kfp-launcher:2.16.0",
        "CACHEENABLED": "true",
    }
    assert {key: environment.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    "related, value",
    [
        ([], ("localhost", "9")),
        ([address("visualization", 8888)], ("visualization.shop", "8888")),
    ],
)
def test_visualizations_have_an_address_in_any_case_as_it_aborts_without(charm, related, value):
    environment = charm.environment(charm.settled(*related))
    name = "ML_PIPELINE_VISUALIZATIONSERVER_SERVICE"
    assert (environment[f"{name}_HOST"], environment[f"{name}_PORT"]) == value
    # what the server makes of it for a request that names a namespace
    name, port = (environment[f"VISUALIZATIONSERVICE_{each}"] for each in ("NAME", "PORT"))
    url = urllib.parse.urlsplit(f"http://{name}.ann:{port}")
    assert (url.hostname, str(url.port), url.path) == (*value, "/")


def test_options_reach_the_server(charm):
    given = {
        "cache": False,
        "log-level": "debug",
        "update-default-version": False,
        "registry": "r.local/k",
    }
    out = charm.settled(config=given)
    environment = charm.environment(out)
    assert "--logLevel=debug" in charm.service(out).command
    assert environment["CACHEENABLED"] == "false"
    assert environment["AUTO_UPDATE_PIPELINE_DEFAULT_VERSION"] == "false"
    assert environment["V2_DRIVER_IMAGE"] == "r.local/k/kubeflow/kfp-driver:2.16.0"


def test_a_wrong_option_blocks(charm):
    out = charm.settled(config={"log-level": "loud"})
    assert out.unit_status.message.startswith("config log-level=loud: must be one of")


def test_ml_metadata_has_to_be_in_the_same_model(charm):
    elsewhere = relation("metadata", "mlmd", version="1", host="mlmd.other.svc", port="8080")
    out = charm.settled(elsewhere)
    assert out.unit_status == testing.BlockedStatus(
        "mlmd.other.svc is not in model shop: deploy it beside the API server"
    )


# identity


def test_the_front_takes_the_identity_header_from_what_runs_send(charm):
    out = charm.settled()
    assert charm.service(out, "front").command == "/usr/local/bin/envoy -c /tmp/envoy.yaml"
    resources = yaml.safe_load(charm.file(out, "/tmp/envoy.yaml", "front"))["static_resources"]
    (listener,), (cluster,) = resources["listeners"], resources["clusters"]
    assert listener["address"]["socket_address"]["port_value"] == 8887
    (manager,) = listener["filter_chains"][0]["filters"]
    (host,) = manager["typed_config"]["route_config"]["virtual_hosts"]
    assert host["request_headers_to_remove"] == ["kubeflow-userid"]
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert endpoint["endpoint"]["address"]["socket_address"] == {
        "address": "127.0.0.1",
        "port_value": 8886,
    }


def test_tenants_reach_the_front_only(charm):
    out = charm.settled(relation("kfp-api", "kfp-ui"))
    own, tenants = charm.manifest(out, "NetworkPolicy")["spec"]["ingress"]
    assert own == {
        "from": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "kfp-ui"}}}]
    }
    assert [each["port"] for each in tenants["ports"]] == [8887]
    assert tenants["from"] == [
        {"namespaceSelector": {"matchLabels": {"app.kubernetes.io/part-of": "kubeflow-profile"}}}
    ]


def test_the_port_without_a_front_is_not_in_the_service(charm):
    out = charm.settled()
    assert {each.port for each in out.opened_ports} == {8888, 8887}


# what others get


def test_it_asks_for_a_folder_for_each_tenant_where_runs_put_their_artifacts(charm):
    out = charm.settled()
    folder = charm.published(out, "object-store")["tenants"]
    launcher, *_ = charm.tenant_manifests(out)
    assert f"/{folder}/$(tenant)/" in launcher["data"]["defaultPipelineRoot"]


def test_it_passes_the_bucket_on(charm):
    argo = relation("artifacts", "argo-controller", bucket="any", requested_secrets="[]")
    out = charm.settled(argo)
    told = dict(charm.published(out, "artifacts"))
    uri = told.pop("secret-extra")
    assert told == {
        "bucket": "b",
        "endpoint": "http://object-store:7070",
        "region": "us-east-1",
        "s3-uri-style": "path",
    }
    (secret,) = [each for each in out.secrets if each.id == uri]
    assert secret.latest_content == KEYS


def test_it_passes_a_prefix_and_a_ca_on(charm):
    given, keys = bucket("object-store")
    data = {**given.remote_app_data, "path": "/ml/", "tls-ca-chain": '["CA"]'}
    argo = relation("artifacts", "argo-controller", bucket="any")
    out = charm.settled(argo, dataclasses.replace(given, remote_app_data=data), secrets=[keys])
    told = charm.published(out, "artifacts")
    assert (told["path"], told["tls-ca-chain"]) == ("ml", '["CA"]')


def test_it_says_where_it_answers(charm):
    out = charm.settled(relation("kfp-api", "kfp-ui"))
    told = charm.published(out, "kfp-api")
    assert (
        f"{told['scheme']}://{told['host']}:{told['port']}"
        == "http://kfp-api--serving.shop.svc.cluster.local:8888"
    )


def test_each_tenants_artifacts_have_a_folder_of_their_own(charm):
    launcher, metadata = charm.tenant_manifests(charm.settled())
    assert launcher["metadata"]["name"] == "kfp-launcher"
    assert (
        launcher["data"]["defaultPipelineRoot"]
        == "minio://b/private-artifacts/$(tenant)/v2/artifacts"
    )
    provider = json.loads(launcher["data"]["providers"])["minio"]["default"]
    assert provider["endpoint"] == "object-store:7070"
    assert provider["disableSSL"] is True
    assert provider["credentials"]["secretRef"]["secretName"] == "mlpipeline-minio-artifact"
    assert metadata["data"] == {
        "METADATA_GRPC_SERVICE_HOST": "metadata.shop",
        "METADATA_GRPC_SERVICE_PORT": "8080",
    }


def test_no_key_goes_to_a_tenant(charm):
    objects = json.dumps(charm.tenant_manifests(charm.settled()))
    assert KEYS["access-key"] not in objects
    assert KEYS["secret-key"] not in objects


def test_users_rights_are_those_that_the_server_asks_for(charm):
    edit = charm.manifest(charm.settled(), "ClusterRole", "kfp-api-kubeflow-edit")
    assert edit["metadata"]["labels"] == {
        "rbac.authorization.kubeflow.org/aggregate-to-kubeflow-edit": "true"
    }
    (runs,) = [each for each in edit["rules"] if each["resources"] == ["runs"]]
    assert {"retry", "terminate", "archive", "reportMetrics", "readArtifact"} <= set(runs["verbs"])
    view = charm.manifest(charm.settled(), "ClusterRole", "kfp-api-kubeflow-view")
    assert {verb for rule in view["rules"] for verb in rule["verbs"]} == {
        "get",
        "list",
        "readArtifact",
    }


def test_an_action_without_a_token_says_so(charm):
    with pytest.raises(testing.ActionFailed, match="has no ServiceAccount token"):
        charm.act("list-runs", charm.settled())


def test_an_action_refuses_an_id_that_is_none(charm):
    with pytest.raises(testing.ActionFailed, match=r"run-id=\.\./x: must match"):
        charm.act("retry", charm.settled(), run_id="../x")


def test_it_speaks_tls_to_a_database_whose_ca_it_is_told(charm):
    plain = charm.environment(charm.settled())
    assert not {"DBCONFIG_MYSQLCONFIG_EXTRAPARAMS", "SSL_CERT_DIR"} & plain.keys()
    given, user = database("database", ca="a CA")
    out = charm.settled(given, secrets=[user])
    environment = charm.environment(out)
    assert json.loads(environment["DBCONFIG_MYSQLCONFIG_EXTRAPARAMS"]) == {"tls": "true"}
    assert environment["SSL_CERT_DIR"] == "/etc/ssl/certs:/tmp/database-ca"
    assert charm.file(out, "/tmp/database-ca/ca.pem") == "a CA"
    assert json.loads(charm.file(out, "/tmp/sample_config.json"))["pipelines"] == []


def private_store(**data: str):
    """A store elsewhere, and the secret of its keys."""
    given, keys = bucket("object-store")
    return dataclasses.replace(given, remote_app_data={**given.remote_app_data, **data}), keys


def test_it_trusts_the_ca_of_the_store_beside_the_database_s(charm):
    store, keys = private_store(**{"tls-ca-chain": '["a CA", "its root"]'})
    out = charm.settled(store, secrets=[keys])
    assert charm.environment(out)["SSL_CERT_DIR"] == "/etc/ssl/certs:/tmp/object-store-ca"
    assert charm.file(out, "/tmp/object-store-ca/ca.pem") == "a CA\nits root\n"
    given, user = database("database", ca="a CA")
    both = charm.environment(charm.settled(store, given, secrets=[keys, user]))
    folders = "/etc/ssl/certs:/tmp/database-ca:/tmp/object-store-ca"
    assert both["SSL_CERT_DIR"] == folders


def test_pipelines_lie_below_the_prefix_that_the_store_gave(charm):
    assert "OBJECTSTORECONFIG_PIPELINEPATH" not in charm.environment(charm.settled())
    store, keys = private_store(path="/ml/")
    environment = charm.environment(charm.settled(store, secrets=[keys]))
    assert environment["OBJECTSTORECONFIG_PIPELINEPATH"] == "ml/pipelines"
