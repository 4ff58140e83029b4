"""Whatever is killed, the end is the same, and nothing is left on the host.

Each seed kills other programs at other moments. `--first-seed=17 --seeds=1` shows one again.
"""

from __future__ import annotations

from pathlib import Path

import jubilant
import kills
import pytest
from reach import EngineReach
from steps import STEPS, Run, Scenario

from localjuju.engine import limits
from localkube.tests.clusters import host


def test_kills_change_nothing_and_leave_nothing(seed: int, engine: EngineReach, undisturbed: Run):
    before = host()
    engine.start()
    groups = limits.groups(engine.state).folders()
    scenario = Scenario(engine, undisturbed, kills.plan(seed, STEPS))
    run = scenario.run
    wrong = ""
    try:
        scenario.play()
    except (AssertionError, jubilant.CLIError) as error:
        wrong = str(error)
    finally:
        engine.erase()
    killed = "\n  ".join([f"seed {seed}; killed:", *run.killed])
    told = "\n".join([killed, *run.differences, wrong])
    print(told, {step: round(seconds) for step, seconds in run.seconds.items()}, flush=True)
    if wrong or run.differences:
        pytest.fail(told, pytrace=False)
    assert not engine.state.exists()
    assert not [folder for folder in groups if folder.exists()]
    assert not with_words_of(engine.state)
    assert host() == before


def with_words_of(state: Path) -> list[str]:
    """The processes of this host that have a state folder in their command line."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(state) in words:
            found.append(f"{file.parent.name}: {words}")
    return found
