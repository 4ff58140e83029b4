"""Bundles: merged with their overlays, verified, with one line for each mistake."""

from __future__ import annotations

import textwrap
import zipfile
from pathlib import Path

import pytest
import yaml

from localjuju.cli.bundle import load
from localkube.host.errors import EngineError


def charm(folder: Path, name: str, **endpoints: dict[str, dict[str, str]]) -> Path:
    """A packed charm with the options `level` and `count`."""
    path = folder / f"{name}.charm"
    with zipfile.ZipFile(path, "w") as archive:
        metadata = {"name": name, "summary": "-", "description": "-", **endpoints}
        archive.writestr("metadata.yaml", yaml.safe_dump(metadata))
        options = {"level": {"type": "string", "default": "info"}, "count": {"type": "int"}}
        archive.writestr("config.yaml", yaml.safe_dump({"options": options}))
        archive.writestr("dispatch", "#!/bin/sh\n")
        manifest = {"bases": [{"name": "ubuntu", "channel": "24.04", "architectures": ["amd64"]}]}
        archive.writestr("manifest.yaml", yaml.safe_dump(manifest))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    charm(tmp_path, "web", requires={"db": {"interface": "sql"}})
    charm(tmp_path, "store", provides={"db": {"interface": "sql"}})
    return tmp_path


BASE = """
    bundle: kubernetes
    applications:
      web: {charm: ./web.charm, scale: 2, options: {level: debug}}
      store: {charm: ./store.charm, trust: true}
    relations:
      - [web:db, store:db]
"""


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(textwrap.dedent(text))
    return file


def test_a_bundle_names_applications_and_relations(folder: Path):
    bundle = load(write(folder, "bundle.yaml", BASE), [])
    web, store = bundle.applications
    assert (web.name, web.charm, web.scale, web.options) == (
        "web", folder / "web.charm", 2, {"level": "debug"},
    )  # fmt: skip
    assert (web.trust, store.trust) == (False, True)
    assert bundle.relations == (("web:db", "store:db"),)


def test_an_overlay_replaces_scalars_and_merges_maps(folder: Path):
    overlay = write(folder, "o.yaml", "applications: {web: {scale: 3, options: {level: warn}}}")
    web = load(write(folder, "bundle.yaml", BASE), [overlay]).applications[0]
    assert (web.scale, web.options, web.charm.name) == (3, {"level": "warn"}, "web.charm")


def test_null_in_an_overlay_removes_an_application_with_its_relations(folder: Path):
    overlay = write(folder, "o.yaml", "applications: {store: null}")
    bundle = load(write(folder, "bundle.yaml", BASE), [overlay])
    assert [application.name for application in bundle.applications] == ["web"]
    assert bundle.relations == ()


def test_an_overlay_may_take_away_what_is_not_there(folder: Path):
    overlay = write(folder, "o.yaml", "applications: {cache: }")
    bundle = load(write(folder, "bundle.yaml", BASE), [overlay])
    assert [application.name for application in bundle.applications] == ["web", "store"]
    assert bundle.relations == (("web:db", "store:db"),)


def test_an_overlay_s_empty_map_changes_nothing(folder: Path):
    overlay = write(folder, "o.yaml", "applications: {web: {}}")
    assert load(write(folder, "bundle.yaml", BASE), [overlay]) == load(folder / "bundle.yaml", [])


def test_an_overlay_adds_again_what_one_before_took_away(folder: Path):
    gone = write(folder, "gone.yaml", "applications: {store: null}")
    back = write(
        folder, "back.yaml",
        "applications: {store: {charm: ./store.charm, scale: 2}}\nrelations: [[web:db, store:db]]",
    )  # fmt: skip
    bundle = load(write(folder, "bundle.yaml", BASE), [gone, back])
    assert [(each.name, each.scale, each.trust) for each in bundle.applications] == [
        ("web", 2, False), ("store", 2, False),
    ]  # fmt: skip
    assert bundle.relations == (("web:db", "store:db"),)


def test_a_relation_with_what_was_taken_away_is_an_error(folder: Path):
    text = "applications: {store: null}\nrelations: [[web:db, store:db]]"
    with pytest.raises(EngineError, match='refers to application "store" not defined'):
        load(write(folder, "bundle.yaml", BASE), [write(folder, "o.yaml", text)])


def test_null_takes_an_option_away_and_an_empty_map_all_of_them(folder: Path):
    base = write(folder, "bundle.yaml", BASE.replace("debug}", "debug, count: 3}"))
    one = write(folder, "one.yaml", "applications: {web: {options: {level: null}}}")
    every = write(folder, "every.yaml", "applications: {web: {options: {}}}")
    assert load(base, [one]).applications[0].options == {"count": 3}
    assert load(base, [every]).applications[0].options == {}


def test_further_documents_of_the_file_are_overlays(folder: Path):
    text = textwrap.dedent(BASE) + "---\napplications: {web: {scale: 5}}\n"
    (folder / "bundle.yaml").write_text(text)
    assert load(folder / "bundle.yaml", []).applications[0].scale == 5


def test_included_files_are_read_beside_the_file_that_names_them(folder: Path):
    (folder / "sub").mkdir()
    (folder / "sub" / "level.txt").write_text("trace")
    overlay = write(
        folder / "sub", "o.yaml",
        "applications: {web: {options: {level: 'include-file://level.txt'}}}",
    )  # fmt: skip
    web = load(write(folder, "bundle.yaml", BASE), [overlay]).applications[0]
    assert web.options == {"level": "trace"}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            "applications: {web: {charm: ./no.charm}}",
            r'"web" does not exist: .*no\.charm: \./mlops',
        ),
        ("applications: {web: {charm: 7}}", r'"web": charm 7 is no name and no path'),
        ("applications: {web: {charm: postgresql}}", r"Charmhub's: not supported by localjuju"),
        ("applications: {web: {options: {volume: 3}}}", r'"web": unknown option "volume"'),
        ("applications: {web: {scale: lots}}", r"scale 'lots' is no number of units"),
        ("applications: {web: {scale: -1}}", r"scale -1 is no number of units"),
        ("applications: {store: {trust: 'false'}}", r"trust 'false' is neither true nor false"),
        ("applications: {web: {options: [level]}}", r"options is no map"),
        ("applications: {web: {options: {count: many}}}", r'option "count" expected int'),
        ("applications: {web: {num_units: 1}}", r"cannot specify both scale and num_units"),
        ("relations: [[web:db]]", r"has 1 endpoint\(s\), not 2"),
        ("relations: [[web:db, nobody:db]]", r'refers to application "nobody" not defined'),
        ("relations: [[web:no, store:db]]", r'application "web" has no "no"'),
        ("relations: [[store:db, web:db]]", r"is defined more than once"),
        ("relations: [[web:db, web:db]]", r"relates an application to itself"),
        ("machines: {'0': {}}", r"machines not valid for Kubernetes bundles"),
        ("saas: {x: {url: a}}", r'invalid offer URL "a" for SAAS x'),
        ("saas: {x: {}}", r'invalid offer URL "" for SAAS x'),
        ("saas: {web: {url: m.db}}", r'"web" and SAAS "web" have the same name'),
        (
            "saas: {x: {url: m.db}, y: {url: m.db}}\nrelations: [[x:db, y:db]]",
            r"relates two offers of other models",
        ),
        ("applications: {store: {offers: {o: {}}}}", r'"store": offer "o" has no endpoints'),
        (
            "applications: {store: {offers: {o: {endpoints: [nope]}}}}",
            r'"store": offer "o": it has no "nope"',
        ),
        ("bundle: openstack", r'invalid type "openstack"'),
    ],
)
def test_each_mistake_is_one_line_that_names_it(folder: Path, change: str, line: str):
    overlay = write(folder, "o.yaml", change)
    with pytest.raises(EngineError, match=line) as caught:
        load(write(folder, "bundle.yaml", BASE), [overlay])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "applications: [",
        "- a list",
        "",
        "applications: [web]",
        "applications: {web: 3}",
        "saas: [x]\napplications: {web: {charm: ./web.charm}}",
    ],
)
def test_what_is_no_bundle_is_one_line(folder: Path, text: str):
    with pytest.raises(EngineError) as caught:
        load(write(folder, "bundle.yaml", text), [])
    assert "\n" not in str(caught.value)


def test_interfaces_have_to_fit(folder: Path):
    charm(folder, "other", provides={"web": {"interface": "http"}})
    text = "applications: {other: {charm: ./other.charm}}\nrelations: [[web:db, other:web]]"
    with pytest.raises(EngineError, match="requirer of sql and provider of http do not fit"):
        load(write(folder, "bundle.yaml", BASE), [write(folder, "o.yaml", text)])


def test_what_means_nothing_here_is_told(folder: Path):
    overlay = write(folder, "o.yaml", "applications: {web: {expose: true, bindings: {a: b}}}")
    bundle = load(write(folder, "bundle.yaml", BASE), [overlay])
    assert bundle.notes == ("bindings of web", "expose of web")


def test_a_missing_file_is_named(folder: Path):
    with pytest.raises(EngineError, match="no charm or bundle found at"):
        load(folder / "nowhere.yaml", [])


def test_what_is_consumed_is_related_as_an_application_is(folder: Path):
    text = """
        saas: {far: {url: "localjuju:admin/m.db"}, near: {url: m.db}}
        applications:
          store: {offers: {shop: {endpoints: [db], acl: {admin: admin, ann: consume}}}}
        relations: [[web:db, far:db], [web, near]]
    """
    bundle = load(write(folder, "bundle.yaml", BASE), [write(folder, "o.yaml", text)])
    assert bundle.saas == {"far": "localjuju:admin/m.db", "near": "m.db"}
    assert bundle.relations[1:] == (("web:db", "far:db"), ("web", "near"))
    assert [application.offers for application in bundle.applications] == [{}, {"shop": ("db",)}]
    assert bundle.notes == ("acl of ann for offer shop",)


def test_what_is_no_longer_consumed_goes_with_its_relations(folder: Path):
    more = write(folder, "more.yaml", "saas: {far: {url: m.db}}\nrelations: [[web:db, far:db]]")
    less = write(folder, "less.yaml", "saas: {far: }")
    assert load(write(folder, "bundle.yaml", BASE), [more, less]) == load(
        folder / "bundle.yaml", []
    )
