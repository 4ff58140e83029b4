"""What the pages say exists: links, commands, actions, charms; and their shell can be parsed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from installer import reference
from installer.__main__ import COMMANDS
from installer.pack import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "bundle/terraform/README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    *ROOT.glob("charms/*/README.md"),
]
_IDS = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=_IDS)
def test_links_lead_somewhere(page: Path):
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not link.startswith(("http:", "https:")):
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=_IDS)
def test_shell_can_be_parsed(page: Path):
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.S):
        result = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("page", PAGES, ids=_IDS)
def test_commands_exist(page: Path):
    named = set(re.findall(r"\./mlops ([a-z]+)", page.read_text()))
    assert named <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=_IDS)
def test_actions_exist(page: Path):
    for charm, action in re.findall(
        r"juju run ([a-z-]+)/(?:\d+|leader) ([a-z-]+)", page.read_text()
    ):
        file = ROOT / "charms" / charm / "charmcraft.yaml"
        assert action in (yaml.safe_load(file.read_text()).get("actions") or {}), (charm, action)


@pytest.mark.parametrize("page", PAGES, ids=_IDS)
def test_parameters_of_actions_are_of_their_types(page: Path):
    """`juju run` reads each value as YAML, so a file of YAML is a map, and no text."""
    for charm, action, given in re.findall(
        r"juju run ([a-z-]+)/(?:\d+|leader) ([a-z-]+) ([^`|#\n]*)", page.read_text()
    ):
        file = ROOT / "charms" / charm / "charmcraft.yaml"
        params = yaml.safe_load(file.read_text())["actions"][action].get("params") or {}
        for name, value in re.findall(r'\b([a-z-]+)=("[^"]*"|\S+)', given.replace("[", " ")):
            assert name in params, (action, name)
            assert "$(cat" not in value, (action, name, "--params FILE")
            read = yaml.safe_load(value.strip('"').rstrip("])"))
            wanted = {"string": str, "boolean": bool, "integer": int}[params[name]["type"]]
            assert isinstance(read, wanted), (action, name, value)


@pytest.mark.parametrize(
    "page",
    [*PAGES, *ROOT.glob("charms/*/src/*.py"), *ROOT.glob("lib/charmed_mlops/*.py")],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_an_image_alone_is_attached(page: Path):
    """Juju refreshes what came from a file only with --path, whatever else is asked for."""
    for line in re.findall(r"juju refresh [^`\n]*", page.read_text()):
        assert "--path" in line, line


@pytest.mark.parametrize("page", PAGES, ids=_IDS)
def test_a_unit_s_log_is_asked_for_by_container(page: Path):
    """Juju's pods have no default container: the first is the charm's, which prints nothing."""
    for line in re.findall(r"kubectl [^`\n]*\b(?:logs|exec|cp) [^`\n]*", page.read_text()):
        assert " -c " in line or not re.search(r"\b[a-z-]+-\d+\b", line), line


@pytest.mark.parametrize("file", sorted(ROOT.glob(".github/workflows/*.yaml")), ids=str)
def test_workflow_is_complete(file: Path):
    workflow = yaml.safe_load(file.read_text())
    # YAML 1.1 reads the key `on` as true
    assert workflow[True]
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"]
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[a-z-]+/[a-z-]+@v\d+", step["uses"])
            else:
                script = step["run"].replace("${{ ", "").replace(" }}", "")
                subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_page_of_charms_is_what_the_charms_say():
    assert (ROOT / reference.PAGE).read_text() == reference.page(), (
        "run .venv/bin/python -m installer.reference"
    )
