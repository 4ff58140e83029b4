"""The TensorBoard controller: its environment, its route, and Istio's kind that it insists on."""

from __future__ import annotations

import json

import pytest

from charmed_mlops.testing import broker, relation


def test_it_gets_all_variables_that_it_requires(charm):
    out = charm.settled()
    assert charm.service(out).command == "/manager --leader-elect"
    assert charm.environment(out) == {
        "TENSORBOARD_IMAGE": "docker.io/tensorflow/tensorflow:2.5.1",
        "RWO_PVC_SCHEDULING": "true",
        "ISTIO_GATEWAY": "shop/none",
        "ISTIO_HOST": "*",
    }


@pytest.mark.parametrize(
    "options, variable, value",
    [
        ({"rwo-scheduling": False}, "RWO_PVC_SCHEDULING", "false"),
        ({"registry": "r.local"}, "TENSORBOARD_IMAGE", "r.local/tensorflow/tensorflow:2.5.1"),
        ({"images": "{tensorboard: r.local/tb:1}"}, "TENSORBOARD_IMAGE", "r.local/tb:1"),
    ],
)
def test_an_option_reaches_the_program(charm, options, variable, value):
    assert charm.environment(charm.settled(config=options))[variable] == value


def test_who_may_get_tensorboards_of_the_namespace_opens_one(charm):
    out = charm.settled(relation("gateway"))
    (route,) = json.loads(charm.published(out, "gateway")["routes"])
    assert (route["prefix"], route["rewrite"]) == ("/tensorboard/{namespace}/{name}/", "/")
    assert (route["group"], route["resource"], route["verb"]) == (
        "tensorboard.kubeflow.org",
        "tensorboards",
        "get",
    )


@pytest.mark.parametrize("declared", [True, False])
def test_it_declares_virtualservice_unless_somebody_else_does(charm, declared):
    out = charm.settled(config={"virtual-service": declared})
    kinds = {
        each["spec"]["names"]["kind"]
        for each in charm.manifests(out)
        if each["kind"] == "CustomResourceDefinition"
    }
    assert kinds == ({"Tensorboard", "VirtualService"} if declared else {"Tensorboard"})


def test_where_the_kind_is_there_already_the_status_names_the_option(charm):
    (asked,) = charm.run(broker()).get_relations("manifests")
    problem = {
        "object": "CustomResourceDefinition/virtualservices.networking.istio.io",
        "outcome": "refused",
        "reason": "it exists and is another's",
    }
    out = charm.run(broker(hash=json.loads(asked.local_app_data["hash"]), problems=[problem]))
    assert out.unit_status.message == (
        "VirtualService is declared already: "
        "juju config tensorboard-controller virtual-service=false"
    )
