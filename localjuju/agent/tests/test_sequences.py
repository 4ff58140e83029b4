"""The order of hooks, as Juju has it for each thing that a user does."""

from __future__ import annotations

from localjuju.agent.tests.bench import MODEL, Bench

DEPLOYED = ["install", "leader-elected", "config-changed", "start"]


async def test_deploy(bench: Bench):
    await bench.deploy(bench.charm("plain"))
    await bench.idle()
    assert bench.hooks("plain/0") == DEPLOYED


async def test_deploy_with_peers_and_storage(bench: Bench):
    charm = bench.charm(
        "plain",
        peers={"cluster": {"interface": "cluster"}},
        storage={"data": {"type": "filesystem", "location": "/data"}},
    )
    await bench.deploy(charm)
    await bench.idle()
    assert bench.hooks("plain/0") == [
        "install", "cluster-relation-created", "leader-elected", "data-storage-attached",
        "config-changed", "start",
    ]  # fmt: skip


async def test_followers_are_told_that_they_follow(bench: Bench):
    await bench.deploy(bench.charm("plain"), units=2)
    await bench.idle()
    follower = ["install", "leader-settings-changed", "config-changed", "start"]
    assert bench.hooks("plain/1") == follower
    assert bench.api.status(MODEL)["applications"]["plain"]["units"]["plain/0"]["leader"]
