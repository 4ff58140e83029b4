"""Which model `up` works on, what it finds missing, whom it waits for."""

from __future__ import annotations

import os
import select
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from installer import bundle as bundles
from installer import down, open_application, target, up
from installer.pack import ROOT
from localjuju.engine.choices import Choices
from localjuju.images import Catalogue
from localkube.host import ownership
from localkube.host.errors import EngineError
from localkube.host.progress import Progress
from localkube.node import programs

BUNDLE = """\
bundle: kubernetes
applications:
  db:
    charm: ../build/mariadb.charm
    scale: 1
    resources: {oci-image: "docker.io/library/mariadb:11"}
  web:
    charm: ../build/web.charm
    resources: {oci-image: "docker.io/web:1", config: ./file.yaml}
relations:
  - [web:database, db:database]
"""


@pytest.fixture
def bundle(tmp_path: Path) -> bundles.Bundle:
    """A bundle of two related applications."""
    (tmp_path / "bundle").mkdir()
    file = tmp_path / "bundle/bundle.yaml"
    file.write_text(BUNDLE)
    return bundles.read(file)


def _unit(current: str, agent: str = "idle", message: str = "") -> dict:
    return {
        "workload-status": {"current": current, "message": message},
        "juju-status": {"current": agent},
    }


def _application(current: str, **units: dict) -> dict:
    return {
        "application-status": {"current": current},
        "units": {name.replace("_", "/"): unit for name, unit in units.items()},
    }


def test_reads_what_is_built_and_pulled(bundle: bundles.Bundle, tmp_path: Path):
    assert bundle.charms(tmp_path / "build") == ["mariadb", "web"]
    assert bundle.applications["web"].images == ("docker.io/web:1",)


def test_an_image_that_cannot_be_had_is_named_before_anything_is_built(
    bundle: bundles.Bundle, monkeypatch: pytest.MonkeyPatch
):
    built: list[object] = []
    monkeypatch.setattr(programs, "ensure", built.append)
    with pytest.raises(
        EngineError, match=r"no entry for image docker\.io/library/mariadb:11 .*LOCALJUJU_IMAGES"
    ):
        up._build(bundle, Choices(images="catalogue"), Progress())
    assert not built


def test_missing_applications_and_relations(bundle: bundles.Bundle):
    related = {"relations": {"database": [{"related-application": "db"}]}}
    assert bundle.missing({}) == ["db", "web"]
    assert bundle.missing({"db": {}, "web": {"relations": {}}}) == ["web:database db:database"]
    assert bundle.missing({"db": {}, "web": related}) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no bundle at"),
        ("", "is no bundle: it has no applications"),
        ("applications: {}\n", "is no bundle"),
        ("a: [\n", "line 2:"),
        ("applications: {web: {scale: 1}}\n", "application web names no charm"),
    ],
)
def test_bad_bundle_is_one_line(tmp_path: Path, text: str | None, said: str):
    file = tmp_path / "bundle.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(EngineError, match=said) as caught:
        up.main(["--bundle", str(file)])
    assert "\n" not in str(caught.value)


def test_an_overlay_adds_changes_and_takes_away(bundle: bundles.Bundle, tmp_path: Path):
    folder = tmp_path / "overlays"
    folder.mkdir()
    overlay = folder / "more.yaml"
    overlay.write_text(
        "applications:\n"
        "  db:\n"
        "  web: {options: {colour: blue}}\n"
        "  cache: {charm: ../build/cache.charm, resources: {image: cache:1}}\n"
        "relations: [['web:cache', 'cache:cache']]\n"
    )
    found = bundles.read(bundle.file, [overlay])
    assert sorted(found.applications) == ["cache", "web"]
    assert found.applications["web"] == bundle.applications["web"]
    assert found.applications["cache"].charm == tmp_path / "build" / "cache.charm"
    assert found.applications["cache"].images == ("cache:1",)
    assert found.relations == (("web:cache", "cache:cache"),)
    assert found.digest != bundle.digest


def test_an_overlay_s_empty_map_takes_nothing_away(bundle: bundles.Bundle, tmp_path: Path):
    overlay = tmp_path / "none.yaml"
    overlay.write_text("applications: {web: {}, gone: null}\n")
    found = bundles.read(bundle.file, [overlay])
    assert (found.applications, found.relations) == (bundle.applications, bundle.relations)


def test_an_overlay_of_another_bundle_is_told_with_the_way_out(
    bundle: bundles.Bundle, tmp_path: Path
):
    overlay = tmp_path / "ha.yaml"
    overlay.write_text("applications: {dex: {scale: 3}}\n")
    with pytest.raises(EngineError, match=r"application dex names no charm: .*--full"):
        bundles.read(bundle.file, [overlay])


def _files(*arguments: str, before: list[str]) -> list[Path]:
    options = up.parser().parse_args(list(arguments))
    return up.files(options, before)


def test_up_deploys_the_core_unless_told_otherwise(tmp_path: Path):
    own = tmp_path / "own.yaml"
    assert _files(before=[]) == [up.CORE]
    assert _files("--full", before=[]) == [up.FULL]
    assert _files("--overlay", str(own), before=[]) == [up.CORE, own]
    assert _files("--bundle", str(own), before=[str(up.FULL)]) == [own]


def test_up_again_deploys_what_the_model_has_while_its_files_are_there(tmp_path: Path):
    edge = ROOT / "bundle/overlays/edge.yaml"
    assert _files(before=[str(up.FULL), str(edge)]) == [up.FULL, edge]
    assert _files(before=[str(up.FULL), str(tmp_path / "gone.yaml")]) == [up.CORE]


def test_full_and_a_bundle_exclude_each_other(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        up.main(["--full", "--bundle", "other.yaml"])
    assert "not allowed with" in capsys.readouterr().err


def test_the_first_line_says_what_is_deployed_and_where_the_rest_is():
    edge = ROOT / "bundle/overlays/edge.yaml"
    core, full = bundles.read(up.CORE), bundles.read(up.FULL, [edge])
    assert up.summary(core, []) == (
        "deploying bundle/core.yaml, 5 applications; "
        "--full deploys bundle/bundle.yaml, which has all"
    )
    assert up.summary(full, [edge]) == (
        "deploying bundle/bundle.yaml with bundle/overlays/edge.yaml, 13 applications"
    )


def test_what_a_model_was_deployed_from_is_kept_for_each_model(state: Path):
    ownership.claim_state()
    up.remember("one", [up.CORE])
    up.remember("two", [up.FULL])
    up.remember("one", [up.FULL])
    assert up.remembered() == {"one": [str(up.FULL)], "two": [str(up.FULL)]}


def test_an_overlay_that_is_no_yaml_is_named_with_its_line(bundle: bundles.Bundle, tmp_path: Path):
    overlay = tmp_path / "broken.yaml"
    overlay.write_text("applications: {\n")
    with pytest.raises(EngineError, match=r"broken\.yaml: line 2"):
        bundles.read(bundle.file, [overlay])


def test_missing_overlay(bundle: bundles.Bundle, tmp_path: Path):
    arguments = ["--bundle", str(bundle.file), "--overlay", str(tmp_path / "gone.yaml")]
    with pytest.raises(EngineError, match=r"no overlay at .*gone\.yaml"):
        up.main(arguments)


def test_waits_for_whom():
    status = {
        "db": _application("active", db_0=_unit("active")),
        "web": _application(
            "waiting",
            web_0=_unit("waiting", message="waiting for database"),
            web_1=_unit("active"),
        ),
        "idle": _application("active", idle_0=_unit("active", "executing")),
        "late": _application("maintenance", late_0=_unit("active")),
        "empty": _application("active"),
    }
    assert up.unsettled(status, [*status, "gone"]) == {
        "web/0": ("waiting", "waiting for database"),
        "idle/0": ("active/executing", ""),
        "late": ("maintenance", ""),
        "empty": ("waiting", "no unit yet"),
        "gone": ("missing", "not deployed yet"),
    }


def test_active_and_idle_is_settled():
    status = {"db": _application("active", db_0=_unit("active"))}
    assert up.unsettled(status, ["db"]) == {}


def _juju(folder: Path, controllers: str) -> None:
    program = folder / "juju"
    program.write_text(f"#!/bin/sh\necho '{controllers}'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize(
    ("controllers", "engine"),
    [
        ('{"controllers": {"micro": {}}}', "juju"),
        ('{"controllers": {}}', "local"),
        ('{"controllers": null}', "local"),
        ('{"controllers": {"localjuju": {}}}', "local"),
        ("no json", "local"),
    ],
)
def test_a_real_controller_is_preferred(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, controllers: str, engine: str
):
    _juju(tmp_path, controllers)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert target.choose(None, None) == target.Target(engine, "mlops")
    assert target.choose("local", "other") == target.Target("local", "other")


def test_the_last_target_is_kept(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _juju(tmp_path, '{"controllers": {"micro": {}}}')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    target.Target("local", "mine").remember()
    assert target.choose(None, None) == target.Target("local", "mine")
    assert target.current() == target.Target("local", "mine")
    target.forget()
    assert target.choose(None, None).engine == "juju"


def test_juju_without_a_controller_gets_one_on_the_engine(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _juju(tmp_path, '{"controllers": {}}')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert target.choose("juju", None) == target.Target("localkube", "mlops")
    target.Target("localkube", "mine").remember()
    _juju(tmp_path, '{"controllers": {"localkube": {}, "other": {}}}')
    assert target.choose("juju", None).engine == "localkube"
    assert target.choose(None, None) == target.Target("localkube", "mine")
    target.forget()
    assert target.choose("juju", None).engine == "juju"


def test_commands_go_to_the_controller_on_the_engine_whatever_the_current_one_is():
    environment = target.Target("localkube", "mine").environment()
    assert environment["JUJU_MODEL"] == "localkube:mine"
    assert environment["JUJU_CONTROLLER"] == "localkube"


def test_juju_where_there_is_none(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="no juju on the PATH: snap install juju"):
        target.choose("juju", None)
    with pytest.raises(EngineError, match="snap install juju"):
        target.Target("juju").juju()


class _Model(target.Target):
    """One where everything is deployed; it writes down what it is asked for."""

    def run(self, *arguments: str, **_: object) -> str:
        self.__dict__.setdefault("asked", []).append(arguments)
        return ""


@pytest.mark.parametrize("engine", ["juju", "local"])
def test_other_images_of_the_bundle_come_by_a_refresh_where_juju_leaves_them(
    engine: str, bundle: bundles.Bundle, state: Path, monkeypatch: pytest.MonkeyPatch
):
    (bundle.file.parent.parent / "build").mkdir()
    for app in bundle.applications.values():
        assert app.charm
        app.charm.write_text(app.name)
    there = {name: {} for name in bundle.applications}
    monkeypatch.setattr("installer.overview.applications", lambda _: there)

    def refreshed(found: bundles.Bundle) -> list[tuple[str, ...]]:
        model = _Model(engine)
        up._deploy(model, found, [], Progress())
        return [asked for asked in vars(model)["asked"] if asked[0] == "refresh"]

    assert not refreshed(bundle)
    bundle.file.write_text(BUNDLE.replace("mariadb:11", "mariadb:12"))
    found = bundles.read(bundle.file)
    charm = found.applications["db"].charm
    assert charm
    asked = ("refresh", "db", "--path", str(charm))
    asked += ("--resource", "oci-image=docker.io/library/mariadb:12")
    assert refreshed(found) == ([asked] if engine == "juju" else [])
    assert not refreshed(found)
    charm.write_text("newer")
    assert refreshed(found) == [asked]


def test_juju_s_own_error_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "juju"
    program.write_text("#!/bin/sh\necho warming up >&2\necho 'ERROR model gone' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(EngineError, match=r"^juju status: model gone$"):
        target.Target("juju").run("status")


_HOLD = """
import sys
from installer import up
with up.alone():
    print("at work", flush=True)
    sys.stdin.read()
"""


def _holder() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _HOLD],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_second_up_says_so_in_one_line_and_waits(state: Path):
    first, second = _holder(), _holder()
    with first, second:
        assert first.stdout
        assert second.stdout
        working = select.select([first.stdout, second.stdout], [], [], 30)[0][0]
        one, other = (first, second) if working is first.stdout else (second, first)
        assert one.stdout
        assert one.stdin
        assert other.stderr
        assert other.stdout
        assert one.stdout.readline() == "at work\n"
        line = f"another ./mlops up (process {one.pid}) is at work: waiting\n"
        assert other.stderr.readline() == line
        one.stdin.close()
        assert other.stdout.readline() == "at work\n"
        out, errors = other.communicate("")
        assert (out, errors) == ("", "")


def test_an_up_that_waited_while_down_removed_the_folder_begins_anew(state: Path):
    with up.alone():
        down.remove_engine()
    with up.alone():
        assert (state / "up.lock").read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize(
    ("number", "name", "text"),
    [
        (3306, "3306-tcp", "127.0.0.1:9 (MySQL protocol)"),
        (5000, "5000-tcp", "http://127.0.0.1:9"),
        (443, "443-tcp", "https://127.0.0.1:9"),
    ],
)
def test_an_address_is_a_url_only_where_the_port_speaks_http(number: int, name: str, text: str):
    assert open_application.shown("127.0.0.1:9", {"port": number, "name": name}) == text


CHANGES = {"", "edge", "ha"}  # of the full bundle; the others add to the core
# cos is for a real Juju
OVERLAYS = {file.stem for file in (ROOT / "bundle/overlays").glob("*.yaml")} - {"cos"}


@pytest.mark.parametrize("overlay", ["", *sorted(OVERLAYS)])
def test_the_local_engine_has_the_images_that_the_readme_says_it_has(overlay: str):
    overlays = [ROOT / "bundle/overlays" / f"{overlay}.yaml"] if overlay else []
    bundle = bundles.read(up.FULL if overlay in CHANGES else up.CORE, overlays)
    catalogue = Catalogue.load()
    for application in bundle.applications.values():
        for image in application.images:
            catalogue.find(image)  # raises EngineError where there is no entry
    assert not overlay or f"`{overlay}`" in (ROOT / "README.md").read_text()
