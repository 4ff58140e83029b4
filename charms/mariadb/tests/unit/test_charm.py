"""MariaDB: every status, action and SQL statement, by state transitions."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from ops import testing

CHARM = Path(__file__).parents[2]
META = yaml.safe_load((CHARM / "charmcraft.yaml").read_text())
CLIENT = ["/usr/bin/mariadb", "--defaults-file=/etc/mysql/charm.cnf"]
SQL = [*CLIENT, "--batch", "--skip-column-names"]
STARTED = {".charmed-mlops-version": "10.11.19\n", "mysql_upgrade_info": "10.11.19-MariaDB"}
BACKUP = {"backup": "20261124T031500Z", "size": "42", "databases": "mlflow", "sha256": "abc"}


@pytest.fixture
def charm_type(monkeypatch):
    """The charm, with the modules beside it, as only its own dispatch sees them."""
    names = ("server", "accounts", "backups", "actions")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(CHARM / "src"))
    spec = importlib.util.spec_from_file_location("mariadb_charm", CHARM / "src/charm.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module.MariaDB
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def context(charm_type) -> testing.Context:
    keys = ("name", "containers", "resources", "storage", "provides", "requires")
    return testing.Context(
        charm_type,
        meta={key: META[key] for key in keys},
        config=META["config"],
        actions=META["actions"],
        charm_root=CHARM,
        unit_id=0,
    )


def execs(sql: str = "", shell: str = "", code: int = 0):
    return {
        testing.Exec(SQL, stdout=sql, return_code=code, stderr="ERROR 2002: no server" * code),
        testing.Exec(["/bin/bash"], stdout=shell),
        testing.Exec(["/usr/bin/chown"]),
    }


def container(tmp_path: Path, data: Mapping[str, str] | None = None, **kwargs):
    """The server's container; `data` is what its start script has written beside the data."""
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "backups").mkdir(exist_ok=True)
    for name, text in (STARTED if data is None else data).items():
        (tmp_path / "data" / name).write_text(text)
    return testing.Container(
        "mariadb",
        can_connect=True,
        execs=execs(**kwargs),
        mounts={
            "data": testing.Mount(location="/var/lib/mysql", source=tmp_path / "data"),
            "backups": testing.Mount(location="/var/backups/mariadb", source=tmp_path / "backups"),
        },
    )


def run(
    context, event, tmp_path, leader=True, config=None, relations=(), secrets=(), planned_units=1,
    **kwargs,
):  # fmt: skip
    """One event; returns the state after it and the statements that the server got."""
    box = container(tmp_path, **kwargs)
    state = testing.State(
        leader=leader,
        planned_units=planned_units,
        containers=[box],
        config=config or {},
        relations=relations,
        secrets=secrets,
        storages=[testing.Storage("database"), testing.Storage("backups")],
    )
    out = context.run(event, state)
    history = context.exec_history.get("mariadb", [])
    return out, "".join(call.stdin or "" for call in history if call.command == SQL)


def root(password="secret-of-root") -> testing.Secret:
    return testing.Secret({"username": "root", "password": password}, label="root", owner="app")


def certificate(context, tmp_path) -> testing.Secret:
    """What the leader has made."""
    out, _ = run(context, context.on.config_changed(), tmp_path)
    return out.get_secret(label="serving-certificate")


def test_waits_for_the_container(context):
    state = testing.State(leader=True, containers=[testing.Container("mariadb")])
    out = context.run(context.on.config_changed(), state)
    assert out.unit_status == testing.WaitingStatus("waiting for container mariadb")


def test_first_start(context, tmp_path):
    out, sql = run(context, context.on.config_changed(), tmp_path)
    assert out.unit_status == testing.ActiveStatus()
    assert out.workload_version == "10.11.19"
    assert out.opened_ports == {testing.TCPPort(3306)}
    password = out.get_secret(label="root").tracked_content["password"]
    assert f"PASSWORD('{password}')" in sql
    calls = [call.command for call in context.exec_history["mariadb"]]
    assert all(password not in " ".join(call) for call in calls)
    service = out.get_container("mariadb").plan.services["mariadb"]
    assert password not in str(service.to_dict())
    script, data, config, _ = service.command.split()[1:]
    assert (service.command.split()[0], data) == ("/bin/bash", "/var/lib/mysql")
    files = out.get_container("mariadb").get_filesystem(context)
    assert "max-connections = 200" in (files / config.lstrip("/")).read_text()
    assert "exec" in (files / script.lstrip("/")).read_text()


def commands(context) -> list[list[str]]:
    """What was run in the container since the last event began."""
    return [call.command for call in context.exec_history.get("mariadb", [])]


def test_a_hook_that_changes_nothing_runs_no_command(context, tmp_path):
    asks = relation()
    first, sql = run(
        context, context.on.relation_changed(asks), tmp_path, relations=[asks], secrets=[root()]
    )
    assert sql
    context.exec_history.clear()
    context.run(context.on.update_status(), first)
    assert commands(context) == []
    changed = dataclasses.replace(first, config={"max-connections": 300})
    again = context.run(context.on.config_changed(), changed)
    assert commands(context) == []
    assert again.unit_status == testing.ActiveStatus()


def test_a_new_relation_changes_nobody_else_s_account(context, tmp_path):
    one, two = (
        relation(),
        testing.Relation(
            "database", id=4, remote_app_name="katib", remote_app_data={"database": "katib"}
        ),
    )
    first, _ = run(
        context, context.on.relation_changed(one), tmp_path, relations=[one], secrets=[root()]
    )
    both = dataclasses.replace(first, relations=[*first.relations, two])
    context.exec_history.clear()
    context.run(context.on.relation_changed(two), both)
    (call,) = context.exec_history["mariadb"]
    assert "relation-4" in (call.stdin or "")
    assert "relation-3" not in (call.stdin or "")


def test_the_digests_of_accounts_show_no_password_and_are_root_s_own(context, tmp_path):
    run(context, context.on.config_changed(), tmp_path, secrets=[root("pw-of-root")])
    file = tmp_path / "data/.charmed-mlops-accounts"
    assert "pw-of-root" not in file.read_text()
    assert json.loads(file.read_text()).keys() == {"root"}
    assert file.stat().st_mode & 0o777 == 0o600


def test_data_without_digests_gets_every_account_again(context, tmp_path):
    """As after a restore, or where an older revision of the charm was."""
    first, _ = run(context, context.on.config_changed(), tmp_path, secrets=[root("pw")])
    (tmp_path / "data/.charmed-mlops-accounts").write_text("[broken")
    context.exec_history.clear()
    context.run(context.on.update_status(), first)
    assert any("PASSWORD('pw')" in (call.stdin or "") for call in context.exec_history["mariadb"])


@pytest.mark.parametrize(
    "data, status",
    [
        ({}, testing.WaitingStatus("waiting for mariadb to make its data directory")),
        (
            {**STARTED, ".charmed-mlops-upgrading": "10.6.18\n"},
            testing.WaitingStatus("upgrading the tables from 10.6.18 to 10.11.19"),
        ),
        (
            {**STARTED, ".charmed-mlops-upgrading": "10.6.18 failed\n"},
            testing.WaitingStatus(
                "the upgrade of the tables from 10.6.18 to 10.11.19 failed and is tried again: "
                "see the container's log"
            ),
        ),
        (
            {**STARTED, "mariadb_upgrade_info": "11.4.5-MariaDB"},
            testing.BlockedStatus(
                "the data is of MariaDB 11.4.5, which 10.11.19 cannot read: "
                "juju attach-resource with oci-image=IMAGE, the image it had"
            ),
        ),
    ],
)
def test_what_the_start_does_is_said_in_one_line(context, tmp_path, data, status):
    out, sql = run(context, context.on.config_changed(), tmp_path, data=data)
    assert out.unit_status == status
    assert not sql


def test_server_that_does_not_answer_yet(context, tmp_path):
    out, _ = run(context, context.on.config_changed(), tmp_path, code=1)
    assert out.unit_status.name == "waiting"
    assert "ERROR 2002" in out.unit_status.message


@pytest.mark.parametrize(
    "config, message",
    [
        ({"max-connections": 5}, "config max-connections=5: must be from 10 to 10000"),
        ({"buffer-pool-size": 1}, "config buffer-pool-size=1: must be from 16 to 65536"),
    ],
)
def test_wrong_config(context, tmp_path, config, message):
    out, _ = run(context, context.on.config_changed(), tmp_path, config=config)
    assert out.unit_status == testing.BlockedStatus(message)


def test_second_unit_is_blocked(charm_type, tmp_path):
    keys = ("name", "containers", "resources", "storage", "provides", "requires")
    context = testing.Context(
        charm_type,
        meta={key: META[key] for key in keys},
        config=META["config"],
        actions=META["actions"],
        charm_root=CHARM,
        unit_id=1,
    )
    out, _ = run(context, context.on.config_changed(), tmp_path, leader=False, planned_units=2)
    message = (
        "mariadb runs one unit: juju scale-application mariadb 1; "
        "use mysql-k8s for high availability"
    )
    assert out.unit_status == testing.BlockedStatus(message)
    assert not out.get_container("mariadb").plan.services


def test_follower_waits_for_the_root_secret(context, tmp_path):
    out, _ = run(context, context.on.config_changed(), tmp_path, leader=False, planned_units=2)
    message = "waiting for the leader to create secret root"
    assert out.unit_status == testing.WaitingStatus(message)


def relation(database: str = "mlflow") -> testing.Relation:
    return testing.Relation(
        "database", id=3, remote_app_name="mlflow", remote_app_data={"database": database}
    )


def test_relation_gets_database_user_and_secret(context, tmp_path):
    asks = relation()
    out, sql = run(
        context, context.on.relation_changed(asks), tmp_path, relations=[asks], secrets=[root()]
    )
    data = out.get_relation(3).local_app_data
    assert data["database"] == "mlflow"
    assert data["endpoints"].startswith("mariadb-0.mariadb-endpoints.")
    assert data["endpoints"].endswith(".svc.cluster.local:3306")
    secret = out.get_secret(label="database.3.user")
    assert data["secret-user"] == secret.id
    assert secret.remote_grants == {3: {"mlflow"}}
    assert secret.latest_content["username"] == "relation-3"
    password = secret.latest_content["password"]
    assert password not in json.dumps(data)
    assert "CREATE DATABASE IF NOT EXISTS `mlflow`" in sql
    assert f"ALTER USER 'relation-3'@'%' IDENTIFIED BY '{password}'" in sql
    assert "GRANT ALL PRIVILEGES ON `mlflow`.* TO 'relation-3'@'%'" in sql


def test_relation_with_an_impossible_name(context, tmp_path):
    asks = relation("x`; DROP DATABASE mysql; --")
    out, sql = run(
        context, context.on.relation_changed(asks), tmp_path, relations=[asks], secrets=[root()]
    )
    assert out.unit_status.name == "blocked"
    assert "DROP" not in sql


@pytest.mark.parametrize("delete", [False, True])
def test_relation_that_is_gone(context, tmp_path, delete):
    gone = relation()
    user = testing.Secret(
        {"username": "relation-3", "password": "x"}, label="database.3.user", owner="app"
    )
    out, sql = run(
        context,
        context.on.relation_broken(gone),
        tmp_path,
        relations=[gone],
        secrets=[root(), user],
        config={"delete-databases": delete},
        sql="relation-3\n",
    )
    assert "DROP USER IF EXISTS 'relation-3'@'%'" in sql
    assert ("DROP DATABASE" in sql) == delete
    labels = {secret.label for secret in out.secrets}
    assert labels == {"root", "serving-certificate", "certificate-in-use"}


def test_follower_drops_nobody(context, tmp_path):
    gone = relation()
    out, sql = run(
        context,
        context.on.relation_broken(gone),
        tmp_path,
        leader=False,
        relations=[gone],
        secrets=[root(), certificate(context, tmp_path)],
        sql="relation-3\n",
    )
    assert out.unit_status == testing.ActiveStatus()
    assert "DROP" not in sql


def test_get_credentials(context, tmp_path):
    run(context, context.on.action("get-credentials"), tmp_path, secrets=[root("pw")])
    assert context.action_results == {"username": "root", "password": "pw"}
    with pytest.raises(testing.ActionFailed, match="no user jane"):
        run(
            context,
            context.on.action("get-credentials", params={"username": "jane"}),
            tmp_path,
            secrets=[root()],
        )


def test_credentials_of_an_application_come_with_the_command_that_uses_them(context, tmp_path):
    asks = relation()
    out, _ = run(
        context, context.on.relation_changed(asks), tmp_path, relations=[asks], secrets=[root()]
    )
    given = {"relations": out.relations, "secrets": out.secrets}
    ask = context.on.action("get-credentials", params={"application": "mlflow"})
    run(context, ask, tmp_path, **given)
    assert context.action_results
    found = context.action_results
    assert (found["username"], found["database"], found["port"]) == (
        "relation-3",
        "mlflow",
        "3306",
    )
    host = found["host"]
    assert found["command"] == f"mariadb -h {host} -P 3306 -u relation-3 -p mlflow"
    assert found["password"] not in found["command"]
    run(context, context.on.action("list-users"), tmp_path, **given)
    assert context.action_results == {
        "count": "1",
        "users": {"1": {"application": "mlflow", "username": "relation-3", "database": "mlflow"}},
    }
    missing = context.on.action("get-credentials", params={"application": "nosuch"})
    with pytest.raises(testing.ActionFailed, match="nosuch is not related: list-users names"):
        run(context, missing, tmp_path, **given)


def test_rotate_password(context, tmp_path):
    out, sql = run(context, context.on.action("rotate-password"), tmp_path, secrets=[root("old")])
    new = out.get_secret(label="root").latest_content["password"]
    assert new != "old"
    assert f"PASSWORD('{new}')" in sql
    with pytest.raises(testing.ActionFailed, match="run this on the leader"):
        run(
            context,
            context.on.action("rotate-password"),
            tmp_path,
            leader=False,
            secrets=[root()],
        )


def test_rotate_password_of_a_relation(context, tmp_path):
    user = testing.Secret(
        {"username": "relation-3", "password": "x"}, label="database.3.user", owner="app"
    )
    event = context.on.action("rotate-password", params={"username": "relation-3"})
    asks = dataclasses.replace(relation(), local_app_data={"database": "mlflow"})
    out, sql = run(context, event, tmp_path, relations=[asks], secrets=[root(), user])
    new = out.get_secret(label="database.3.user").latest_content["password"]
    assert f"ALTER USER 'relation-3'@'%' IDENTIFIED BY '{new}'" in sql


def test_actions_know_a_user_of_version_1_of_the_interface(context, tmp_path):
    user = testing.Secret(
        {"username": "relation-3", "password": "x"}, label="database.3.user", owner="app"
    )
    entry = {"resource": "shop", "request-id": "f384c3e3", "salt": "JCHo97"}
    fields = {"version": "v1", "requests": json.dumps([entry])}
    given = {
        "relations": [
            dataclasses.replace(relation(), remote_app_data=fields, local_app_data=fields)
        ],
        "secrets": [root(), user],
    }
    run(context, context.on.action("list-users"), tmp_path, **given)
    assert context.action_results["users"]["1"]["database"] == "shop"
    ask = context.on.action("get-credentials", params={"application": "mlflow"})
    run(context, ask, tmp_path, **given)
    assert context.action_results["database"] == "shop"
    rotate = context.on.action("rotate-password", params={"username": "relation-3"})
    _, sql = run(context, rotate, tmp_path, **given)
    assert "ALTER USER 'relation-3'@'%' IDENTIFIED BY" in sql


def test_create_and_list_backups(context, tmp_path):
    run(
        context,
        context.on.action("create-backup"),
        tmp_path,
        sql="mlflow\nsys\n",
        shell="abc\n42\n",
    )
    made = dict(context.action_results)
    assert made["databases"] == "mlflow"
    assert (made["sha256"], made["size"], made["size-bytes"]) == ("abc", "42 B", "42")
    script = commands(context)[1][-1]
    assert "--single-transaction" in script
    assert script.endswith(".sql.gz.partial")
    run(context, context.on.action("list-backups"), tmp_path)
    assert context.action_results["backups"] == {
        "1": {
            "backup": made["backup"],
            "size": "42 B",
            "size-bytes": "42",
            "databases": "mlflow",
            "place": "storage",
        }
    }


def test_no_backups_and_nothing_to_back_up(context, tmp_path):
    run(context, context.on.action("list-backups"), tmp_path)
    assert context.action_results == {"count": "0"}
    with pytest.raises(testing.ActionFailed, match="no database to back up"):
        run(context, context.on.action("create-backup"), tmp_path, sql="mysql\nsys\n")


@pytest.mark.parametrize(
    "params, digest, message",
    [
        ({"backup": "20261124T031500Z"}, "abc", "add confirm=true"),
        ({"backup": "20200101T000000Z", "confirm": True}, "abc", "no backup 20200101T000000Z"),
        ({"backup": "../../etc/passwd", "confirm": True}, "abc", "no backup"),
        ({"backup": "20261124T031500Z", "confirm": True}, "f00", "checksum differs"),
    ],
)
def test_restore_refused(context, tmp_path, params, digest, message):
    (tmp_path / "backups").mkdir()
    (tmp_path / "backups/20261124T031500Z.json").write_text(json.dumps(BACKUP))
    with pytest.raises(testing.ActionFailed, match=message):
        run(context, context.on.action("restore", params=params), tmp_path, shell=f"{digest}\n")
    scripts = [call.command[-1] for call in context.exec_history.get("mariadb", [])]
    assert not any("gzip -dc" in script for script in scripts)


def test_restore(context, tmp_path):
    (tmp_path / "backups").mkdir()
    (tmp_path / "backups/20261124T031500Z.json").write_text(json.dumps(BACKUP))
    event = context.on.action("restore", params={"backup": BACKUP["backup"], "confirm": True})
    out, sql = run(context, event, tmp_path, shell="abc\n", secrets=[root()])
    scripts = [call.command[-1] for call in context.exec_history["mariadb"]]
    assert any("gzip -dc" in script for script in scripts)
    assert "PASSWORD('secret-of-root')" in sql  # passwords are those of the secrets again
    assert out.unit_status == testing.ActiveStatus()


def test_actions_take_no_unknown_parameters():
    for name, action in META["actions"].items():
        assert action["additionalProperties"] is False, name


def test_the_image_is_one_patch_release_and_the_readme_names_it():
    tag = META["resources"]["oci-image"]["upstream-source"].rpartition(":")[2]
    assert re.fullmatch(r"\d+\.\d+\.\d+", tag)
    assert f"MariaDB](https://mariadb.org) {tag} " in (CHARM / "README.md").read_text()


def other(application: str = "katib", database: str = "mlflow") -> testing.Relation:
    return testing.Relation(
        "database", id=2, remote_app_name=application, remote_app_data={"database": database}
    )


def test_a_database_of_one_application_is_not_given_to_another(context, tmp_path):
    owner = relation()
    first, _ = run(
        context, context.on.relation_changed(owner), tmp_path, relations=[owner], secrets=[root()]
    )
    asks = other()  # an older relation, but the owner is the one that was answered
    out = context.run(
        context.on.relation_changed(asks),
        dataclasses.replace(first, relations=[*first.relations, asks]),
    )
    assert out.unit_status == testing.BlockedStatus(
        "katib asks for database mlflow, which is mlflow's: juju remove-relation mariadb katib, "
        "or name it in the option shared-databases"
    )
    assert not out.get_relation(asks.id).local_app_data
    assert out.get_relation(owner.id).local_app_data["database"] == "mlflow"


def test_a_database_in_another_case_is_the_same(context, tmp_path):
    """So it is where the server's files lie on a folder that folds case."""
    asked = [relation(), other(database="MLflow")]
    out, _ = run(context, context.on.config_changed(), tmp_path, relations=asked, secrets=[root()])
    assert out.unit_status.name == "blocked"


def test_a_shared_database_gives_each_application_its_own_user(context, tmp_path):
    out, sql = run(
        context,
        context.on.config_changed(),
        tmp_path,
        relations=[relation(), other()],
        secrets=[root()],
        config={"shared-databases": "reports, mlflow"},
    )
    assert out.unit_status == testing.ActiveStatus()
    for user in ("relation-3", "relation-2"):
        assert f"GRANT ALL PRIVILEGES ON `mlflow`.* TO '{user}'@'%'" in sql
    users = {out.get_relation(each).local_app_data["secret-user"] for each in (2, 3)}
    assert len(users) == 2


def test_shared_databases_have_names_that_a_database_can_have(context, tmp_path):
    out, _ = run(
        context, context.on.config_changed(), tmp_path, config={"shared-databases": "a;b"}
    )
    assert out.unit_status == testing.BlockedStatus(
        "config shared-databases: no database can be named 'a;b'"
    )


def test_keep_removes_all_but_the_newest_backups(context, tmp_path):
    (tmp_path / "backups").mkdir()
    for day in ("20", "21", "22"):
        name = f"202611{day}T031500Z"
        manifest = {**BACKUP, "backup": name}
        (tmp_path / f"backups/{name}.json").write_text(json.dumps(manifest))
        (tmp_path / f"backups/{name}.sql.gz").write_text("dump")
    ask = context.on.action("create-backup", params={"keep": 2})
    run(context, ask, tmp_path, sql="mlflow\n", shell="abc\n42\n")
    left = {file.name for file in (tmp_path / "backups").glob("2026112*T031500Z*")}
    assert left == {"20261122T031500Z.json", "20261122T031500Z.sql.gz"}


def test_a_backup_is_deleted_and_an_unknown_one_is_named(context, tmp_path):
    (tmp_path / "backups").mkdir()
    (tmp_path / "backups/20261124T031500Z.json").write_text(json.dumps(BACKUP))
    run(context, context.on.action("delete-backup", params={"backup": BACKUP["backup"]}), tmp_path)
    assert not list((tmp_path / "backups").iterdir())
    again = context.on.action("delete-backup", params={"backup": BACKUP["backup"]})
    with pytest.raises(testing.ActionFailed, match="no backup 20261124T031500Z"):
        run(context, again, tmp_path)


def test_the_databases_do_not_wait_for_the_bucket(context, tmp_path):
    store, asks = testing.Relation("s3", remote_app_name="object-store"), relation()
    out, sql = run(
        context, context.on.config_changed(), tmp_path, relations=[store, asks], secrets=[root()]
    )
    assert "CREATE DATABASE IF NOT EXISTS `mlflow`" in sql
    assert out.unit_status == testing.WaitingStatus("waiting for object-store to give a bucket")
    assert out.get_relation(store.id).local_app_data["bucket"].endswith("-mariadb")
    assert out.get_relation(store.id).local_app_data["private"] == "true"
