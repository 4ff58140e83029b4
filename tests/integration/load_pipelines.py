"""Load on Pipelines, by hand: 50 runs of 5 steps at once; it prints what they cost.

    pytest -s tests/integration/load_pipelines.py

It takes too long to be among the tests. RUNS in the environment is another number of runs.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import jubilant
import pytest
from browsers import namespace_of
from reach import EngineReach
from test_pipelines import Do, do, tenants  # noqa: F401 (fixtures)

from tests.bench.processes import Sampler

RUNS = int(os.environ.get("RUNS", "50"))
SECONDS = 3600
TABLES = ("mlpipeline", "metadb")


def database(stack: jubilant.Juju, reach: EngineReach) -> dict[str, int]:
    """Bytes of the files of each database."""
    said = reach.kubectl(
        "-n", namespace_of(stack), "exec", "mariadb-0", "-c", "mariadb", "--",
        "du", "-sb", *(f"/var/lib/mysql/{each}" for each in TABLES),
    )  # fmt: skip
    lines = (line.split("\t") for line in said.splitlines())
    return {path.rpartition("/")[2]: int(size) for size, path in lines}


def busy() -> float:
    """Seconds that the machine's processors have worked since it started."""
    user, nice, system = Path("/proc/stat").read_text().split()[1:4]
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


@pytest.mark.localjuju
def test_many_runs_at_once_all_end(stack: jubilant.Juju, reach: EngineReach, do: Do, team: str):  # noqa: F811
    sampler = Sampler(reach.pid(), set(stack.status().apps))
    before, used, worked = database(stack, reach), sampler.look(), busy()
    after = used
    begin = time.monotonic()
    do(team, "many", count=RUNS)
    started = time.monotonic() - begin
    found: dict[str, int] = {}
    peak = 0
    while sum(found.get(each, 0) for each in ("SUCCEEDED", "FAILED")) < RUNS:
        assert time.monotonic() - begin < SECONDS, found
        time.sleep(10)
        found = do(team, "states")
        after = sampler.look()
        peak = max(peak, sampler.groups["kfp-api"].memory)
    seconds = time.monotonic() - begin
    growth = {name: (size - before[name]) / RUNS for name, size in database(stack, reach).items()}
    print(f"\n{RUNS} runs of 5 steps: {found}; {started:.0f} s to start, {seconds:.0f} s to end")
    print(f"kfp-api: {peak / 2**20:.0f} MiB at most, in the unit's programs")
    for name, size in growth.items():
        print(f"database {name}: {size / 1024:.1f} KiB a run")
    print(f"processors: {busy() - worked:.0f} s, of which:")
    for name in sorted(after, key=lambda each: used.get(each, 0.0) - after[each]):
        spent = after[name] - used.get(name, 0.0)
        if spent >= 1:
            print(f"  {name}: {spent:.0f} s")
    assert found == {"SUCCEEDED": RUNS}
