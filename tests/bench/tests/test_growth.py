"""What the growth bench calculates from what it measured."""

from __future__ import annotations

import pytest

from tests.bench.growth import Figure, Idle, Size, by_part, difference, figures

BASE = Idle({"engine": 0.01}, {"engine": 100.0 * (1 << 20)}, 5.0)


def _size(applications: int, cpu: float, mebibytes: float, hook: float) -> Size:
    idle = Idle({"engine": cpu}, {"engine": mebibytes * (1 << 20)}, 5.0 + applications)
    return Size(applications, 2.0, {"engine": 1.0}, 6, 0.5, idle, {"engine": hook, "etcd": 0.001})


def _named() -> dict[str, Figure]:
    lines = figures(BASE, _size(10, 0.03, 120, 0.02), _size(100, 0.21, 300, 0.04))
    return {line.name: line for line in lines}


def test_what_costs_the_same_for_each_application_has_the_ratio_one():
    cpu = _named()["CPU ms in an idle second: engine"]
    assert (cpu.few, cpu.many) == (pytest.approx(2), pytest.approx(2))
    assert cpu.ratio == pytest.approx(1)
    assert cpu.none == pytest.approx(10)
    memory = _named()["MiB: all"]
    assert (memory.few, memory.many) == (pytest.approx(2), pytest.approx(2))
    wakes = _named()["wakes of the engine in an idle second"]
    assert wakes.ratio == pytest.approx(1)


def test_a_hook_that_costs_more_among_many_shows_it():
    hook = _named()["CPU ms for a hook: engine"]
    assert (hook.few, hook.many) == (pytest.approx(20), pytest.approx(40))
    assert hook.ratio == pytest.approx(2)
    assert _named()["CPU ms for a hook: all"].many == pytest.approx(41)


def test_nothing_has_no_ratio():
    assert Figure("nothing", 0, 1).ratio is None


def test_what_is_not_a_part_of_the_engine_is_in_pods():
    parts = by_part({"engine": 1, "containerd": 2, "containerd-shim-runc-v2 (all)": 3,
                     "small0": 4, "Pebble (all)": 5})  # fmt: skip
    assert parts == {"engine": 1, "containerd and shims": 5, "pods: agents, hooks, Pebble": 9}


def test_a_process_that_ended_is_taken_off_where_it_was_and_counted_where_it_is_now():
    assert difference({"pods": 5.0}, {"pods": 1.0, "engine": 3.0}) == {"pods": 4, "engine": -3}
