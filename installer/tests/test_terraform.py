"""The Terraform module: what the bundle says now, complete, each reference to what is there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from installer import full_bundle, terraform
from installer.pack import ROOT

MODULE: dict[str, Any] = json.loads((ROOT / terraform.MODULE).read_text())
APPLICATIONS = MODULE["resource"]["juju_application"]
INTEGRATIONS = MODULE["resource"]["juju_integration"]
FILES: dict[str, dict[str, Any]] = {
    "": yaml.safe_load((ROOT / full_bundle.FILE).read_text()),
    **{
        name: yaml.safe_load((ROOT / f"bundle/overlays/{name}.yaml").read_text())
        for name in terraform.OVERLAYS
    },
}
DECLARED = [
    pytest.param(overlay, name, spec, id=name)
    for overlay, file in FILES.items()
    for name, spec in file["applications"].items()
]
NAMES = {spec["name"] for spec in APPLICATIONS.values()}


def conditions(resource: dict[str, Any]) -> set[str]:
    """What all has to be true for a resource: a variable, or that an application is wanted."""
    match = re.fullmatch(r"\$\{(.+) \? 1 : 0\}", resource["count"])
    assert match, resource["count"]
    found = {re.sub(r'^!contains\(var\.without, "([a-z0-9-]+)"\)$', r"\1", each)
             for each in match[1].split(" && ")}  # fmt: skip
    assert found <= NAMES | {f"var.{each.replace('-', '_')}" for each in terraform.OVERLAYS}
    return found


def by_name(name: str) -> dict[str, Any]:
    (found,) = [spec for spec in APPLICATIONS.values() if spec["name"] == name]
    return found


def application(end: dict[str, str]) -> dict[str, Any]:
    """The application that an integration's end refers to."""
    match = re.fullmatch(r"\$\{juju_application\.(\w+)\[0\]\.name\}", end["name"])
    assert match, end["name"]
    return APPLICATIONS[match[1]]


def test_the_module_is_what_the_bundle_says():
    assert (ROOT / terraform.MODULE).read_text() == terraform.text(), (
        "run .venv/bin/python -m installer.terraform"
    )


def test_every_overlay_that_adds_to_the_full_bundle_has_a_variable():
    adding = {
        file.stem
        for file in (ROOT / "bundle/overlays").glob("*.yaml")
        if any(
            "charm" in (spec or {}) and name not in FILES[""]["applications"]
            for name, spec in (yaml.safe_load(file.read_text()).get("applications") or {}).items()
        )
    }
    assert set(terraform.OVERLAYS) == adding
    for overlay in adding:
        variable = MODULE["variable"][overlay.replace("-", "_")]
        assert (variable["type"], variable["default"]) == ("bool", False)


def test_no_application_is_there_that_the_bundle_has_not():
    assert len(APPLICATIONS) == len(DECLARED)
    assert {each.id for each in DECLARED} == NAMES


@pytest.mark.parametrize(("overlay", "name", "spec"), DECLARED)
def test_application_is_as_the_bundle_has_it(overlay: str, name: str, spec: dict[str, Any]):
    # what the module would leave out without a word
    assert set(spec) <= {"charm", "scale", "trust", "resources", "options", "storage"}
    found = by_name(name)
    home = {f"var.{overlay.replace('-', '_')}"} if overlay else set()
    assert conditions(found) == {name} | home
    assert found["charm"]["name"] == "${var.charm_prefix}" + Path(spec["charm"]).stem
    assert FILES[""]["default-base"].startswith(found["charm"]["base"] + "/")
    assert found["units"] == f'${{lookup(var.units, "{name}", {spec["scale"]})}}'
    assert found["trust"] is spec.get("trust", False)
    assert found["resources"] == spec["resources"]
    assert found.get("storage_directives", {}) == spec.get("storage", {})


@pytest.mark.parametrize(("overlay", "name", "spec"), DECLARED)
def test_options_are_those_of_the_bundle_and_can_be_overridden(
    overlay: str, name: str, spec: dict[str, Any]
):
    options = MODULE["locals"]["config"][name]
    assert {key: yaml.safe_load(value) for key, value in options.items()} == {
        key: yaml.safe_load(value) if isinstance(value, str) else value
        for key, value in spec.get("options", {}).items()
    }
    merged = f'${{merge(local.config["{name}"], lookup(var.config, "{name}", {{}}))}}'
    assert by_name(name)["config"] == merged


def test_every_relation_is_there_once():
    # that overlay is for beside the door, which the full bundle has
    door = yaml.safe_load((ROOT / "bundle/overlays/knative-door.yaml").read_text())
    files = [*FILES.values(), door]
    declared = [frozenset(pair) for file in files for pair in file["relations"]]
    found = [
        frozenset(f"{application(end)['name']}:{end['endpoint']}" for end in spec["application"])
        for spec in INTEGRATIONS.values()
    ]
    assert len(found) == len(set(found))
    assert sorted(map(sorted, found)) == sorted(map(sorted, declared))


@pytest.mark.parametrize("label", INTEGRATIONS)
def test_an_integration_is_only_where_both_applications_are(label: str):
    integration = INTEGRATIONS[label]
    assert len(integration["application"]) == 2
    for end in integration["application"]:
        assert conditions(application(end)) <= conditions(integration)


def test_every_variable_and_local_that_is_named_is_declared():
    text = json.dumps(MODULE)
    assert set(re.findall(r"\bvar\.(\w+)", text)) == set(MODULE["variable"])
    assert set(re.findall(r"\blocal\.(\w+)", text)) == set(MODULE["locals"])


def test_the_readme_names_every_variable_and_what_each_overlay_adds():
    page = (ROOT / terraform.MODULE).with_name("README.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.M))
    assert set(rows) == set(MODULE["variable"])
    for overlay in terraform.OVERLAYS:
        for name in FILES[overlay]["applications"]:
            assert f"`{name}`" in rows[overlay.replace("-", "_")]


def test_versions_for_juju_3_and_4_are_allowed_and_none_that_nobody_has_looked_at():
    """1 is for controllers of Juju 3; 2, with the same fields, for those of Juju 3 and 4."""
    provider = MODULE["terraform"]["required_providers"]["juju"]
    assert provider == {"source": "juju/juju", "version": ">= 1.0, < 3.0"}


def test_what_looks_like_a_template_in_an_option_stays_text(tmp_path: Path):
    overlays = tmp_path / "bundle/overlays"
    overlays.mkdir(parents=True)
    for name in (*full_bundle.OVERLAYS, *terraform.OVERLAYS):
        (overlays / f"{name}.yaml").write_text("applications: {}\n")
    (tmp_path / full_bundle.CORE).write_text(
        "default-base: ubuntu@24.04/stable\n"
        "applications:\n"
        "  mlflow: {charm: ./mlflow.charm, scale: 1, resources: {}, options: {a: '${b} %{c}'}}\n"
    )
    module = terraform.module(tmp_path)
    assert module["locals"]["config"]["mlflow"] == {"a": "$${b} %%{c}"}
