"""What tenants get of MLflow: a PodDefault with its address, where there is a broker."""

from __future__ import annotations

import importlib

import yaml

from charmed_mlops.testing import ROOT, broker, loaded


def test_a_notebook_gets_the_address_by_a_poddefault(charm):
    out = charm.settled(broker())
    assert out.unit_status.name == "active"
    (found,) = charm.tenant_manifests(out)
    assert (found["kind"], found["metadata"]["name"]) == ("PodDefault", "mlflow")
    assert found["spec"]["selector"] == {"matchLabels": {"mlflow": "true"}}
    assert found["spec"]["env"] == [
        {
            "name": "MLFLOW_TRACKING_URI",
            "value": "http://mlflow--serving.shop.svc.cluster.local:5000",
        }
    ]


def test_the_server_runs_while_the_broker_has_not_answered(charm):
    relations, secrets = charm.required()
    out = charm.run(*relations, broker(), secrets=secrets)
    assert out.unit_status.message == "waiting for resource-broker to apply the cluster objects"
    assert charm.service(out).command


def test_the_bundle_grants_the_kind_which_is_another_application_s(charm):
    objects = charm.tenant_manifests(charm.settled(broker()))
    bundle = yaml.safe_load((ROOT / "bundle" / "bundle.yaml").read_text())
    allow = bundle["applications"]["resource-broker"]["options"]["allow"]
    with loaded(ROOT / "charms" / "resource-broker"):
        policy = importlib.import_module("policy")
        granted = policy.grants(allow)["mlflow"]
        assert list(policy.Policy("mlflow", "shop", granted).check([], objects)) == []
        assert list(policy.Policy("mlflow", "shop", ()).check([], objects)) != []
