"""Recurring runs: flags, time zone, the kind, the rights."""

from __future__ import annotations

import shlex

import pytest

from charmed_mlops.testing import address


def test_it_runs_with_the_flags_of_its_image_and_the_servers_address(charm):
    out = charm.settled(address("kfp-api", 8888))
    text = shlex.split(charm.service(out).command)[2]
    before, _, program = text.partition("exec ")
    assert before.endswith("/var/run/secrets/kubeflow/tokens/scheduledworkflow-sa-token && ")
    assert sorted(program.split()) == sorted(
        [
            "/bin/controller",
            "--logtostderr=true",
            "--namespace=",
            "--logLevel=info",
            "--clientQPS=10",
            "--clientBurst=20",
            "--metricsPort=9090",
            "--recurringRunResyncIntervalSeconds=30",
            "--mlPipelineAPIServerName=kfp-api.shop",
            "--mlPipelineServiceGRPCPort=8887",
        ]
    )


def test_cron_is_read_in_the_time_zone_of_the_option(charm):
    assert charm.environment(charm.settled()) == {"CRON_SCHEDULE_TIMEZONE": "UTC"}
    out = charm.settled(config={"timezone": "America/Argentina/Buenos_Aires"})
    assert charm.environment(out)["CRON_SCHEDULE_TIMEZONE"] == "America/Argentina/Buenos_Aires"


@pytest.mark.parametrize(
    "given, message",
    [
        ({"timezone": "../etc"}, "config timezone=../etc: must match"),
        ({"resync-seconds": 0}, "config resync-seconds=0: must be greater than or equal to 1"),
    ],
)
def test_a_wrong_option_blocks(charm, given, message):
    assert charm.settled(config=given).unit_status.message.startswith(message)


def test_it_defines_scheduled_workflows(charm):
    spec = charm.manifest(charm.settled(), "CustomResourceDefinition")["spec"]
    assert spec["names"]["shortNames"] == ["swf"]
    (version,) = spec["versions"]
    assert version["name"] == "v1beta1"
    assert "subresources" not in version
    assert version["schema"]["openAPIV3Schema"]["required"] == ["spec", "status"]


def test_it_may_ask_for_runs(charm):
    rules = charm.manifest(charm.settled(), "ClusterRole", "shop-kfp-schedwf-controller")["rules"]
    assert {
        "apiGroups": ["pipelines.kubeflow.org"],
        "resources": ["runs"],
        "verbs": ["create"],
    } in rules


def test_it_may_make_the_folder_of_the_token(charm):
    # /var/run/secrets is root's, and the image's own user is not root
    assert charm.meta["containers"]["kfp-schedwf"]["uid"] == 0
