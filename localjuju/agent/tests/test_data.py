"""Who may read and write which databag, and in which words a hook command refuses."""

from __future__ import annotations

import json

from localjuju.agent.tests.bench import MODEL, Bench

ENDPOINTS = {
    "provides": {"db": {"interface": "sql"}},
    "requires": {"store": {"interface": "sql"}},
    "peers": {"cluster": {"interface": "cluster"}},
}
ACTIONS = {"sh": {"params": {"script": {"type": "string"}}}}
RUN_ACTION = 'if [ -n "$JUJU_ACTION_NAME" ]; then eval "$(action-get script)"; fi'


async def _sh(bench: Bench, unit: str, script: str) -> tuple[int, str, str]:
    """What a script in the unit's charm container prints; its commands commit as an action's."""
    results = (await bench.task(unit, "sh", script=script))["results"]
    return results["return-code"], results.get("stdout", ""), results.get("stderr", "")


async def _pair(bench: Bench) -> None:
    charm = bench.charm("plain", RUN_ACTION, actions=ACTIONS, **ENDPOINTS)
    await bench.deploy(charm, "giver", units=2)
    await bench.deploy(charm, "taker", units=2)
    bench.api.integrate(MODEL, "taker:store", "giver:db")
    await bench.until(lambda: len([h for h in bench.hooks() if "changed from" in h]) >= 12)
    await bench.idle()
    # cluster of giver 0, cluster of taker 1, store-db 2


async def test_databag_rules(bench: Bench):
    await _pair(bench)
    assert await _sh(bench, "giver/0", "relation-ids --format=json db") == (0, '["db:2"]\n', "")
    assert await _sh(bench, "giver/0", "relation-ids --format=json store") == (0, "[]\n", "")
    listed = await _sh(bench, "giver/0", "relation-list --format=json -r db:2")
    assert listed == (0, '["taker/0","taker/1"]\n', "")
    assert await _sh(bench, "giver/0", "relation-list --format=json --app -r db:2") == (
        0, '"taker"\n', "",
    )  # fmt: skip
    peers = await _sh(bench, "giver/1", "relation-list --format=json -r cluster:0")
    assert peers == (0, '["giver/0"]\n', "")

    assert (await _sh(bench, "giver/0", "relation-set -r db:2 --app key=value"))[0] == 0
    assert (await _sh(bench, "giver/0", "relation-set -r cluster:0 --app all=told"))[0] == 0
    read = "relation-get --format=json -r %s --app - %s"
    assert await _sh(bench, "giver/0", read % ("db:2", "giver")) == (0, '{"key":"value"}\n', "")
    assert await _sh(bench, "taker/1", read % ("store:2", "giver")) == (
        0, '{"key":"value"}\n', "",
    )  # fmt: skip
    follower = await _sh(bench, "giver/1", read % ("db:2", "giver"))
    assert follower == (1, "", "ERROR permission denied\n")
    assert await _sh(bench, "giver/1", read % ("cluster:0", "giver")) == (
        0, '{"all":"told"}\n', "",
    )  # fmt: skip
    refused = await _sh(bench, "giver/1", "relation-set -r db:2 --app key=mine")
    assert refused == (1, "", "ERROR cannot write relation settings\n")
    gone = await _sh(bench, "giver/0", "relation-get --format=json -r 39 - taker/0")
    assert gone == (2, "", 'ERROR invalid value "39" for option -r: relation not found\n')


async def test_a_relation_is_there_from_relation_created_on(bench: Bench):
    told = bench.state / "told"
    script = f"""case $JUJU_HOOK_NAME in install|cluster-relation-created)
      {{ relation-ids cluster --format=json
         relation-set -r cluster:0 from=$JUJU_HOOK_NAME 2>&1 || echo refused
      }} >> {told};; esac"""
    await bench.deploy(bench.charm("plain", script, peers={"cluster": {"interface": "c"}}))
    await bench.idle()
    assert told.read_text().splitlines() == [
        "[]",
        'ERROR invalid value "cluster:0" for option -r: relation not found',
        "refused",
        '["cluster:0"]',
    ]
    shown = bench.api.show_unit(MODEL, "plain/0")["plain/0"]["relation-info"][0]
    assert shown["local-unit"]["data"]["from"] == "cluster-relation-created"


async def test_own_writes_are_seen_in_the_hook_and_an_empty_value_deletes(bench: Bench):
    await _pair(bench)
    script = """relation-set -r db:2 a=1 b=2
      echo '{"c": "3", "a": ""}' | relation-set -r db:2 --file -
      relation-get --format=json -r db:2 a giver/0; relation-get --format=json -r db:2 c giver/0"""
    assert await _sh(bench, "giver/0", script) == (0, 'null\n"3"\n', "")
    seen = await _sh(bench, "taker/0", "relation-get --format=json -r store:2 - giver/0")
    assert '"b":"2","c":"3"}' in seen[1]
    assert '"a"' not in seen[1]


async def test_leader_commands(bench: Bench):
    await _pair(bench)
    assert await _sh(bench, "giver/0", "is-leader --format=json") == (0, "true\n", "")
    assert await _sh(bench, "giver/1", "is-leader --format=json") == (0, "false\n", "")
    not_leader = "ERROR this unit is not the leader\n"
    command = "status-set --application=True active -- hi"
    assert await _sh(bench, "giver/1", command) == (1, "", not_leader)
    assert (await _sh(bench, "giver/0", command))[0] == 0
    giver = bench.api.status(MODEL)["applications"]["giver"]
    assert giver["application-status"]["message"] == "hi"
    bad = await _sh(bench, "giver/0", "status-set happy")
    assert bad[2] == (
        'ERROR invalid status "happy", expected one of [maintenance blocked waiting active]\n'
    )


async def test_leadership_moves_when_the_leader_goes(bench: Bench):
    charm = bench.charm("plain", RUN_ACTION, actions=ACTIONS)
    await bench.deploy(charm, units=2)
    await bench.idle()
    assert bench.api.move_leader(MODEL, "plain") == "plain/1"
    await bench.until(lambda: "leader-elected" in bench.hooks("plain/1"))
    await bench.idle()
    assert await _sh(bench, "plain/0", "is-leader --format=json") == (0, "false\n", "")
    assert await _sh(bench, "plain/1", "is-leader --format=json") == (0, "true\n", "")
    assert "leader-settings-changed" in bench.hooks("plain/0")


async def test_what_kubernetes_lacks_and_what_is_not_there(bench: Bench):
    await _pair(bench)
    refused = await _sh(bench, "giver/0", "storage-add data=1")
    assert refused == (1, "", 'ERROR charm "plain" has no store called "data"\n')
    flag = await _sh(bench, "giver/0", "config-get --nonsense")
    assert flag == (2, "", "ERROR option provided but not defined: --nonsense\n")


async def test_credentials_are_the_pods_own_where_there_is_trust(bench: Bench):
    await bench.deploy(bench.charm("plain", RUN_ACTION, actions=ACTIONS), trust=True)
    await bench.idle()
    code, told, _ = await _sh(bench, "plain/0", "credential-get --format=json")
    assert code == 0
    assert json.loads(told) == {
        "type": "kubernetes",
        "name": "local",
        "region": "localhost",
        "endpoint": "https://10.152.183.1:443",
        "is-controller-cloud": True,
        "credential": {"auth-type": "oauth2", "attrs": {"Token": "token-of-plain-0\n"}},
        "cacertificates": ["certificate\n"],
    }
    bench.api.trust(MODEL, "plain", remove=True)
    await bench.idle()
    denied = await _sh(bench, "plain/0", "credential-get --format=json")
    assert denied == (1, "", "ERROR cannot access cloud credentials: permission denied\n")


async def test_ports_are_opened_for_endpoints(bench: Bench):
    charm = bench.charm("plain", RUN_ACTION, actions=ACTIONS, **ENDPOINTS)
    await bench.deploy(charm)
    await bench.idle()
    script = """open-port 80; open-port --endpoints db,cluster 81/udp; opened-ports --endpoints
      close-port --endpoints db 81/udp; opened-ports --endpoints --format=json"""
    assert await _sh(bench, "plain/0", script) == (
        0, '80/tcp (*)\n81/udp (cluster,db)\n["80/tcp (*)","81/udp (cluster)"]\n', "",
    )  # fmt: skip
    unit = bench.api.status(MODEL)["applications"]["plain"]["units"]["plain/0"]
    assert unit["open-ports"] == ["80/tcp", "81/udp"]
    await bench.until(lambda: bench.node.specs[MODEL, "plain"].ports == ("80/tcp", "81/udp"))
    assert (await _sh(bench, "plain/0", "close-port 81/udp"))[0] == 0
    assert (await _sh(bench, "plain/0", "opened-ports"))[1] == "80/tcp\n"
    wrong = await _sh(bench, "plain/0", "open-port --endpoints nope 82")
    assert wrong == (1, "", 'ERROR charm endpoint "nope" not found\n')


async def test_storage_that_is_added_later_stays_pending(bench: Bench):
    storage = {"data": {"type": "filesystem", "multiple": {"range": "1-2"}}}
    charm = bench.charm("plain", RUN_ACTION, actions=ACTIONS, storage=storage, containers={})
    await bench.deploy(charm)
    await bench.idle()
    failed = await _sh(bench, "plain/0", "storage-add data; exit 1")
    assert failed[0] == 1
    assert (await _sh(bench, "plain/0", "storage-list data"))[1] == "data/0\n"
    assert (await _sh(bench, "plain/0", "storage-add data=1"))[0] == 0
    await bench.idle()
    listed = await _sh(bench, "plain/0", "storage-list --format=json data")
    assert listed == (0, '["data/0","data/1"]\n', "")
    assert bench.hooks("plain/0").count("data-storage-attached") == 1
    pending = await _sh(bench, "plain/0", "storage-get -s data/1")
    assert pending == (1, "", 'ERROR storage "data/1" not provisioned\n')
    states = bench.api.storage(MODEL)["storage"]
    assert [states[name]["status"]["current"] for name in ("data/0", "data/1")] == [
        "attached", "pending",
    ]  # fmt: skip
    task = await bench.task("plain/0", "sh", script="storage-add data=1")
    assert task["status"] == "failed"
    assert "at most 2 instances supported, 3 specified" in task["message"]


async def test_environment_commands(bench: Bench):
    charm = bench.charm(
        "plain", RUN_ACTION, actions=ACTIONS, **ENDPOINTS,
        options={"port": {"type": "int", "default": 80}, "ratio": {"type": "float", "default": 1},
                 "name": {"type": "string"}, "on": {"type": "boolean", "default": False}},
        storage={"data": {"type": "filesystem", "location": "/data"}},
        resources={"image": {"type": "oci-image"}},
        containers={},
    )  # fmt: skip
    await bench.deploy(charm, config={"port": "8080"}, resources={"image": "example.org/a:1"})
    await bench.idle()

    async def out(script: str) -> str:
        code, stdout, stderr = await _sh(bench, "plain/0", script)
        assert code == 0, stderr
        return stdout.rstrip("\n")

    assert await out("config-get --format=json") == '{"on":false,"port":8080,"ratio":1.0}'
    assert await out("config-get port") == "8080"
    assert await out("config-get on") == "False"
    assert await out("config-get --format=json name") == "null"
    assert await out("storage-list --format=json data") == '["data/0"]'
    got = await out("storage-get --format=json -s data/0")
    assert got == '{"kind":"filesystem","location":"/data"}'
    assert await out("cat $(resource-get image)") == (
        "password: ''\nregistrypath: example.org/a:1\nusername: ''"
    )
    assert await out("open-port 8080/tcp; open-port icmp; opened-ports --format=json") == (
        '["8080/tcp","icmp"]'
    )
    assert await out("opened-ports; close-port 8080; opened-ports") == "8080/tcp\nicmp\nicmp"
    shown = bench.api.show_unit(MODEL, "plain/0")["plain/0"]
    assert shown["opened-ports"] == ["icmp"]
    network = await out("network-get --format=json db")
    assert network == (
        '{"bind-addresses":[{"mac-address":"","interface-name":"","addresses":[{"hostname":"",'
        '"value":"127.0.0.1","cidr":""}]}],"egress-subnets":["10.152.183.77/32"],'
        '"ingress-addresses":["10.152.183.77"]}'
    )
    code, _, stderr = await _sh(bench, "plain/0", "network-get --format=json nope")
    assert (code, stderr) == (1, 'ERROR no network config found for binding "nope"\n')
    assert await out("state-set a=1; state-get a") == "1"
    assert await out("state-get --format=json; state-delete a") == '{"a":"1"}'
    assert await out("state-get --format=json") == "{}"
    goal = await out("goal-state --format=json")
    assert '"plain/0":{"status":"unknown","since":"' in goal
