"""The full bundle: what the core and the overlays say now, complete, and nothing twice."""

from __future__ import annotations

from pathlib import Path

import yaml

from installer import bundle as bundles
from installer import full_bundle
from installer.pack import ROOT

FULL = yaml.safe_load((ROOT / full_bundle.FILE).read_text())
PARTS = [
    yaml.safe_load((ROOT / file).read_text())
    for file in (
        full_bundle.CORE,
        *(Path(f"bundle/overlays/{name}.yaml") for name in full_bundle.OVERLAYS),
    )
]


def test_the_file_is_what_the_core_and_the_overlays_say():
    assert (ROOT / full_bundle.FILE).read_text() == full_bundle.text(ROOT), (
        "run .venv/bin/python -m installer.terraform"
    )


def test_every_application_relation_and_option_of_the_parts_is_there():
    for part in PARTS:
        for name, spec in part["applications"].items():
            found = FULL["applications"][name]
            assert (spec.get("options") or {}).items() <= (found.get("options") or {}).items()
            assert (spec.get("resources") or {}).keys() <= found["resources"].keys()
        assert all(pair in FULL["relations"] for pair in part.get("relations") or [])


def test_nothing_is_there_that_no_part_has():
    assert set(FULL["applications"]) == {name for part in PARTS for name in part["applications"]}
    assert sorted(map(tuple, FULL["relations"])) == sorted(
        tuple(pair) for part in PARTS for pair in part.get("relations") or []
    )


def test_charms_are_found_where_the_packer_puts_them():
    file = ROOT / full_bundle.FILE
    for name, application in bundles.read(file).applications.items():
        assert application.charm == ROOT / "build" / f"{name}.charm"


def test_the_first_command_is_the_one_for_a_real_juju():
    first = next(line for line in full_bundle.text(ROOT).splitlines() if line.startswith("#   "))
    assert first == "#   ./mlops pack --full && juju deploy ./bundle/bundle.yaml --trust"


def test_a_change_of_a_part_changes_the_text(tmp_path: Path):
    (tmp_path / "bundle/overlays").mkdir(parents=True)
    for name in full_bundle.OVERLAYS:
        (tmp_path / f"bundle/overlays/{name}.yaml").write_text("applications: {}\n")
    (tmp_path / full_bundle.CORE).write_text(
        "applications: {web: {charm: ../build/web.charm, options: {a: 1}}}\n"
    )
    (tmp_path / "bundle/overlays/door.yaml").write_text(
        "applications:\n"
        "  web: {options: {a: 2}}\n"
        "  door: {charm: ../../build/door.charm}\n"
        "relations: [['door:x', 'web:x']]\n"
    )
    assert yaml.safe_load(full_bundle.text(tmp_path)) == {
        "applications": {
            "web": {"charm": "../build/web.charm", "options": {"a": 2}},
            "door": {"charm": "../build/door.charm"},
        },
        "relations": [["door:x", "web:x"]],
        "description": full_bundle.document(tmp_path)["description"],
    }
