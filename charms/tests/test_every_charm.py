"""What holds for every charm: how it is declared, how it settles, that a second run is quiet."""

from __future__ import annotations

import importlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import ops
import pytest
import yaml
from ops import testing

from charmed_mlops.interfaces.manifests import APPLICATION_KEY
from charmed_mlops.testing import ROOT, Charm, loaded, merged

# test_smallest.py names another folder, for the charm that CONTRIBUTING.md shows
CHARMS = Path(os.environ.get("CHARMS_UNDER_TEST") or ROOT / "charms")
FOLDERS = sorted(path.parent for path in CHARMS.glob("*/charmcraft.yaml"))
NAMES = [folder.name for folder in FOLDERS]
# These run a program of theirs in the container before they settle: their own tests play it.
PLAYED = {"mariadb", "object-store", "resource-broker"}
SETTLING = [folder for folder in FOLDERS if folder.name not in PLAYED]
KUBERNETES = "1.35"
LOKI = "loki_push_api"


@pytest.fixture(params=SETTLING, ids=[folder.name for folder in SETTLING])
def any_charm(request: pytest.FixtureRequest) -> Iterator[Charm]:
    with loaded(request.param) as charm:
        yield charm


@pytest.fixture(params=FOLDERS, ids=NAMES)
def folder(request: pytest.FixtureRequest) -> Path:
    return request.param


def sources(folder: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob("src/**/*.py")))


# how it is declared


def test_its_options_are_models_that_load_fast(folder):
    slow = "import pydantic" in (folder / "src/charm.py").read_text()
    assert not slow, "pydantic takes half of a hook's time: msgspec.Struct, see lib's fields.py"


def test_it_has_what_a_charm_needs(folder):
    meta = merged(folder)
    assert meta["charm-user"] == "non-root"
    assert (folder / "icon.svg").read_text().lstrip().startswith(("<svg", "<?xml"))
    assert len((folder / "README.md").read_text().splitlines()) >= 10
    assert len(meta["summary"]) <= 79
    # maxLength in charmcraft's schema/charmcraft.json: it packs no charm with a longer one
    assert 2 <= len(meta["title"]) <= 40


def test_every_endpoint_says_whether_it_is_optional(folder):
    meta = merged(folder)
    for section in ("requires", "provides", "peers"):
        for endpoint, spec in (meta.get(section) or {}).items():
            assert "optional" in spec, f"{endpoint} does not say optional"


def test_every_option_is_read_and_described(folder):
    text = sources(folder)
    for option, spec in ((merged(folder).get("config") or {}).get("options") or {}).items():
        assert spec["description"].strip()
        names = (f'"{option}"', f"{option.replace('-', '_')}:", f"'{option}'")
        shared = option in ("images", "registry") and "self.images()" in text
        grouped = re.sub(r"-[a-z]+-[a-z]+$", "-", option) in text
        assert shared or grouped or any(name in text for name in names), f"{option} is not read"


def test_every_action_is_described_in_a_short_sentence_and_takes_nothing_unknown(folder):
    for action, spec in (merged(folder).get("actions") or {}).items():
        first = spec["description"].strip().splitlines()[0]
        assert len(first) <= 100, f"{action}: {first}"
        assert first.endswith("."), f"{action}: {first}"
        assert spec["additionalProperties"] is False, action


def test_a_charm_with_a_certificate_can_renew_it(folder):
    has = "Certificate(" in sources(folder)
    assert ("renew-certificate" in (merged(folder).get("actions") or {})) is has


def test_images_have_a_tag_and_the_bundle_names_the_same(folder):
    meta = merged(folder)
    for name, spec in (meta.get("resources") or {}).items():
        image = spec["upstream-source"]
        assert re.search(r":[\w.-]*\d[\w.-]*$|@sha256:", image), f"{image} has no version"
        written = set((ROOT / "bundle").rglob("*.yaml")) - {ROOT / "bundle" / "bundle.yaml"}
        for bundle in sorted(written):  # that one is made of the others
            entry = (yaml.safe_load(bundle.read_text()).get("applications") or {}).get(folder.name)
            # an overlay that changes an application may do so by another image
            if entry and "charm" in entry and name in entry.get("resources", {}):
                assert entry["resources"][name] == image, bundle.name


def test_only_the_endpoints_that_dispatch_names_have_an_interface_with_values_of_units(folder):
    meta = merged(folder)
    for section in ("requires", "provides", "peers"):
        for endpoint, spec in (meta.get(section) or {}).items():
            named = endpoint in ("logging", "certificates")
            assert (spec["interface"] in (LOKI, "tls-certificates")) is named, endpoint


def test_it_observes_no_event_that_dispatch_keeps_from_it(folder, monkeypatch):
    """No library of it does, either."""
    observe, observed = ops.Framework.observe, []

    def recorded(self, bound_event, observer):
        observed.append(bound_event.event_kind)
        observe(self, bound_event, observer)

    monkeypatch.setattr(ops.Framework, "observe", recorded)
    with loaded(folder) as charm:
        away = [testing.Container(name) for name in charm.meta.get("containers") or {}]
        charm.run(containers=away, leader=False)
    assert "start" in observed
    assert [each for each in observed if each == "stop" or each.endswith("relation_joined")] == []


# how it settles


def test_it_settles_when_its_required_relations_have_answered(any_charm):
    out = any_charm.settled()
    assert out.unit_status == testing.ActiveStatus()


def test_without_a_required_relation_it_names_the_command_that_brings_it(any_charm):
    required, secrets = any_charm.required()
    for missing in required:
        others = [each for each in required if each is not missing]
        out = any_charm.run(*others, secrets=secrets)
        assert out.unit_status.name == "blocked"
        assert f"juju integrate {any_charm.name}:{missing.endpoint}" in out.unit_status.message


def test_it_waits_for_its_containers(any_charm):
    containers = [testing.Container(name) for name in any_charm.meta.get("containers") or {}]
    out = any_charm.settled(containers=containers)
    assert out.unit_status.name == "waiting"


def test_a_second_run_writes_nothing_and_restarts_nothing(any_charm):
    before = any_charm.settled()
    after = any_charm.again(before)
    assert after.unit_status == before.unit_status
    for container in before.containers:
        assert after.get_container(container.name).layers == container.layers
    for each in before.relations:
        same = after.get_relation(each.id)
        assert same.local_unit_data == each.local_unit_data
        if isinstance(each, testing.Relation):
            assert same.local_app_data == each.local_app_data
    assert {(s.label, str(s.latest_content)) for s in after.secrets} == {
        (s.label, str(s.latest_content)) for s in before.secrets
    }


def test_a_charm_with_a_workload_can_send_its_log_to_loki(folder):
    meta = merged(folder)
    assert not meta.get("containers") or meta["requires"]["logging"]["interface"] == LOKI


def test_every_workload_s_log_goes_to_each_related_loki(any_charm):
    url = "http://loki-0.loki-endpoints.cos:3100/loki/api/v1/push"
    loki = testing.Relation(
        "logging", LOKI, remote_units_data={0: {"endpoint": json.dumps({"url": url})}}
    )
    out = any_charm.settled(loki)
    for container in out.containers:
        (target,) = container.plan.log_targets.values()
        assert (target.location, target.services) == (url, ["all"])
        assert target.labels["juju_charm"] == any_charm.name


def test_a_charm_that_offers_dashboards_has_some_that_show_its_own_metrics_alone(any_charm):
    offers = "grafana-dashboard" in (any_charm.meta.get("provides") or {})
    files = sorted((any_charm.folder / "src" / "grafana_dashboards").glob("*.json*"))
    assert bool(files) is offers
    for file in files:
        dashboard = json.loads(file.read_text())
        assert dashboard["version"] >= 1  # Grafana's charm takes the higher of two
        queries = [each["expr"] for panel in dashboard["panels"] for each in panel["targets"]]
        assert queries
        # each selector, as a metric of the same name may be another charm's
        named = f'{{juju_charm="{any_charm.name}"}}'
        assert all(text.count("{") == text.count(named) > 0 for text in queries), file.name


def test_no_secret_shows_in_a_databag_a_command_or_a_check(any_charm):
    out = any_charm.settled()
    hidden = {
        value
        for secret in out.secrets
        for key, value in (secret.latest_content or secret.tracked_content).items()
        if key != APPLICATION_KEY  # whose the content is
        if len(value) > 8 and not value.startswith("-----BEGIN CERTIFICATE")
    }
    shown = [str(dict(each.local_unit_data)) for each in out.relations]
    shown += [
        str(dict(each.local_app_data)) for each in out.relations if hasattr(each, "local_app_data")
    ]
    for container in out.containers:
        plan = container.plan.to_dict()
        shown += [service["command"] for service in plan.get("services", {}).values()]
        shown += [str(check) for check in plan.get("checks", {}).values()]
    for text in shown:
        assert not [value for value in hidden if value in text]


def test_a_follower_gets_there_with_what_the_leader_made(any_charm):
    out = any_charm.settled()
    for unit in (1, 2):
        context = any_charm.context(unit)
        state = testing.State(
            leader=False,
            model=out.model,
            config=out.config,
            relations=out.relations,
            secrets=out.secrets,
            containers=any_charm.containers() if any_charm.meta.get("containers") else [],
            planned_units=3,
        )
        after = context.run(context.on.config_changed(), state)
        one = "runs one unit" in after.unit_status.message
        assert one or after.unit_status == testing.ActiveStatus()


def test_every_kubernetes_object_fits_its_schema(any_charm):
    out = any_charm.settled()
    for manifest in [*any_charm.manifests(out), *any_charm.tenant_manifests(out)]:
        body = {key: value for key, value in manifest.items() if key != "jujuSecret"}
        if _built_in(body):
            kubernetes_validate.validate(body, KUBERNETES, strict=True)


def test_no_template_glues_two_objects_together(any_charm):
    out = any_charm.settled()
    for manifest in [*any_charm.manifests(out), *any_charm.tenant_manifests(out)]:
        # `---` without a line of its own joins what stands before and after it
        assert not [key for key in manifest if not key.isalnum()], manifest


def test_no_cluster_object_has_the_name_of_juju_s_own(any_charm):
    out = any_charm.settled()
    for manifest in any_charm.manifests(out):
        if manifest["kind"] in ("ClusterRole", "ClusterRoleBinding"):
            assert manifest["metadata"]["name"] != f"{out.model.name}-{any_charm.name}"


def test_the_broker_lets_its_objects_pass_with_what_the_bundle_grants(any_charm):
    out = any_charm.settled()
    objects, tenants = any_charm.manifests(out), any_charm.tenant_manifests(out)
    bundle = yaml.safe_load((ROOT / "bundle" / "bundle.yaml").read_text())
    allow = (bundle["applications"]["resource-broker"].get("options") or {}).get("allow", "")
    with loaded(ROOT / "charms" / "resource-broker"):
        policy = importlib.import_module("policy")
        granted = policy.grants(allow).get(any_charm.name, ())
        refused = policy.Policy(any_charm.name, out.model.name, granted).check(objects, tenants)
        assert [
            f"{each['kind']}/{each['metadata']['name']}: {why.reason}" for each, why in refused
        ] == []


def test_every_crd_is_structural(any_charm):
    for manifest in any_charm.manifests(any_charm.settled()):
        if manifest["kind"] == "CustomResourceDefinition":
            names = manifest["spec"]["names"]
            assert manifest["metadata"]["name"] == f"{names['plural']}.{manifest['spec']['group']}"
            assert [v["storage"] for v in manifest["spec"]["versions"]].count(True) == 1
            for version in manifest["spec"]["versions"]:
                where = f"{names['kind']}/{version['name']}"
                _structural(version["schema"]["openAPIV3Schema"], where)


def test_a_definition_in_kubernetes_own_groups_names_who_approved_it(any_charm):
    # else the API server refuses it: https://github.com/kubernetes/enhancements/pull/1111
    for manifest in any_charm.manifests(any_charm.settled()):
        if manifest["kind"] == "CustomResourceDefinition":
            group = f".{manifest['spec']['group']}"
            if group.endswith((".k8s.io", ".kubernetes.io")):
                said = manifest["metadata"]["annotations"]["api-approved.kubernetes.io"]
                assert said.startswith("https://")


def _built_in(manifest: dict[str, Any]) -> bool:
    group = manifest["apiVersion"].rpartition("/")[0]
    return "." not in group or (group.endswith(".k8s.io") and "." not in group[: -len(".k8s.io")])


def _structural(schema: dict[str, Any], where: str) -> None:
    """https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema"""
    free = schema.get("x-kubernetes-preserve-unknown-fields") is True
    either = schema.get("x-kubernetes-int-or-string") is True
    assert "type" in schema or either or free, f"{where} has no type"
    assert not ("properties" in schema and "additionalProperties" in schema), where
    known = {
        "type", "properties", "items", "additionalProperties", "required", "enum", "default",
        "description", "format", "pattern", "minimum", "maximum", "minLength", "maxLength",
        "minItems", "maxItems", "nullable", "oneOf", "anyOf", "allOf", "not", "uniqueItems",
        "minProperties", "maxProperties", "multipleOf", "exclusiveMinimum", "exclusiveMaximum",
        "title", "example", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string",
        "x-kubernetes-embedded-resource", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
        "x-kubernetes-map-type", "x-kubernetes-validations",
    }  # fmt: skip
    assert set(schema) <= known, f"{where}: {set(schema) - known}"
    for name, part in (schema.get("properties") or {}).items():
        _structural(part, f"{where}.{name}")
    if schema.get("type") == "array":
        assert "items" in schema, f"{where} has no items"
        _structural(schema["items"], f"{where}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        _structural(schema["additionalProperties"], f"{where}{{}}")
    for name in schema.get("required") or ():
        assert free or name in (schema.get("properties") or {}), f"{where} requires {name}"
