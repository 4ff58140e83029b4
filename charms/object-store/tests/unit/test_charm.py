"""The object store: every status and action; the gateway's API against the real program."""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path

import ops
import pytest
import yaml
from ops import testing

from charmed_mlops.interfaces.manifests import unpack
from charmed_mlops.testing import loaded

CHARM = Path(__file__).parents[2]
META = yaml.safe_load((CHARM / "charmcraft.yaml").read_text())
VOLUME = Path()
ROOT = testing.Secret({"access-key": "root", "secret-key": "of-root"}, label="root", owner="app")


@pytest.fixture
def context(module, memory, monkeypatch):
    monkeypatch.setattr(module.ObjectStore, "url", memory.url)
    return make_context(module)


def make_context(module, unit: int = 0):
    keys = ("name", "containers", "resources", "storage", "requires", "provides")
    return testing.Context(
        module.ObjectStore,
        meta={key: META[key] for key in keys},
        config=META["config"],
        actions=META["actions"],
        charm_root=CHARM,
        unit_id=unit,
    )


@pytest.fixture(autouse=True)
def volume(tmp_path, monkeypatch):
    """The storage `data`, which outlives the container."""
    monkeypatch.setitem(globals(), "VOLUME", tmp_path)


def asks(
    number: int, application: str, bucket: str | None = None, **more: str
) -> testing.Relation:
    fields = {"requested-secrets": '["access-key", "secret-key"]', "lib-version": "1.0"}
    data = {**fields, **more}
    data |= {"bucket": bucket} if bucket else {}
    return testing.Relation("s3", id=number, remote_app_name=application, remote_app_data=data)


def state(*relations, secrets=(ROOT,), leader=True, config=None, connected=True, planned_units=1):
    execs = {
        testing.Exec(["/bin/mkdir"]),
        testing.Exec(["/usr/bin/du"], stdout="12\t/data/buckets/models\n"),
        testing.Exec(["/bin/df"], stdout="Filesystem\n/dev/sda 100 40 60 40% /data\n"),
    }
    return testing.State(
        leader=leader,
        planned_units=planned_units,
        relations=relations,
        secrets=secrets,
        config=config or {},
        containers=[
            testing.Container(
                "object-store",
                can_connect=connected,
                execs=execs,
                mounts={"data": testing.Mount(location="/data", source=VOLUME)},
            )
        ],
        storages=[testing.Storage("data")],
        model=testing.Model(name="mlops"),
    )


def test_waits_for_the_container(context):
    out = context.run(context.on.config_changed(), state(connected=False))
    assert out.unit_status == testing.WaitingStatus("waiting for container object-store")


def test_runs(context):
    out = context.run(context.on.config_changed(), state(secrets=()))
    assert out.unit_status == testing.ActiveStatus()
    assert out.opened_ports == {testing.TCPPort(7070)}
    (secret,) = out.secrets
    key = secret.tracked_content["secret-key"]
    service = out.get_container("object-store").plan.services["object-store"]
    assert service.environment["ROOT_SECRET_ACCESS_KEY"] == key
    assert service.environment["VGW_IAM_DIR"] == "/data/accounts"
    assert key not in service.command


def test_second_unit_is_blocked(module):
    context = make_context(module, unit=1)
    out = context.run(context.on.config_changed(), state(leader=False, planned_units=2))
    message = (
        "object-store runs one unit: juju scale-application object-store 1; "
        "use s3-integrator for high availability"
    )
    assert out.unit_status == testing.BlockedStatus(message)
    # its pod must not get a part of the Service's traffic
    (check,) = out.get_container("object-store").plan.checks.values()
    assert (check.level, check.threshold) == (ops.pebble.CheckLevel.READY, 1)


def test_gateway_that_does_not_answer(context, module, monkeypatch):
    monkeypatch.setattr(module.ObjectStore, "url", "http://127.0.0.1:1")
    out = context.run(context.on.config_changed(), state(asks(3, "mlflow")))
    assert out.unit_status.name == "waiting"
    assert "no answer" in out.unit_status.message


def test_relation_gets_account_bucket_and_secret(context, memory):
    relation = asks(3, "mlflow", "models")
    out = context.run(context.on.relation_changed(relation), state(relation))
    data = out.get_relation(3).local_app_data
    secret = out.get_secret(label="s3.3.keys")
    assert data == {
        "bucket": "models",
        "endpoint": "http://object-store-0.object-store-endpoints.mlops.svc.cluster.local:7070",
        "region": "us-east-1",
        "s3-uri-style": "path",
        "secret-extra": secret.id,
    }
    assert secret.remote_grants == {3: {"mlflow"}}
    assert memory.accounts == {"relation-3": secret.latest_content["secret-key"]}
    assert memory.buckets == {"models": "relation-3"}
    assert memory.policies == {}


def test_a_second_run_writes_nothing_new(context, memory):
    relation = asks(3, "mlflow", "models")
    first = context.run(context.on.relation_changed(relation), state(relation))
    memory.calls.clear()
    second = context.run(
        context.on.update_status(), state(*first.relations, secrets=first.secrets)
    )
    assert memory.calls == ["PATCH /list-users", "PATCH /list-buckets", "PATCH /list-buckets",
                            "GET /models?policy="]  # fmt: skip
    assert second.get_relation(3).local_app_data == first.get_relation(3).local_app_data
    (before,) = (each for each in first.secrets if each.label == "s3.3.keys")
    (after,) = (each for each in second.secrets if each.label == "s3.3.keys")
    assert after.latest_content == before.latest_content


def test_no_bucket_is_made_before_the_request_is_whole(context, memory):
    """The library writes in the first hook of a relation, and in the second one the bucket."""
    begun = asks(3, "spark", **{"lib-version": ""})
    out = context.run(context.on.relation_changed(begun), state(begun))
    assert out.unit_status == testing.ActiveStatus()
    assert out.get_relation(3).local_app_data == {}
    assert memory.buckets == memory.accounts == {}
    whole = asks(3, "spark", "events")
    context.run(context.on.relation_changed(whole), state(whole, secrets=out.secrets))
    assert memory.buckets == {"events": "relation-3"}


def test_the_prefix_that_an_application_asks_for_is_given(context):
    relation = asks(3, "spark", "events", path="/my/jobs/")
    out = context.run(context.on.relation_changed(relation), state(relation))
    assert out.get_relation(3).local_app_data["path"] == "my/jobs"


def test_one_that_reads_no_secret_is_named_and_the_others_are_served(context):
    data = {"bucket": "backups"}  # what version 0 of the library writes
    old = testing.Relation("s3", id=3, remote_app_name="pg", remote_app_data=data)
    new = asks(4, "mlflow", "models")
    out = context.run(context.on.relation_changed(old), state(old, new))
    assert out.unit_status == testing.BlockedStatus(
        "pg reads keys in relation data only, where none are: "
        "use a revision of it that knows version 1 of the interface s3"
    )
    for number in (3, 4):
        assert not {"access-key", "secret-key"} & out.get_relation(number).local_app_data.keys()
    assert out.get_relation(4).local_app_data["bucket"] == "models"


def test_a_bucket_is_never_given_to_another_application(context, memory):
    first, second = asks(3, "mlflow", "models"), asks(4, "mallory", "models")
    out = context.run(context.on.config_changed(), state(first))
    out = context.run(context.on.config_changed(), state(first, second, secrets=out.secrets))
    assert memory.buckets == {"models": "relation-3"}
    assert out.unit_status == testing.BlockedStatus(
        "bucket models is mlflow's, not mallory's: action give-bucket changes that"
    )
    assert "bucket" not in out.get_relation(4).local_app_data
    # neither when its owner has gone
    context.run(context.on.relation_broken(first), state(first, secrets=out.secrets))
    out = context.run(context.on.config_changed(), state(second, secrets=(ROOT,)))
    assert memory.buckets == {"models": "relation-3"}
    assert out.unit_status.name == "blocked"


def test_an_application_finds_its_bucket_again_after_a_new_relation(context, memory):
    first, second = asks(3, "mlflow", "models"), asks(5, "mlflow", "models")
    out = context.run(context.on.config_changed(), state(first))
    context.run(context.on.relation_broken(first), state(first, secrets=out.secrets))
    out = context.run(context.on.config_changed(), state(second))
    assert out.unit_status == testing.ActiveStatus()
    assert memory.buckets == {"models": "relation-5"}


def test_the_administrator_gives_a_bucket(context, memory):
    first, second = asks(3, "mlflow", "models"), asks(4, "serving", "models")
    out = context.run(context.on.config_changed(), state(first, second))
    give = context.on.action("give-bucket", params={"bucket": "models", "owner": "serving"})
    context.run(give, state(*out.relations, secrets=out.secrets))
    assert memory.buckets == {"models": "relation-4"}
    missing = context.on.action("give-bucket", params={"bucket": "none", "owner": "serving"})
    with pytest.raises(testing.ActionFailed, match="there is no bucket none"):
        context.run(missing, state(*out.relations, secrets=out.secrets))


def test_a_wrong_name_keeps_no_other_application_from_its_bucket(context, memory):
    relations = asks(3, "bad", "No/Such"), asks(4, "mlflow", "models")
    out = context.run(context.on.config_changed(), state(*relations))
    assert out.unit_status.name == "blocked"
    assert memory.buckets == {"models": "relation-4"}


def test_requirer_that_names_no_bucket(context, memory):
    context.run(context.on.config_changed(), state(asks(3, "mlflow")))
    assert memory.buckets == {"relation-3": "relation-3"}


def test_requirer_that_has_not_asked_yet(context, memory):
    silent = testing.Relation("s3", id=3, remote_app_name="mlflow")
    out = context.run(context.on.config_changed(), state(silent))
    assert out.unit_status == testing.ActiveStatus()
    assert (memory.accounts, memory.buckets) == ({}, {})


def test_impossible_bucket(context, memory):
    out = context.run(context.on.config_changed(), state(asks(3, "mlflow", "No/Such")))
    assert out.unit_status.name == "blocked"
    assert memory.buckets == {}


def test_readers_may_read_and_nothing_else(context, memory):
    relations = asks(3, "mlflow", "models"), asks(4, "kserve-controller", "serving")
    out = context.run(context.on.config_changed(), state(*relations))
    owner, reader = memory.policies["models"]["Statement"]
    assert owner["Principal"] == ["relation-3"]
    assert reader["Principal"] == ["relation-4"]
    assert not [right for right in reader["Action"] if "Put" in right or "*" in right]
    assert "serving" not in memory.policies  # its owner is the only reader
    again = state(*out.relations, secrets=out.secrets, config={"readers": ""})
    context.run(context.on.config_changed(), again)
    assert memory.policies == {}


def test_a_private_bucket_is_its_owner_s_alone_also_when_the_relation_has_gone(context, memory):
    reader, models = asks(4, "kserve-controller", "serving"), asks(3, "mlflow", "models")
    dumps = asks(5, "mariadb", "dumps", private="true")
    out = context.run(context.on.config_changed(), state(reader, models, dumps))
    assert set(memory.policies) == {"models"}
    dumps = out.get_relation(dumps.id)
    kept = [each for each in out.relations if each.id != dumps.id]
    out = context.run(context.on.relation_broken(dumps), state(*kept, dumps, secrets=out.secrets))
    context.run(context.on.config_changed(), state(*kept, secrets=out.secrets))
    assert "dumps" in memory.buckets
    assert set(memory.policies) == {"models"}


def test_relation_that_is_gone(context, memory):
    memory.accounts["relation-3"] = "x"
    memory.buckets["models"] = "relation-3"
    gone = asks(3, "mlflow", "models")
    keys = testing.Secret(
        {"access-key": "relation-3", "secret-key": "x"}, label="s3.3.keys", owner="app"
    )
    out = context.run(context.on.relation_broken(gone), state(gone, secrets=(ROOT, keys)))
    assert memory.accounts == {}
    assert memory.buckets == {"models": "relation-3"}  # objects outlive the relation
    assert [secret.label for secret in out.secrets] == ["root"]


def test_follower_leaves_accounts_and_secrets_alone(context, memory):
    memory.accounts["relation-3"] = "x"
    gone = asks(3, "mlflow", "models")
    out = context.run(context.on.relation_broken(gone), state(gone, leader=False))
    assert out.unit_status == testing.ActiveStatus()
    assert memory.accounts == {"relation-3": "x"}


# tenants


def named(*tenants: str, **answer) -> testing.Relation:
    """A broker that has answered something with these tenants."""
    data = {"hash": "of-before", "tenants": tenants, "problems": [], **answer}
    texts = {key: json.dumps(value) for key, value in data.items()}
    return testing.Relation(
        "manifests", id=9, remote_app_name="resource-broker", remote_app_data=texts
    )


def shares(bucket: str = "pipelines", folder: str = "private-artifacts") -> testing.Relation:
    """kfp-api, which asks for a folder for each tenant."""
    asked = asks(5, "kfp-api", bucket)
    return dataclasses.replace(asked, remote_app_data={**asked.remote_app_data, "tenants": folder})


def declared(out) -> list[dict]:
    """What the broker is asked to apply in tenants' namespaces."""
    return unpack(json.loads(out.get_relation(9).local_app_data["tenants"]))


def settled(context, *tenants: str, secrets=(ROOT,)):
    """The state once the broker has applied what it was asked for."""
    out = context.run(context.on.config_changed(), state(shares(), named(*tenants),
                                                         secrets=secrets))  # fmt: skip
    asked = json.loads(out.get_relation(9).local_app_data["hash"])
    broker = dataclasses.replace(
        out.get_relation(9), remote_app_data=named(*tenants, hash=asked).remote_app_data
    )
    again = state(out.get_relation(5), broker, secrets=out.secrets)
    return context.run(context.on.relation_changed(broker), again)


def test_each_tenant_gets_an_account_a_folder_and_a_secret(context, memory):
    out = settled(context, "alice", "bob")
    assert out.unit_status == testing.ActiveStatus()
    keys = out.get_secret(label="tenant.alice.keys").latest_content
    assert memory.accounts["tenant-alice"] == keys["secret-key"]
    assert sorted(memory.accounts) == ["relation-5", "tenant-alice", "tenant-bob"]
    owner, objects, listing, *of_bob = memory.policies["pipelines"]["Statement"]
    assert owner["Principal"] == ["relation-5"]
    assert objects["Principal"] == listing["Principal"] == ["tenant-alice"]
    assert objects["Action"] == ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    assert objects["Resource"] == ["arn:aws:s3:::pipelines/private-artifacts/alice/*"]
    assert (listing["Action"], listing["Resource"]) == (["s3:ListBucket"],
                                                        ["arn:aws:s3:::pipelines"])  # fmt: skip
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["private-artifacts/alice/*"]}}
    assert {each["Principal"][0] for each in of_bob} == {"tenant-bob"}
    alice, bob = declared(out)
    assert (alice["kind"], alice["metadata"]) == (
        "Secret", {"name": "mlpipeline-minio-artifact", "namespace": "alice"}
    )  # fmt: skip
    assert bob["metadata"]["namespace"] == "bob"
    (juju,) = (each for each in out.secrets if each.id == alice["jujuSecret"])
    content = json.loads((juju.latest_content or {})["content"])
    for access, secret in (("accesskey", "secretkey"),
                           ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")):  # fmt: skip
        assert (content[access], content[secret]) == ("tenant-alice", keys["secret-key"])
    assert content["AWS_ENDPOINT_URL"] == out.get_relation(5).local_app_data["endpoint"]
    assert keys["secret-key"] not in str([each.local_app_data for each in out.relations])


def test_a_tenant_s_new_key_is_in_the_gateway_and_in_its_namespace_at_once(context, memory):
    before = settled(context, "alice", "bob")
    old = dict(memory.accounts)
    given = state(*before.relations, secrets=before.secrets)
    out = context.run(context.on.action("rotate-keys", params={"tenant": "alice"}), given)
    assert context.action_results == {"rotated": "tenant-alice"}
    new = out.get_secret(label="tenant.alice.keys").latest_content["secret-key"]
    assert new != old["tenant-alice"]
    assert memory.accounts == {**old, "tenant-alice": new}
    (juju,) = (each for each in out.secrets if each.id == declared(out)[0]["jujuSecret"])
    assert json.loads((juju.latest_content or {})["content"])["secretkey"] == new


@pytest.mark.parametrize(
    "params, reason",
    [
        ({"tenant": "carol"}, "carol has no key: no profile has this namespace"),
        ({"tenant": "alice", "application": "kfp-api"}, "give one of application and tenant"),
    ],
)
def test_who_has_no_key_gets_no_new_one(context, memory, params, reason):
    before = settled(context, "alice")
    given = state(*before.relations, secrets=before.secrets)
    with pytest.raises(testing.ActionFailed, match=reason):
        context.run(context.on.action("rotate-keys", params=params), given)


def test_the_broker_lets_the_secrets_pass(context, memory):
    found = declared(settled(context, "alice", "123"))  # a name that YAML could take for a number
    with loaded(CHARM.parent / "resource-broker"):
        policy = importlib.import_module("policy")
        assert list(policy.Policy("object-store", "mlops").check([], found)) == []
    assert [each["metadata"]["namespace"] for each in found] == ["123", "alice"]


def test_with_tenants_a_second_run_writes_nothing(context, memory):
    before = settled(context, "alice", "bob")
    memory.calls.clear()
    after = context.run(
        context.on.update_status(), state(*before.relations, secrets=before.secrets)
    )
    assert not [call for call in memory.calls if call.startswith(("PUT", "DELETE", "POST"))]
    assert not [call for call in memory.calls if "user?" in call or "create" in call]
    for number in (5, 9):
        was, now = before.get_relation(number), after.get_relation(number)
        assert now.local_app_data == was.local_app_data
    assert {(s.label, str(s.latest_content)) for s in after.secrets} == {
        (s.label, str(s.latest_content)) for s in before.secrets
    }


def test_without_tenants_it_asks_the_broker_who_they_are(context, memory):
    silent = testing.Relation("manifests", id=9, remote_app_name="resource-broker")
    out = context.run(context.on.config_changed(), state(silent))
    assert out.unit_status == testing.WaitingStatus(
        "waiting for resource-broker to apply the cluster objects"
    )
    assert declared(out) == []  # a list, if an empty one: the broker names tenants to who has one


def test_a_tenant_that_has_gone_loses_account_rights_and_secrets(context, memory):
    before = settled(context, "alice", "bob")
    out = context.run(
        context.on.config_changed(), state(shares(), dataclasses.replace(
            before.get_relation(9), remote_app_data=named("bob").remote_app_data
        ), secrets=before.secrets),
    )  # fmt: skip
    assert sorted(memory.accounts) == ["relation-5", "tenant-bob"]
    assert "alice" not in json.dumps(memory.policies)
    assert [each["metadata"]["namespace"] for each in declared(out)] == ["bob"]
    assert not [each.label for each in out.secrets if "alice" in str(each.label)]


@pytest.mark.parametrize(
    "answer", [{"hash": None}, {"problems": [{"object": "manifests", "reason": "API"}]}]
)
def test_a_broker_that_knows_no_tenants_takes_nobody_s_account(context, memory, answer):
    before = settled(context, "alice")
    keys, policies = dict(memory.accounts), dict(memory.policies)
    unsure = dataclasses.replace(
        before.get_relation(9), remote_app_data=named(**answer).remote_app_data
    )
    out = context.run(context.on.config_changed(), state(shares(), unsure, secrets=before.secrets))
    assert (memory.accounts, memory.policies) == (keys, policies)
    assert declared(out) == declared(before)
    assert out.get_secret(label="tenant.alice.keys")


def test_without_the_relation_there_are_no_tenants(context, memory):
    before = settled(context, "alice")
    out = context.run(context.on.config_changed(), state(shares(), secrets=before.secrets))
    assert out.unit_status == testing.ActiveStatus()
    assert list(memory.accounts) == ["relation-5"]
    assert memory.policies == {}
    assert not [each.label for each in out.secrets if "alice" in str(each.label)]


def test_when_the_relation_breaks_the_tenants_lose_their_accounts_at_once(context, memory):
    before = settled(context, "alice")
    broker = before.get_relation(9)
    out = context.run(
        context.on.relation_broken(broker), state(shares(), broker, secrets=before.secrets)
    )
    assert out.unit_status == testing.ActiveStatus()
    assert list(memory.accounts) == ["relation-5"]


def test_a_bucket_whose_requirer_did_not_ask_stays_closed_to_tenants(context, memory):
    context.run(context.on.config_changed(), state(asks(3, "mlflow", "models"), named("alice")))
    assert "tenant-alice" in memory.accounts
    assert memory.policies == {}


@pytest.mark.parametrize("folder", ["*", "a/../b", "/a", "a/", "a//b", "a?", "${x}", "..", "a b"])
def test_a_folder_that_a_policy_would_take_for_more_is_refused(context, memory, folder):
    out = context.run(
        context.on.config_changed(), state(shares(folder=folder), asks(3, "mlflow", "models"))
    )
    assert out.unit_status.name == "blocked"
    assert "kfp-api asks for folder" in out.unit_status.message
    assert memory.buckets == {"models": "relation-3"}


def test_more_tenants_than_the_file_system_has_room_for(context, memory):
    memory.room = 2100
    out = settled(context, *(f"team-{number}" for number in range(9)))
    assert out.unit_status == testing.BlockedStatus(
        "bucket pipelines: no room for the rights of 9 tenants in its folder's extended "
        "attributes: move storage data to XFS"
    )
    assert out.get_relation(5).local_app_data["bucket"] == "pipelines"


def test_a_follower_makes_no_tenant_s_account(context, memory):
    context.run(context.on.config_changed(), state(named("alice"), leader=False))
    assert memory.accounts == {}


# actions


def related(context, memory):
    relation = asks(3, "mlflow", "models")
    out = context.run(context.on.relation_changed(relation), state(relation))
    return state(*out.relations, secrets=out.secrets)


def test_create_and_list_buckets(context, memory):
    before = related(context, memory)
    make = context.on.action("create-bucket", params={"bucket": "data", "owner": "mlflow"})
    context.run(make, before)
    assert context.action_results == {"created": "data"}
    assert memory.buckets["data"] == "relation-3"
    context.run(context.on.action("list-buckets"), before)
    assert context.action_results == {
        "count": "2",
        "buckets": {
            "1": {"name": "data", "owner": "mlflow"},
            "2": {"name": "models", "owner": "mlflow"},
        },
    }
    with pytest.raises(testing.ActionFailed, match="exists already"):
        context.run(make, before)


@pytest.mark.parametrize(
    "params, message",
    [
        ({"bucket": "A"}, "3 to 63 lower-case"),
        ({"bucket": "fine", "owner": "jane"}, "jane is not related"),
    ],
)
def test_create_bucket_refused(context, memory, params, message):
    with pytest.raises(testing.ActionFailed, match=message):
        context.run(context.on.action("create-bucket", params=params), state())
    assert memory.buckets == {}


def test_get_credentials(context, memory):
    context.run(context.on.action("get-credentials"), state())
    assert context.action_results["secret-key"] == "of-root"
    assert context.action_results["endpoint"].endswith(":7070")
    with pytest.raises(testing.ActionFailed, match="no keys yet"):
        context.run(context.on.action("get-credentials"), state(secrets=()))


def test_rotate_keys_of_an_application(context, memory):
    before = related(context, memory)
    old = memory.accounts["relation-3"]
    event = context.on.action("rotate-keys", params={"application": "mlflow"})
    out = context.run(event, before)
    new = out.get_secret(label="s3.3.keys").latest_content["secret-key"]
    assert new != old
    assert memory.accounts["relation-3"] == new


def test_rotate_keys_of_root(context, memory):
    out = context.run(context.on.action("rotate-keys"), state())
    new = out.get_secret(label="root").latest_content["secret-key"]
    assert new != "of-root"
    service = out.get_container("object-store").plan.services["object-store"]
    assert service.environment["ROOT_SECRET_ACCESS_KEY"] == new
    with pytest.raises(testing.ActionFailed, match="run this on the leader"):
        context.run(context.on.action("rotate-keys"), state(leader=False))


def test_usage(context, memory):
    memory.buckets["models"] = "root"
    context.run(context.on.action("usage"), state())
    assert context.action_results == {
        "count": "1",
        "buckets": {"1": {"name": "models", "size": "12.0 KiB", "size-bytes": "12288"}},
        "used": "12.0 KiB",
        "used-bytes": "12288",
        "free": "60.0 KiB",
        "free-bytes": "61440",
    }


def test_actions_take_no_unknown_parameters():
    for name, action in META["actions"].items():
        assert action["additionalProperties"] is False, name


def test_the_real_gateway(real):
    root = real()
    for number in (3, 4):
        root.keep_account(f"relation-{number}", f"secret-{number}", exists=False)
    assert root.accounts() == {"relation-3", "relation-4"}
    root.make_bucket("models", "relation-4")
    root.give_bucket("models", "relation-3")
    root.make_bucket("serving", "relation-4")
    assert root.buckets() == {"models": "relation-3", "serving": "relation-4"}
    owner, reader = real("relation-3", "secret-3"), real("relation-4", "secret-4")
    assert reader._send("GET", "/models?list-type=2")[0] == 403
    root.share(root.accounts(), ["relation-4"], {})
    assert owner._send("PUT", "/models/a/b", "hello")[0] == 200
    assert reader._send("GET", "/models/a/b") == (200, "hello")
    assert reader._send("PUT", "/models/a/b", "changed")[0] == 403
    assert owner._send("GET", "/serving?list-type=2")[0] == 403
    assert owner._send("PATCH", "/list-users")[0] == 403
    root.keep_account("relation-3", "rotated", exists=True)
    assert owner._send("GET", "/models/a/b")[0] == 403
    assert real("relation-3", "rotated")._send("GET", "/models/a/b")[0] == 200
    root.share(root.accounts(), [], {})
    assert reader._send("GET", "/models/a/b")[0] == 403
    status, text = root._send("GET", "/models?policy=")
    assert status == 404, json.dumps(text)
    root.remove_account("relation-4")
    assert root.accounts() == {"relation-3"}
