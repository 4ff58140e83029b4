"""What an engine was started with: who controls it, whether pods reach out, whose images.

It is kept in the state folder: an engine that is started again without a word is as it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from localkube.host.errors import EngineError

_FILE = "choices.json"
Source = Literal["catalogue", "upstream"]
SOURCES: tuple[Source, ...] = ("catalogue", "upstream")


@dataclass(frozen=True)
class Choices:
    """What somebody asked for; None where nothing was said."""

    egress: bool | None = None
    """Whether pods reach what this machine reaches."""

    images: Source | None = None
    """`catalogue`: from there alone. `upstream`: what it lacks or has only as a stand-in comes
    from the image's registry. None: what it lacks does, where a registry answers; stand-ins stay,
    as upstream's own may need more, such as a way out for pods."""

    juju: bool | None = None
    """Whether a real Juju controls the cluster, and nothing plays its part."""

    registries: tuple[str, ...] = ()
    """Those that answered when the engine was started; none where images are the catalogue's."""

    def options(self) -> list[str]:
        """As options of a command."""
        egress = {True: ["--egress"], False: ["--no-egress"], None: []}[self.egress]
        juju = {True: ["--juju"], False: ["--no-juju"], None: []}[self.juju]
        return [*egress, *([f"--images={self.images}"] if self.images else []), *juju]

    def over(self, before: Choices) -> Choices:
        """These, and what was asked for before where nothing is said now."""
        return Choices(
            before.egress if self.egress is None else self.egress,
            self.images or before.images,
            before.juju if self.juju is None else self.juju,
        )

    def found(self, answering: Collection[str]) -> Choices:
        """With the registries that answer.

        Raises:
            EngineError: none does, and images were to come from there.
        """
        if self.images == "upstream" and not answering:
            raise EngineError(
                "no registry answers: images can come from the catalogue alone: ./mlops up "
                "--images catalogue, or name a mirror with LOCALJUJU_MIRRORS"
            )
        return replace(self, registries=tuple(sorted(answering)), juju=bool(self.juju))

    def in_place_of_stand_ins(self) -> tuple[str, ...]:
        """The registries that stand-ins give way to."""
        return self.registries if self.images == "upstream" else ()

    def refuse_other_controller(self, asked: Choices) -> None:
        """What was deployed by one Juju is not another's.

        Raises:
            EngineError: the state folder is of an engine that something else controls.
        """
        if None not in (self.juju, asked.juju) and asked.juju != self.juju:
            has, option = ("no", "--engine juju") if asked.juju else ("a", "--engine local")
            raise EngineError(
                f"the engine has {has} real Juju: ./mlops down, which removes all data, then "
                f"./mlops up {option}"
            )

    def line(self) -> str:
        """What holds for this engine, for people."""
        images = "images: from the catalogue"
        if self.registries:
            what = "what it lacks or has as a stand-in" if self.images else "what it lacks"
            images += f", {what} from {', '.join(self.registries)}"
        else:
            images += " alone" if self.images else " alone, as no registry answers"
        return f"{images}; pods have {'a' if self.egress else 'no'} way out"

    def refuse_other(self, asked: Choices) -> None:
        """Compares what runs with what is asked for now.

        Raises:
            EngineError: the engine would have to be started anew.
        """
        self.refuse_other_controller(asked)
        again = "./mlops down, which removes all data, then ./mlops up"
        if asked.egress is not None and asked.egress != bool(self.egress):
            how, option = ("with", "--no-egress") if self.egress else ("without", "--egress")
            raise EngineError(f"the engine runs {how} a way out: {again} {option}")
        same = not self.registries if asked.images == "catalogue" else asked.images == self.images
        if asked.images is not None and not same:
            runs, _, _ = self.line().partition(";")
            raise EngineError(f"the engine runs with {runs}: {again} --images {asked.images}")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `asked` reads."""
    parser.add_argument(
        "--egress",
        action=argparse.BooleanOptionalAction,
        help="let pods reach what this machine reaches; default: as the last time, else not",
    )
    parser.add_argument(
        "--images",
        choices=SOURCES,
        help="catalogue: all are made here; upstream: what the catalogue lacks or has as a "
        "stand-in comes from the image's registry; default: as the last time, else only what it "
        "lacks does, where a registry answers",
    )


def add_controller(parser: argparse.ArgumentParser) -> None:
    """Adds the option that tells who controls the cluster; without it `asked` says nothing."""
    parser.add_argument(
        "--juju",
        action=argparse.BooleanOptionalAction,
        help="leave the cluster to a real Juju: nothing plays its part",
    )


def asked(arguments: argparse.Namespace) -> Choices:
    """What the options say."""
    return Choices(arguments.egress, arguments.images, getattr(arguments, "juju", None))


def load(state: Path) -> Choices:
    """What the engine of a state folder was started with last."""
    try:
        said = json.loads((state / _FILE).read_text())
        return Choices(said["egress"], said["images"], said.get("juju"), tuple(said["registries"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Choices()


def save(state: Path, made: Choices) -> None:
    """Keeps what an engine is started with."""
    new = state / f"{_FILE}.new"
    new.write_text(json.dumps(asdict(made)))
    new.rename(state / _FILE)
