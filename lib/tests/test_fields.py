"""What `fields.load` takes for a model's fields, and what it says is wrong."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest

from charmed_mlops import fields

Length = msgspec.Meta(min_length=1, max_length=3)


class Leaf(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    kind: Annotated[str, msgspec.Meta(pattern=r"^[a-z]+\Z")]
    grams: int = 1

    def __post_init__(self) -> None:
        if self.kind == "coffee":
            raise ValueError("no tea")


class Tea(msgspec.Struct, kw_only=True):
    cups: Annotated[int, msgspec.Meta(ge=1, le=8)]
    cake: bool = False
    size: Annotated[str, msgspec.Meta(pattern=fields.QUANTITY)] = "1Gi"
    milk: Literal["none", "much"] = "none"
    sugar: Literal["white"] = "white"
    name: Annotated[str, Length] = "tea"
    guests: Annotated[list[str], fields.Parsed(str.split), Length] = []
    leaves: list[Leaf] = []
    shelf: dict[Annotated[str, Length], Leaf] = {}

    def __post_init__(self) -> None:
        if self.cake and self.cups == 1:
            raise ValueError("cake: needs more cups")


def wrong(**given: Any) -> list[str]:
    """What is wrong with the values, each `NAME[=VALUE]: ADVICE`."""
    with pytest.raises(fields.WrongFields) as refused:
        fields.load(Tea, given)
    return [
        f"{each.name}{'' if each.value is None else f'={each.value}'}: {each.advice}"
        for each in refused.value.wrong
    ]


def test_values_become_the_model():
    given = {"cups": "3", "guests": "ann bob", "leaves": [{"kind": "oolong"}], "other": 1}
    made = fields.load(Tea, given)
    assert (made.cups, made.guests, made.leaves) == (3, ["ann", "bob"], [Leaf(kind="oolong")])


@pytest.mark.parametrize(
    "given, said",
    [
        ({}, "cups: is missing"),
        ({"cups": 9}, "cups=9: must be less than or equal to 8"),
        ({"cups": 0}, "cups=0: must be greater than or equal to 1"),
        ({"cups": "many"}, "cups=many: must be a whole number"),
        ({"cups": True}, "cups=True: must be a whole number"),
        ({"cups": 1.5}, "cups=1.5: must be a whole number"),
        ({"cups": 1, "cake": "a"}, "cake=a: must be true or false"),
        ({"cups": 1, "size": 1}, "size=1: must be a text"),
        ({"cups": 1, "size": "1 GB"}, "size=1 GB: must be a quantity such as 500m or 2Gi"),
        # a last line feed counts
        ({"cups": 1, "size": "1Gi\n"}, "size=1Gi\n: must be a quantity such as 500m or 2Gi"),
        ({"cups": 1, "milk": "oat"}, "milk=oat: must be one of none or much"),
        ({"cups": 1, "sugar": "brown"}, "sugar=brown: must be white"),
        ({"cups": 1, "name": ""}, "name=: must have at least 1 character"),
        ({"cups": 1, "guests": " "}, "guests= : must have at least 1 item"),
        ({"cups": 1, "leaves": "a"}, "leaves=a: must be a list"),
        ({"cups": 1, "leaves": [3]}, "leaves.0=3: must be a map"),
        ({"cups": 1, "leaves": [{}]}, "leaves.0.kind: is missing"),
        ({"cups": 1, "leaves": [{"kind": "A"}]}, "leaves.0.kind=A: must match ^[a-z]+$"),
        ({"cups": 1, "leaves": [{"kind": "a", "old": 1}]}, "leaves.0.old: is unknown"),
        ({"cups": 1, "leaves": [{"kind": "coffee"}]}, "leaves.0: no tea"),
        ({"cups": 1, "shelf": []}, "shelf=[]: must be a map"),
        (
            {"cups": 1, "shelf": {"left": {"kind": "a"}}},
            "shelf.left=left: must have at most 3 characters",
        ),
        (
            {"cups": 1, "shelf": {"top": {"kind": "a", "grams": "b"}}},
            "shelf.top.grams=b: must be a whole number",
        ),
        ({"cups": 1, "cake": True}, ": cake: needs more cups"),
    ],
)
def test_what_is_wrong_is_said_with_its_place_and_value(given, said):
    assert wrong(**given) == [said]


def test_all_that_is_wrong_is_said():
    assert wrong(size="much", cake=3) == [
        "cups: is missing",
        "cake=3: must be true or false",
        "size=much: must be a quantity such as 500m or 2Gi",
    ]
    assert wrong(cups=0, leaves=[{"kind": 1}, {"grams": "a"}]) == [
        "cups=0: must be greater than or equal to 1",
        "leaves.0.kind=1: must be a text",
        "leaves.1.kind: is missing",
        "leaves.1.grams=a: must be a whole number",
    ]
