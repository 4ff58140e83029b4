"""A secret's life: added, granted, followed, revised, rotated, expired, removed."""

from __future__ import annotations

import json
import re

from localjuju.agent.tests.bench import MODEL, Bench
from localjuju.agent.tests.test_data import ACTIONS, ENDPOINTS, RUN_ACTION, _sh


async def _related(bench: Bench, owner: str = "application") -> str:
    """giver/0 adds a secret and grants it to taker over db:2."""
    script = """case $JUJU_HOOK_NAME in secret-*) echo "$JUJU_SECRET_ID $JUJU_SECRET_LABEL
      rev=$JUJU_SECRET_REVISION" >> %s;; esac; """ % (bench.state / "secrets")
    charm = bench.charm("plain", script + RUN_ACTION, actions=ACTIONS, **ENDPOINTS)
    await bench.deploy(charm, "giver", units=2)
    await bench.deploy(charm, "taker")
    bench.api.integrate(MODEL, "taker:store", "giver:db")
    await bench.until(lambda: len([h for h in bench.hooks() if "changed from" in h]) >= 6)
    await bench.idle()
    add = f"""printf 's3cret' > /tmp/{bench.state.name}-pw
      id=$(secret-add --label root --owner {owner} password#file=/tmp/{bench.state.name}-pw)
      secret-get --format=json $id >&2; secret-grant --relation 2 $id; echo $id"""
    code, stdout, stderr = await _sh(bench, "giver/0", add)
    assert (code, stderr) == (0, '{"password":"s3cret"}\n')
    uri = re.fullmatch(r"secret://([0-9a-f-]{36})/([0-9a-v]{20})\n", stdout)
    assert uri is not None
    assert bench.api.models()[0]["model-uuid"] == uri[1]
    assert (await _sh(bench, "giver/0", f"secret-info-get {stdout}"))[0] == 0
    return f"secret:{uri[2]}"


async def test_granted_and_followed(bench: Bench):
    secret = await _related(bench)
    got = await _sh(bench, "taker/0", f"secret-get --format=json {secret} --label mine")
    assert got == (0, '{"password":"s3cret"}\n', "")
    revised = f"secret-set --owner application {secret} password=second"
    assert (await _sh(bench, "giver/0", revised))[0] == 0
    await bench.until(lambda: "secret-changed" in bench.hooks("taker/0"))
    await bench.idle()
    by_label = "secret-get --format=json --label mine"
    assert (await _sh(bench, "taker/0", by_label))[1] == '{"password":"s3cret"}\n'
    assert (await _sh(bench, "taker/0", by_label + " --peek"))[1] == '{"password":"second"}\n'
    assert "secret-remove" not in bench.hooks("giver/0")
    assert (await _sh(bench, "taker/0", by_label + " --refresh"))[1] == '{"password":"second"}\n'
    await bench.until(lambda: "secret-remove" in bench.hooks("giver/0"))
    await bench.idle()
    told = (bench.state / "secrets").read_text().split()
    assert told == [secret, "mine", "rev=", secret, "root", "rev=1"]
    assert bench.hooks("taker/0").count("secret-changed") == 1
    assert "secret-remove" not in bench.hooks("giver/1")
    removed = f"secret-remove {secret} --revision 1"
    assert (await _sh(bench, "giver/0", removed))[0] == 0


async def test_followers_that_read_their_applications_secret_are_told_of_changes(bench: Bench):
    secret = await _related(bench)
    assert (await _sh(bench, "giver/1", "secret-get --format=json --label root"))[0] == 0
    assert (await _sh(bench, "giver/0", f"secret-set {secret} password=second"))[0] == 0
    await bench.until(lambda: "secret-changed" in bench.hooks("giver/1"))
    await bench.idle()
    assert (bench.state / "secrets").read_text().split()[:3] == [secret, "root", "rev="]
    assert "secret-changed" not in bench.hooks("giver/0")
    assert bench.hooks("giver/1").count("secret-changed") == 1


async def test_who_peeks_first_follows_from_then_on(bench: Bench):
    secret = await _related(bench)
    peek = await _sh(bench, "taker/0", f"secret-get --format=json {secret} --peek --label mine")
    assert peek == (0, '{"password":"s3cret"}\n', "")
    assert (await _sh(bench, "giver/0", f"secret-set {secret} password=second"))[0] == 0
    await bench.until(lambda: "secret-changed" in bench.hooks("taker/0"))
    by_label = "secret-get --format=json --label mine"
    assert (await _sh(bench, "taker/0", by_label))[1] == '{"password":"s3cret"}\n'
    assert (await _sh(bench, "taker/0", by_label + " --peek"))[1] == '{"password":"second"}\n'


async def test_refusals(bench: Bench):
    secret = await _related(bench)
    bare = secret.removeprefix("secret:")
    unknown = "secret:" + "0" * 20
    missing = await _sh(bench, "taker/0", f"secret-get --format=json {unknown}")
    assert missing == (1, "", f'ERROR secret "{"0" * 20}" not found\n')
    not_mine = await _sh(bench, "taker/0", f"secret-info-get --format=json {secret}")
    assert not_mine == (1, "", f'ERROR secret "{bare}" not found\n')
    follower = await _sh(bench, "giver/1", "secret-add --owner application abc=1")
    assert follower == (1, "", "ERROR this unit is not the leader\n")
    change = await _sh(bench, "giver/1", f"secret-set {secret} abc=1")
    assert change == (1, "", "ERROR this unit is not the leader\n")
    assert (await _sh(bench, "giver/0", f"secret-revoke --relation 2 {secret}"))[0] == 0
    denied = await _sh(bench, "taker/0", f"secret-get --format=json {secret}")
    assert denied == (1, "", "ERROR permission denied\n")
    assert await _sh(bench, "taker/0", f"secret-remove {unknown}") == (0, "", "")
    # Every unit of the owning application may read.
    assert (await _sh(bench, "giver/1", "secret-get --format=json --label root"))[0] == 0


async def test_a_failed_hook_leaves_no_secret(bench: Bench):
    await _related(bench)
    before = bench.api.secrets(MODEL)
    one = next(iter(before))
    await _sh(bench, "giver/0", f"secret-add --owner unit abc=1; secret-remove {one}; exit 1")
    assert bench.api.secrets(MODEL) == before


async def test_times_of_secrets_are_to_the_second_and_a_new_one_has_no_rotation_yet(
    bench: Bench,
):
    await bench.deploy(bench.charm("plain", RUN_ACTION, actions=ACTIONS))
    await bench.idle()
    add = """id=$(secret-add --rotate daily --expire 2040-01-01T00:00:00Z abc=1)
      echo $id; secret-info-get --format=json $id"""
    _, told, _ = await _sh(bench, "plain/0", add)
    secret, info = told.split()
    bare = secret.rpartition("/")[2]
    fresh = json.loads(info)[bare]
    assert fresh["expiry"] == "2040-01-01T00:00:00Z"
    assert "rotates" not in fresh
    _, told, _ = await _sh(bench, "plain/0", f"secret-info-get --format=json {secret}")
    to_the_second = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
    assert to_the_second.fullmatch(json.loads(told)[bare]["rotates"])
    shown = bench.api.show_secret(MODEL, secret)[bare]
    assert shown["expires"] == "2040-01-01T00:00:00Z"
    for key in ("rotates", "created", "updated"):
        assert to_the_second.fullmatch(shown[key])


async def test_rotate_and_expire(bench: Bench):
    secret = await _related(bench)
    change = f"secret-set {secret} --rotate hourly --expire 2h"
    assert (await _sh(bench, "giver/0", change))[0] == 0
    info = (await _sh(bench, "giver/0", f"secret-info-get --format=json {secret}"))[1]
    assert '"rotation":"hourly"' in info
    assert '"target":"application-taker","role":"view"' in info
    assert '"scope":"relation-taker.store#giver.db"' in info
    bench.api.jump_clock(3601)
    try:
        await bench.until(lambda: bench.hooks("giver/0").count("secret-rotate") == 1)
        await bench.idle()  # the next rotation counts from when this one was committed
        bench.api.jump_clock(3601)
        await bench.until(lambda: "secret-expired" in bench.hooks("giver/0"))
        await bench.until(lambda: bench.hooks("giver/0").count("secret-rotate") == 2)
        await bench.idle()
        assert bench.hooks("giver/0").count("secret-expired") == 1
        assert "secret-rotate" not in bench.hooks("giver/1")
    finally:
        bench.api.jump_clock(-7202)


async def test_secrets_go_with_their_owner(bench: Bench):
    await _related(bench)
    bench.api.remove_application(MODEL, "giver")
    await bench.until(lambda: "giver" not in bench.api.status(MODEL)["applications"])
    assert bench.api.secrets(MODEL) == {}


async def test_user_secret(bench: Bench):
    charm = bench.charm("plain", RUN_ACTION, actions=ACTIONS, options={"key": {"type": "secret"}})
    await bench.deploy(charm)
    await bench.idle()
    secret = bench.api.add_secret(MODEL, "api-key", {"token": "one"})
    bench.api.set_config(MODEL, "plain", {"key": secret})
    await bench.until(lambda: bench.hooks("plain/0").count("config-changed") == 2)
    get = "secret-get --format=json $(config-get key)"
    assert (await _sh(bench, "plain/0", get))[2] == "ERROR permission denied\n"
    bench.api.grant_secret(MODEL, "api-key", "plain")
    assert (await _sh(bench, "plain/0", get))[1] == '{"token":"one"}\n'
    bench.api.update_secret(MODEL, "api-key", {"token": "two"})
    await bench.until(lambda: "secret-changed" in bench.hooks("plain/0"))
    await bench.idle()
    assert (await _sh(bench, "plain/0", get + " --refresh"))[1] == '{"token":"two"}\n'
    shown = bench.api.show_secret(MODEL, "api-key", reveal=True)
    assert shown[secret.removeprefix("secret:")]["content"] == {"Data": {"token": "two"}}
