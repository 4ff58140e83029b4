"""MLflow: every status and action, by state transitions."""

from __future__ import annotations

import dataclasses
import fnmatch
import importlib.util
import json
import sys
from pathlib import Path

import ops
import pytest
import yaml
from ops import testing

CHARM = Path(__file__).parents[2]
META = yaml.safe_load((CHARM / "charmcraft.yaml").read_text())


@pytest.fixture
def context(monkeypatch):
    """A context of the charm, with the modules beside it, as only its own dispatch sees them."""
    monkeypatch.syspath_prepend(str(CHARM / "src"))
    monkeypatch.delitem(sys.modules, "server", raising=False)
    spec = importlib.util.spec_from_file_location("mlflow_charm", CHARM / "src/charm.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    keys = ("name", "containers", "resources", "requires", "provides", "peers")
    yield testing.Context(
        module.MLflow,
        meta={key: META[key] for key in keys},
        config=META["config"],
        actions=META["actions"],
        charm_root=CHARM,
    )
    sys.modules.pop("server", None)


USER = testing.Secret({"username": "relation-1", "password": "p@/w"})
KEYS = testing.Secret({"access-key": "relation-2", "secret-key": "s3cret"})
DATABASE = testing.Relation(
    "database",
    id=1,
    remote_app_name="mariadb",
    remote_app_data={"endpoints": "db:3306", "secret-user": USER.id, "database": "mlflow"},
)
STORE = testing.Relation(
    "object-store",
    id=2,
    remote_app_name="object-store",
    remote_app_data={
        "bucket": "m-mlflow",
        "endpoint": "http://store:7070",
        "secret-extra": KEYS.id,
        "s3-uri-style": "path",
    },
)


def box(stdout: str = "", code: int = 0, connected: bool = True) -> testing.Container:
    run = testing.Exec(["/usr/bin/env", "python3", "-"], stdout=stdout, return_code=code)
    return testing.Container("mlflow", can_connect=connected, execs={run})


def state(*relations, container=None, peer=None, leader=True, secrets=(USER, KEYS), config=None):
    peers = testing.PeerRelation("peers", id=9, local_app_data=peer or {})
    return testing.State(
        leader=leader,
        relations=[*(relations or (DATABASE, STORE)), peers],
        containers=[container or box()],
        secrets=secrets,
        config=config or {},
        model=testing.Model(name="mlops"),
    )


def test_runs(context):
    out = context.run(context.on.config_changed(), state())
    assert out.unit_status == testing.ActiveStatus()
    assert out.opened_ports == {testing.TCPPort(5000)}
    assert out.workload_version == "3.17.2"
    service = out.get_container("mlflow").plan.services["mlflow"]
    uri = "mysql+pymysql://relation-1:p%40%2Fw@db:3306/mlflow"
    assert service.environment["MLFLOW_BACKEND_STORE_URI"] == uri
    assert service.environment["MLFLOW_ARTIFACTS_DESTINATION"] == "s3://m-mlflow"
    assert service.environment["MLFLOW_S3_ENDPOINT_URL"] == "http://store:7070"
    assert service.environment["AWS_SECRET_ACCESS_KEY"] == "s3cret"
    assert service.environment["MLFLOW_DISABLE_TELEMETRY"] == "true"  # its pages' too
    hosts = service.environment["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert {"mlflow:*", "mlflow.mlops.svc.cluster.local:*", "localhost:*"} < set(hosts)
    assert "mlflow--serving.mlops.svc.cluster.local:*" in hosts
    assert "*" not in hosts
    assert "p%40" not in service.command
    assert "s3cret" not in service.command
    assert out.get_relation(9).local_app_data == {"schema": "3.17.2"}
    asked = out.get_relation(1).local_app_data
    assert asked["database"] == "mlflow"
    assert "password" in json.loads(asked["requested-secrets"])
    assert out.get_relation(2).local_app_data["bucket"] == "mlops-mlflow"


def encrypted(ca: str = "a CA") -> testing.Relation:
    data = {**DATABASE.remote_app_data, "tls": "True", "tls-ca": ca}
    return testing.Relation("database", id=1, remote_app_name="mariadb", remote_app_data=data)


def test_it_speaks_tls_to_a_database_whose_ca_it_is_told(context):
    out = context.run(context.on.config_changed(), state(encrypted(), STORE))
    assert out.unit_status == testing.ActiveStatus()
    service = out.get_container("mlflow").plan.services["mlflow"]
    uri = "mysql+pymysql://relation-1:p%40%2Fw@db:3306/mlflow?ssl_ca=/tmp/database-ca/ca.pem"
    assert service.environment["MLFLOW_BACKEND_STORE_URI"] == uri
    files = out.get_container("mlflow").get_filesystem(context)
    assert (files / "tmp/database-ca/ca.pem").read_text() == "a CA"
    other = context.run(context.on.config_changed(), state(encrypted("another"), STORE))
    again = other.get_container("mlflow").plan.services["mlflow"].environment
    assert again != service.environment  # which restarts it


def elsewhere(**data: str) -> testing.Relation:
    """A store of somebody else's."""
    told = {**STORE.remote_app_data, **data}
    return testing.Relation("object-store", id=2, remote_app_name="s3", remote_app_data=told)


def test_without_a_ca_of_the_store_there_is_no_name_of_one(context):
    out = context.run(context.on.config_changed(), state(DATABASE, elsewhere()))
    environment = out.get_container("mlflow").plan.services["mlflow"].environment
    assert "AWS_CA_BUNDLE" not in environment  # boto3 refuses an empty one


def test_it_trusts_the_ca_of_a_store(context):
    store = elsewhere(**{"tls-ca-chain": '["a CA", "its root"]'})
    out = context.run(context.on.config_changed(), state(DATABASE, store))
    assert out.unit_status == testing.ActiveStatus()
    environment = out.get_container("mlflow").plan.services["mlflow"].environment
    files = out.get_container("mlflow").get_filesystem(context)
    assert (files / environment["AWS_CA_BUNDLE"][1:]).read_text() == "a CA\nits root\n"
    other = elsewhere(**{"tls-ca-chain": '["another"]'})
    again = context.run(context.on.config_changed(), state(DATABASE, other))
    service = again.get_container("mlflow").plan.services["mlflow"]
    assert service.environment != environment  # which restarts it


def test_artifacts_lie_below_the_prefix_that_the_store_gave(context):
    given = state(DATABASE, elsewhere(path="/ml/flow/"))
    out = context.run(context.on.config_changed(), given)
    environment = out.get_container("mlflow").plan.services["mlflow"].environment
    assert environment["MLFLOW_ARTIFACTS_DESTINATION"] == "s3://m-mlflow/ml/flow"


@pytest.mark.parametrize("action", ["upgrade-database", "gc"])
def test_the_other_commands_have_the_ca_too(context, action):
    tables = box(stdout="deleted")
    store = elsewhere(**{"tls-ca-chain": '["the store\'s"]'})
    given = state(encrypted(), store, peer={"schema": "3.10.0"}, container=tables)
    out = context.run(context.on.action(action), given)
    uris = [
        call.environment["MLFLOW_BACKEND_STORE_URI"] for call in context.exec_history["mlflow"]
    ]
    assert all(uri.endswith("?ssl_ca=/tmp/database-ca/ca.pem") for uri in uris)
    assert uris
    files = out.get_container("mlflow").get_filesystem(context)
    assert (files / "tmp/database-ca/ca.pem").read_text() == "a CA"
    assert (files / "tmp/object-store-ca/ca.pem").read_text() == "the store's\n"


def plain(**fields) -> testing.Relation:
    return testing.Relation("object-store", id=2, remote_app_data=fields)


def test_reads_the_plain_keys_of_older_providers(context):
    store = plain(**{"bucket": "b", "access-key": "a", "secret-key": "s", "region": "eu"})
    out = context.run(context.on.config_changed(), state(DATABASE, store))
    environment = out.get_container("mlflow").plan.services["mlflow"].environment
    assert environment["AWS_ACCESS_KEY_ID"] == "a"
    assert environment["AWS_DEFAULT_REGION"] == "eu"
    assert "MLFLOW_S3_ENDPOINT_URL" not in environment


@pytest.mark.parametrize(
    "relations, status",
    [
        (
            (STORE,),
            testing.BlockedStatus(
                "no relation database: juju integrate mlflow:database "
                "with an application that provides mysql_client"
            ),
        ),
        (
            (DATABASE,),
            testing.BlockedStatus(
                "no relation object-store: juju integrate mlflow:object-store "
                "with an application that provides s3"
            ),
        ),
        (
            (testing.Relation("database", id=21, remote_app_name="mariadb"), STORE),
            testing.WaitingStatus("waiting for mariadb to give a database"),
        ),
        (
            (DATABASE, testing.Relation("object-store", id=22, remote_app_name="minio")),
            testing.WaitingStatus("waiting for minio to give a bucket"),
        ),
    ],
)
def test_inputs_that_are_missing(context, relations, status):
    out = context.run(context.on.config_changed(), state(*relations))
    assert out.unit_status == status
    assert not out.get_container("mlflow").plan.services


def test_secret_that_is_not_granted_yet(context):
    out = context.run(context.on.config_changed(), state(secrets=[]))
    assert out.unit_status == testing.WaitingStatus("waiting for mariadb to grant its secret")


def test_waits_for_the_container(context):
    out = context.run(context.on.config_changed(), state(container=box(connected=False)))
    assert out.unit_status == testing.WaitingStatus("waiting for container mlflow")


@pytest.mark.parametrize(
    "config, message",
    [
        (
            {"log-level": "loud"},
            "config log-level=loud: must be one of debug, info, warning, error",
        ),
        (
            {"workers": 0},
            "config workers=0: must be from 1 to 64: juju config mlflow --reset workers",
        ),
    ],
)
def test_wrong_config(context, config, message):
    out = context.run(context.on.config_changed(), state(config=config))
    assert out.unit_status == testing.BlockedStatus(message)


def test_followers_wait_for_the_tables(context):
    out = context.run(context.on.config_changed(), state(leader=False))
    message = "waiting for the leader to prepare the database"
    assert out.unit_status == testing.WaitingStatus(message)
    ready = state(leader=False, peer={"schema": "3.17.2"})
    out = context.run(context.on.config_changed(), ready)
    assert out.unit_status == testing.ActiveStatus()


def revisions(current: str, head: str, *, known: bool) -> testing.Container:
    found = {"current": current, "head": head, "known": known}
    return box(stdout=f"a warning of a library\n{json.dumps(found)}\n")


@pytest.mark.parametrize(
    ("version", "container", "message"),
    [
        (
            "3.10.0",
            revisions("a", "b", known=True),
            "database fits MLflow 3.10.0: back it up, then: juju run mlflow/0 upgrade-database",
        ),
        (
            "3.18.0",
            revisions("c", "b", known=False),
            "database is newer than MLflow 3.17.2: refresh to 3.18.0 or later",
        ),
    ],
)
def test_tables_of_another_version_block(context, version, container, message):
    before = state(peer={"schema": version}, container=container)
    out = context.run(context.on.config_changed(), before)
    assert out.unit_status == testing.BlockedStatus(message)
    assert not out.get_container("mlflow").plan.services


@pytest.mark.parametrize("leader", [True, False])
def test_a_version_with_the_same_tables_just_goes_on(context, leader):
    same = revisions("b", "b", known=True)
    before = state(peer={"schema": "3.17.1"}, container=same, leader=leader)
    out = context.run(context.on.config_changed(), before)
    assert out.unit_status == testing.ActiveStatus()
    kept = "3.17.2" if leader else "3.17.1"
    assert out.get_relation(9).local_app_data == {"schema": kept}


def test_a_database_that_does_not_answer_is_waited_for(context):
    before = state(peer={"schema": "3.10.0"}, container=box(code=1))
    out = context.run(context.on.config_changed(), before)
    assert out.unit_status.name == "waiting"


def test_upgrade_database(context):
    old = state(peer={"schema": "3.10.0"})
    out = context.run(context.on.action("upgrade-database"), old)
    assert context.action_results == {"schema": "3.17.2"}
    assert out.get_relation(9).local_app_data == {"schema": "3.17.2"}
    assert out.unit_status == testing.ActiveStatus()
    (call,) = context.exec_history["mlflow"]
    assert call.environment["MLFLOW_BACKEND_STORE_URI"].startswith("mysql+pymysql://")
    assert "p%40" not in " ".join(call.command) + str(call.stdin)


def test_a_unit_that_was_replaced_before_the_leader_upgrades_the_database(context):
    old = state(leader=False, peer={"schema": "3.10.0"}, container=revisions("b", "b", known=True))
    out = context.run(context.on.action("upgrade-database"), old)
    assert context.action_results == {"schema": "3.17.2"}
    assert out.unit_status == testing.ActiveStatus()
    assert out.get_relation(9).local_app_data == {"schema": "3.10.0"}  # the leader's to write


def test_one_unit_alone_upgrades_the_database(context):
    old = state(peer={"schema": "3.10.0"}, container=revisions("a", "b", known=True))
    old = dataclasses.replace(old, planned_units=3)
    with pytest.raises(testing.ActionFailed, match="run this on mlflow/2"):
        context.run(context.on.action("upgrade-database"), old)
    out = context.run(context.on.config_changed(), old)
    assert out.unit_status.message.endswith("juju run mlflow/2 upgrade-database")


def test_upgrade_that_fails_keeps_the_unit_blocked(context):
    old = state(peer={"schema": "3.10.0"}, container=box(code=1))
    with pytest.raises(testing.ActionFailed, match="exit code 1") as failure:
        context.run(context.on.action("upgrade-database"), old)
    kept = failure.value.state
    assert isinstance(kept, testing.State)
    assert kept.get_relation(9).local_app_data == {"schema": "3.10.0"}


def test_gc(context):
    said = "WARNING of a library\nRun with ID a1 has been permanently deleted.\n"
    context.run(context.on.action("gc"), state(container=box(stdout=said)))
    assert context.action_results == {"count": "1", "deleted": {"1": "Run a1"}}
    (call,) = context.exec_history["mlflow"]
    assert "'30d'" in call.stdin
    bad = context.on.action("gc", params={"older-than": "1d; rm"})
    with pytest.raises(testing.ActionFailed, match="give days"):
        context.run(bad, state())


def test_get_artifact_location(context):
    context.run(context.on.action("get-artifact-location"), state())
    assert context.action_results == {"uri": "s3://m-mlflow", "endpoint": "http://store:7070"}


def test_metrics_and_dashboard(context):
    scrape = testing.Relation("metrics-endpoint", id=5)
    grafana = testing.Relation("grafana-dashboard", id=6)
    out = context.run(context.on.config_changed(), state(DATABASE, STORE, scrape, grafana))
    data = out.get_relation(5).local_app_data
    (job,) = json.loads(data["scrape_jobs"])
    assert job["static_configs"] == [{"targets": ["*:5000"]}]
    (group,) = json.loads(data["alert_rules"])["groups"]
    assert all('juju_application="mlflow"' in rule["expr"] for rule in group["rules"])
    assert "%%" not in data["alert_rules"]
    assert "prometheus_scrape_unit_address" in out.get_relation(5).local_unit_data
    templates = json.loads(out.get_relation(6).local_app_data["dashboards"])["templates"]
    assert list(templates) == ["file:mlflow"]


@pytest.mark.parametrize("unit", [0, 11])
def test_prometheus_may_ask_each_unit_by_the_name_that_it_is_told(charm, unit):
    out = charm.settled(testing.Relation("metrics-endpoint"))
    (metrics,) = out.get_relations("metrics-endpoint")
    told = metrics.local_unit_data["prometheus_scrape_unit_address"]
    host = told.replace("mlflow-0.", f"mlflow-{unit}.") + ":5000"
    allowed = charm.environment(out)["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    # MLflow compares the whole header, by fnmatch where there is a *
    assert any(fnmatch.fnmatch(host, pattern) for pattern in allowed)
    assert not any(fnmatch.fnmatch(f"{told}.example.com:5000", each) for each in allowed)


def test_server_that_does_not_answer(context):
    first = context.run(context.on.config_changed(), state())
    container = first.get_container("mlflow")
    down = {
        testing.CheckInfo(
            "mlflow-start",
            status=ops.pebble.CheckStatus.DOWN,
            threshold=1,
            failures=1,
            startup=ops.pebble.CheckStartup.DISABLED,
        ),
        testing.CheckInfo("mlflow", level=ops.pebble.CheckLevel.READY),
    }
    slow = testing.Container(
        "mlflow",
        can_connect=True,
        layers=container.layers,
        service_statuses=container.service_statuses,
        check_infos=down,
    )
    out = context.run(context.on.update_status(), state(container=slow))
    assert out.unit_status == testing.WaitingStatus("waiting for mlflow to answer")
    assert out.get_relation(9).local_app_data == {}


def test_actions_take_no_unknown_parameters():
    for name, action in META["actions"].items():
        assert action["additionalProperties"] is False, name


def gateway(url: str = "") -> testing.Relation:
    data = {"url": url} if url else {}
    return testing.Relation("gateway", id=5, remote_app_name="gateway", remote_app_data=data)


def test_the_gateway_shows_it_to_who_is_logged_in(context):
    links = testing.Relation("dashboard-links", id=6, remote_app_name="dashboard")
    out = context.run(context.on.config_changed(), state(DATABASE, STORE, gateway(), links))
    assert out.unit_status == testing.ActiveStatus()
    (route,) = json.loads(out.get_relation(5).local_app_data["routes"])
    assert (route["prefix"], route["rewrite"], route["access"]) == ("/mlflow/", "/", "user")
    assert (route["host"], route["port"]) == ("mlflow.mlops.svc.cluster.local", 5000)
    (link,) = json.loads(out.get_relation(6).local_app_data["dashboard_links"])
    assert (link["text"], link["link"]) == ("MLflow", "/mlflow/")


def test_the_gateway_s_name_is_allowed_as_host_and_as_origin(context):
    config = {"cors-allowed-origins": "https://notebooks.example.org"}
    door = gateway("https://ml.example.com:8443")
    out = context.run(context.on.config_changed(), state(DATABASE, STORE, door, config=config))
    environment = out.get_container("mlflow").plan.services["mlflow"].environment
    assert "ml.example.com:8443" in environment["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert environment["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"].split(",") == [
        "https://ml.example.com:8443",
        "https://notebooks.example.org",
    ]
