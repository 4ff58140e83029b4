"""`--help` and `--output` of hook commands."""

from __future__ import annotations

import re

import pytest

from localjuju.agent.commands.arguments import parse
from localjuju.agent.commands.registry import COMMANDS, REFUSED
from localjuju.agent.tests.bench import Bench

# How ops 2 finds the storage of its hook in what `storage-get --help` prints.
STORAGE_KEY = re.compile(r".*^-s\s+\(=\s+(?P<key>.*?)\)\s*?$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("flag", ["--help", "-h"])
async def test_the_help_of_storage_get_names_the_hooks_storage(bench: Bench, flag: str):
    told = bench.state / "told"
    script = f"case $JUJU_HOOK_NAME in data-storage-attached) storage-get {flag} > {told};; esac"
    storage = {"data": {"type": "filesystem", "location": "/data"}}
    await bench.deploy(bench.charm("plain", script, storage=storage, containers={}))
    await bench.idle()
    found = STORAGE_KEY.match(told.read_text())
    assert found
    assert found["key"] == "data/0"


async def test_help_of_every_command_exits_with_0(bench: Bench):
    told = bench.state / "told"
    lines = "; ".join(f"{name} --help >> {told}" for name in sorted(COMMANDS))
    await bench.deploy(
        bench.charm("plain", f'test "$JUJU_HOOK_NAME" != install || {{ {lines}; }}')
    )
    await bench.idle()
    text = told.read_text()
    assert [name for name in COMMANDS if f"Usage: {name} [options]" not in text] == []


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_says_what_it_does(name: str):
    assert COMMANDS[name].summary.endswith(".")


async def test_output_goes_to_a_file(bench: Bench):
    told = bench.state / "told"
    script = f"""case $JUJU_HOOK_NAME in start)
      config-get --format=json a -o {told}.short > {told}.out
      config-get a --output={told}.long >> {told}.out;; esac"""
    options = {"a": {"type": "string", "default": "x"}}
    await bench.deploy(bench.charm("plain", script, options=options))
    await bench.idle()
    assert (bench.state / "told.short").read_text() == '"x"\n'
    assert (bench.state / "told.long").read_text() == "x\n"
    assert (bench.state / "told.out").read_text() == ""


def test_help_needs_no_words_and_no_valid_rest():
    assert parse(["--help", "--nonsense"], {}).on("help")
    assert not parse(["--", "--help"], {}).on("help")


def test_nothing_is_refused_that_is_there():
    assert not set(REFUSED) & set(COMMANDS)
