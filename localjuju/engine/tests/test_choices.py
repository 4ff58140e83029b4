"""What an engine is started with, and what a running one says of something else."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from localjuju.engine import choices
from localjuju.engine.choices import Choices
from localkube.host.errors import EngineError

BOTH = ("docker.io", "quay.io")


def asked(*options: str) -> Choices:
    """What these options say."""
    parser = argparse.ArgumentParser()
    choices.add_options(parser)
    choices.add_controller(parser)
    return choices.asked(parser.parse_args(options))


def test_what_is_asked_for_is_what_the_options_say():
    for made in (Choices(), Choices(True, "upstream", True), Choices(False, "catalogue", False)):
        assert asked(*made.options()) == made


def test_an_engine_is_as_the_last_time_where_nothing_is_said(tmp_path: Path):
    choices.save(tmp_path, Choices(True, "upstream", True, BOTH))
    assert asked().over(choices.load(tmp_path)) == Choices(True, "upstream", True)
    said = asked("--no-egress", "--images=catalogue", "--no-juju")
    assert said.over(choices.load(tmp_path)) == Choices(False, "catalogue", False)


@pytest.mark.parametrize("written", [None, "", "{}", "[]", "null"])
def test_without_a_last_time_nothing_was_said(tmp_path: Path, written: str | None):
    if written is not None:
        (tmp_path / "choices.json").write_text(written)
    assert choices.load(tmp_path) == Choices()


def test_stand_ins_give_way_only_where_that_was_said():
    assert Choices(images="upstream").found(BOTH).in_place_of_stand_ins() == BOTH
    assert Choices().found(BOTH).in_place_of_stand_ins() == ()


def test_images_cannot_come_from_registries_that_do_not_answer():
    with pytest.raises(EngineError, match=r"no registry answers.*up --images catalogue"):
        Choices(images="upstream").found([])
    assert Choices().found([]) == Choices(juju=False)


def test_what_one_juju_deployed_is_not_anothers():
    ours, theirs = Choices(juju=False), Choices(juju=True)
    with pytest.raises(EngineError, match=r"has no real Juju: ./mlops down.*up --engine juju$"):
        ours.refuse_other_controller(theirs)
    with pytest.raises(EngineError, match=r"has a real Juju: ./mlops down.*up --engine local$"):
        theirs.refuse_other(ours)
    for said in (Choices(), theirs):
        theirs.refuse_other(said)


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (Choices(), "from the catalogue alone, as no registry answers; pods have no way out"),
        (Choices(True, "catalogue"), "from the catalogue alone; pods have a way out"),
        (
            Choices().found(BOTH),
            "from the catalogue, what it lacks from docker.io, quay.io; pods have no way out",
        ),
        (
            Choices(images="upstream").found(BOTH),
            "from the catalogue, what it lacks or has as a stand-in from docker.io, quay.io; "
            "pods have no way out",
        ),
    ],
)
def test_one_line_says_what_holds(made: Choices, line: str):
    assert made.line() == f"images: {line}"


@pytest.mark.parametrize(
    ("runs", "options", "why"),
    [
        (Choices(), ["--egress"], "without a way out: .* then ./mlops up --egress"),
        (Choices(True), ["--no-egress"], "with a way out: .* then ./mlops up --no-egress"),
        (
            Choices(),
            ["--images=upstream"],
            "with images: from .* then ./mlops up --images upstream",
        ),
        (
            Choices(None, "upstream", registries=BOTH),
            ["--images=catalogue"],
            "with .*quay.io: .* then ./mlops up --images catalogue",
        ),
        (Choices(registries=BOTH), ["--images=upstream"], "with .*quay.io: .* --images upstream"),
    ],
)
def test_what_runs_otherwise_says_how_and_the_cure(runs: Choices, options: list[str], why: str):
    with pytest.raises(EngineError, match=f"the engine runs {why}"):
        runs.refuse_other(asked(*options))


@pytest.mark.parametrize(
    ("runs", "options"),
    [
        (Choices(True, "upstream", registries=BOTH), []),
        (Choices(True, "upstream", registries=BOTH), ["--egress", "--images=upstream"]),
        (Choices(), ["--no-egress", "--images=catalogue"]),
    ],
)
def test_what_runs_as_it_is_asked_for_is_left_alone(runs: Choices, options: list[str]):
    runs.refuse_other(asked(*options))
