"""Overlays name charms, options and endpoints that there are, and join only what fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from lightkube.utils.quantity import parse_quantity

from charmed_mlops.testing import ROOT, merged
from installer import bundle as bundles

BUNDLES = sorted((ROOT / "bundle").rglob("*.yaml"))
# The offers of COS Lite: https://github.com/canonical/cos-lite-bundle/tree/main/overlays
COS = {
    ("prometheus-scrape", "metrics-endpoint"): ("prometheus_scrape", "requires"),
    ("grafana-dashboards", "grafana-dashboard"): ("grafana_dashboard", "requires"),
    ("loki-logging", "logging"): ("loki_push_api", "provides"),
}
SINGLE = {
    folder.name
    for folder in (ROOT / "charms").iterdir()
    if any("require_single_unit(" in file.read_text() for file in folder.glob("src/**/*.py"))
}


def applications(file: str) -> dict[str, dict[str, Any]]:
    """What a file of the bundle says of applications."""
    return yaml.safe_load((ROOT / "bundle" / file).read_text()).get("applications") or {}


def charm(application: str) -> dict[str, Any]:
    """The charm of an application, which has its name."""
    return merged(ROOT / "charms" / application)


@pytest.mark.parametrize("file", BUNDLES, ids=[file.stem for file in BUNDLES])
def test_applications_have_charms_with_such_options_and_resources(file: Path):
    for name, spec in applications(str(file)).items():
        meta = charm(name)
        if spec is None:  # taken away
            continue
        known = (meta.get("config") or {}).get("options") or {}
        assert set(spec.get("options") or {}) <= set(known)
        if "charm" not in spec:  # changes one of the bundle
            continue
        assert Path(spec["charm"]).name == f"{name}.charm"
        assert set(spec.get("resources") or {}) == set(meta.get("resources") or {})


@pytest.mark.parametrize("file", BUNDLES, ids=[file.stem for file in BUNDLES])
def test_relations_join_a_requirer_and_a_provider_of_one_interface(file: Path):
    document = yaml.safe_load(file.read_text())
    for relation in document.get("relations") or []:
        roles = set()
        interfaces = set()
        for side in relation:
            name, _, endpoint = side.partition(":")
            if name in document.get("saas", {}):
                interface, role = COS[name, endpoint]
                roles.add(role)
                interfaces.add(interface)
                continue
            meta = charm(name)
            (role,) = [each for each in ("requires", "provides") if endpoint in meta.get(each, {})]
            roles.add(role)
            interfaces.add(meta[role][endpoint]["interface"])
        assert (len(interfaces), roles) == (1, {"requires", "provides"}), relation


def test_edge_is_tracking_serving_the_door_and_notebooks():
    core, door = applications("core.yaml"), applications("overlays/door.yaml")
    removed = {n for n, spec in applications("overlays/edge.yaml").items() if spec is None}
    assert set(applications("bundle.yaml")) - removed == {
        *core, *door, "admission-webhook", "notebook-controller", "jupyter-ui",
    }  # fmt: skip


def test_what_edge_leaves_has_every_relation_that_it_needs():
    document = bundles.document(ROOT / "bundle/bundle.yaml", [ROOT / "bundle/overlays/edge.yaml"])
    ends = {end for pair in document["relations"] for end in pair}
    for name in document["applications"]:
        for endpoint, spec in (charm(name).get("requires") or {}).items():
            assert spec.get("optional") or f"{name}:{endpoint}" in ends, (name, endpoint)


def test_edge_changes_options_of_the_bundle_alone_to_less():
    bundle = applications("bundle.yaml")
    for name, spec in applications("overlays/edge.yaml").items():
        assert name in bundle
        if spec is None:
            continue
        assert set(spec) == {"options"}
        for option, value in spec["options"].items():
            default = charm(name)["config"]["options"][option]["default"]
            assert type(value) is type(default)
            less, more = parse_quantity(str(value)), parse_quantity(str(default))
            assert less is not None, f"{name} {option}"
            assert more is not None, f"{name} {option}"
            assert less < more, f"{name} {option}"


def test_ha_scales_every_application_that_can_have_several_units_and_no_other():
    assert {"mariadb", "object-store"} <= SINGLE
    assert applications("overlays/ha.yaml") == {
        name: {"scale": 3} for name in applications("bundle.yaml") if name not in SINGLE
    }


def test_cos_gets_all_that_the_bundle_can_give_it():
    document = yaml.safe_load((ROOT / "bundle/overlays/cos.yaml").read_text())
    interfaces = {interface for interface, _ in COS.values()}
    wanted = {
        f"{name}:{endpoint}"
        for name in applications("bundle.yaml")
        for role in ("requires", "provides")
        for endpoint, spec in (charm(name).get(role) or {}).items()
        if spec["interface"] in interfaces
    }
    assert {ours for ours, _ in document["relations"]} == wanted
    assert set(document["saas"]) == {name for name, _ in COS}


def test_the_how_to_names_what_other_overlays_can_give_cos():
    text = (ROOT / "docs/how-to/monitor.md").read_text()
    offers = {interface: name for (name, _), (interface, _) in COS.items()}
    others = {name for file in BUNDLES for name in applications(str(file))}
    for name in sorted(others - set(applications("bundle.yaml"))):
        for role in ("requires", "provides"):
            for endpoint, spec in (charm(name).get(role) or {}).items():
                if offer := offers.get(spec["interface"]):
                    assert f"juju integrate {name}:{endpoint} {offer}\n" in text
