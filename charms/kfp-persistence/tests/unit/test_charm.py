"""The persistence agent: its flags, its token, its rights."""

from __future__ import annotations

import shlex

import pytest

from charmed_mlops.testing import address

TOKEN = "/var/run/secrets/kubeflow/tokens/persistenceagent-sa-token"


def script(charm, out) -> str:
    shell, option, text = shlex.split(charm.service(out).command)
    assert (shell, option) == ("/bin/sh", "-c")
    return text


def test_it_reports_to_the_server_that_it_is_related_to(charm):
    text = script(charm, charm.settled(address("kfp-api", 8888)))
    words = text.partition("exec ")[2].split()
    assert words[0] == "/bin/persistence_agent"
    assert set(words[1:]) == {
        "--logtostderr=true",
        "--namespace=",
        "--ttlSecondsAfterWorkflowFinish=86400",
        "--numWorker=2",
        "--executionType=Workflow",
        "--logLevel=info",
        "--mlPipelineAPIServerName=kfp-api.shop",
        "--mlPipelineServiceHttpPort=8888",
        "--mlPipelineServiceGRPCPort=8887",
        "--saTokenRefreshIntervalInSecs=300",
    }


def test_the_pods_token_lies_where_the_agent_looks_for_it(charm):
    link = f"ln -sfn /var/run/secrets/kubernetes.io/serviceaccount/token {TOKEN} && exec "
    assert link in script(charm, charm.settled())


def test_it_may_make_the_folder_of_the_token(charm):
    # /var/run/secrets is root's, and the image's own user is not root
    assert charm.meta["containers"]["kfp-persistence"]["uid"] == 0


def test_it_only_reads_workflows(charm):
    rules = charm.manifest(charm.settled(), "ClusterRole")["rules"]
    assert rules[0] == {
        "apiGroups": ["argoproj.io"],
        "resources": ["workflows"],
        "verbs": ["get", "list", "watch"],
    }


def test_options_become_flags(charm):
    out = charm.settled(config={"workers": 8, "log-level": "debug"})
    assert "--numWorker=8" in script(charm, out)
    assert "--logLevel=debug" in script(charm, out)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"workers": 0}, "config workers=0: must be from 1 to 64"),
        ({"log-level": "x"}, "config log-level=x: must be one of debug, info, warning, error"),
    ],
)
def test_a_wrong_option_blocks(charm, given, message):
    assert charm.settled(config=given).unit_status.message == message


def test_a_second_unit_stands_aside(charm):
    relations, secrets = charm.required()
    out = charm.run(*relations, secrets=secrets, unit=1, leader=False)
    assert out.unit_status.message.startswith("kfp-persistence runs one unit")
