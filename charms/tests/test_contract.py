"""Each charm's plan against what upstream's program takes, which contract.yaml says."""

from __future__ import annotations

import shlex
import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ops
import pytest
import yaml

from charmed_mlops.testing import ROOT, loaded
from charmed_mlops.workload import PATHS

CONTRACT: dict[str, dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "contract.yaml").read_text()
)
CHARMS = sorted(name for name in CONTRACT if "/" not in name)
SERVICES = sorted(name for name in CONTRACT if "/" in name)
Contract = Mapping[str, Any]


def words(command: str, environment: Mapping[str, str]) -> list[str]:
    """Program and arguments, as they are once a shell in between has done its part."""
    found = shlex.split(command)
    if found[:2] != ["/bin/sh", "-c"]:
        return found
    text = found[2].rpartition("exec ")[2]
    return shlex.split(string.Template(text).safe_substitute(environment))


def parsed(arguments: list[str], known: set[str]) -> tuple[dict[str, str], list[str]]:
    """Flags with their values, and the words that are no flags."""
    flags: dict[str, str] = {}
    plain: list[str] = []
    rest = iter(arguments)
    for word in rest:
        name, equals, value = word.partition("=")
        if not word.startswith("-"):
            plain.append(word)
        elif equals:
            flags[name] = value
        else:
            # a flag that nobody knows may have no value: it must not hide the next one
            flags[name] = next(rest, "") if name in known else ""
    return flags, plain


def problems(contract: Contract, plan: ops.pebble.Plan, service: str) -> Iterator[str]:
    """What of a service in a plan the program would not take or would miss."""
    found = plan.services[service]
    environment = {
        key: value
        for key, value in found.environment.items()
        if not key.startswith("CHARMED_MLOPS")
    }
    program, *arguments = words(found.command, environment)
    if program != contract["program"]:
        yield f"runs {program}"
    if found.working_dir != contract.get("directory", ""):
        yield f"runs in {found.working_dir}"
    needed = contract.get("flags") or {}
    flags, plain = parsed(arguments, {*needed, *contract.get("more-flags", ())})
    if plain != contract.get("arguments", []):
        yield f"has arguments {plain}"
    yield from _differences("flag", needed, contract.get("more-flags", ()), flags)
    yield from _differences(
        "variable",
        contract.get("environment") or {},
        contract.get("more-environment", ()),
        environment,
    )
    for name, check in plan.checks.items():
        if name.partition("-start")[0].partition("-alive")[0] != service:
            continue
        url = urlsplit((check.http or {}).get("url", ""))
        at = f"{url.port}{url.path}" if url.port else str((check.tcp or {}).get("port"))
        if at not in [str(each) for each in contract.get("health", ())]:
            yield f"check {name} asks {at}"
    files = {each for each in found.environment.get(PATHS, "").split(":") if each}
    if files != set(contract.get("files", ())):
        yield f"has files {sorted(files)}"


def _differences(
    what: str, needed: Mapping[str, Any], more: Any, given: Mapping[str, str]
) -> Iterator[str]:
    for name, value in needed.items():
        if name not in given:
            yield f"{what} {name} is missing"
        elif value is not None and given[name] != value:
            yield f"{what} {name} is {given[name]!r}, not {value!r}"
    for name in sorted(set(given) - set(needed) - set(more)):
        yield f"{what} {name} is unknown"


def plan_of(charm_name: str, service: str) -> ops.pebble.Plan:
    with loaded(ROOT / "charms" / charm_name) as charm:
        containers = charm.settled().containers
        (plan,) = [each.plan for each in containers if service in each.plan.services]
        return plan


@pytest.mark.parametrize("name", SERVICES)
def test_the_program_takes_what_the_charm_gives_it(name):
    charm_name, _, service = name.partition("/")
    plan = plan_of(charm_name, service)
    assert list(problems(CONTRACT[name], plan, service)) == []


@pytest.mark.parametrize("charm_name", CHARMS)
def test_the_service_has_the_ports_that_the_program_opens(charm_name):
    with loaded(ROOT / "charms" / charm_name) as charm:
        ports = {each.port for each in charm.settled().opened_ports}
    assert ports == set(CONTRACT[charm_name]["ports"])


def test_each_service_of_a_charm_has_its_contract():
    for charm_name in CHARMS:
        with loaded(ROOT / "charms" / charm_name) as charm:
            services = {
                f"{charm_name}/{service}"
                for each in charm.settled().containers
                for service in each.plan.services
            }
        assert services == {each for each in SERVICES if each.startswith(f"{charm_name}/")}


# what is wrong has to be found

GOOD: dict[str, Any] = {
    "services": {
        "p": {
            "override": "replace",
            "command": "/bin/sh -c 'mkdir -p /x && exec /bin/p --name=a --level=\"$LEVEL\"'",
            "environment": {"LEVEL": "info", "CHARMED_MLOPS_PATHS": "/tmp/a"},
        }
    },
    "checks": {"p": {"override": "replace", "http": {"url": "http://localhost:80/ok"}}},
}
WANTED = {
    "program": "/bin/p",
    "flags": {"--name": "a"},
    "more-flags": ["--level"],
    "environment": {"LEVEL": None},
    "health": ["80/ok"],
    "files": ["/tmp/a"],
}


def test_what_is_right_passes():
    assert list(problems(WANTED, ops.pebble.Plan(yaml.safe_dump(GOOD)), "p")) == []


@pytest.mark.parametrize(
    "old, new, problem",
    [
        ("--level", "--loudness", "flag --loudness is unknown"),
        ("--name=a", "--name=b", "flag --name is 'b', not 'a'"),
        ("--name=a", "", "flag --name is missing"),
        ("--name=a", "--title --name=a", "flag --title is unknown"),
        ("--name=a", "--name=a extra", "has arguments ['extra']"),
        ("/bin/p", "/bin/q", "runs /bin/q"),
        ("LEVEL: info", "RANK: info", "variable RANK is unknown"),
        ("LEVEL: info", "OTHER: info", "variable LEVEL is missing"),
        ("localhost:80/ok", "localhost:80/no", "check p asks 80/no"),
        ("PATHS: /tmp/a", "PATHS: /tmp/b", "has files ['/tmp/b']"),
        ("override: replace\n", "override: replace\n    working-dir: /w\n", "runs in /w"),
    ],
)
def test_what_is_wrong_is_found(old, new, problem):
    # the check comes first in the text: only the service has a working directory
    checks, services = yaml.safe_dump(GOOD, width=1000).split("services:")
    text = f"services:{services}{checks}"
    assert old in text
    changed = ops.pebble.Plan(text.replace(old, new, 1))
    assert problem in list(problems(WANTED, changed, "p"))
