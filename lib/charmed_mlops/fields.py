"""Values from outside as the fields of a model, with all that is wrong with them.

Models are msgspec's: they load in a tenth of the time of pydantic's, which took half of a hook's.
"""

from __future__ import annotations

import contextlib
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Struct

Model = TypeVar("Model", bound=Struct)
QUANTITY = r"^\d+(\.\d+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?\Z"
"""Patterns end with \\Z, as `$` lets a last line feed pass. Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/"""

_ADVICE = {QUANTITY: "must be a quantity such as 500m or 2Gi"}
_KINDS = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a map",
    "null": "nothing",
}
_PLACE = re.compile(r" - at `(?P<path>.*)`$")
_BOUND = re.compile(r"Expected `\w+` (?P<sign><=|>=) (?P<bound>\S+)")
_LENGTH = re.compile(r"Expected `(?P<kind>\w+)` of length (?P<sign><=|>=) (?P<bound>\d+)")
_PATTERN = re.compile(r"Expected `str` matching regex (?P<pattern>'.*'|\".*\")", re.DOTALL)
_KIND = re.compile(r"Expected `(?P<kinds>[\w |]+)`, got `")
_CHOICE = re.compile(r"Invalid enum value (?P<value>.*)", re.DOTALL)
_FIELD = re.compile(r"Object (?P<what>contains unknown|missing required) field `(?P<name>.*)`")
_LIMITS = {"<=": "less than or equal to", ">=": "greater than or equal to"}


@dataclass(frozen=True)
class Parsed:
    """In the Annotated of a field's type: reads what is given, before its type is checked.

    Attributes:
        read: returns the value; ValueError says what it must be.
    """

    read: Callable[[Any], Any]


@dataclass(frozen=True)
class Wrong:
    """What is wrong with one value.

    Attributes:
        name: the field's and, within it, the place: `volumes.0.mount`. Empty: of the model as a
            whole.
        advice: what it must be.
        value: what was given; None where that is not known, or nothing was given.
    """

    name: str
    advice: str
    value: Any = None

    def __str__(self) -> str:
        return f"{self.name}: {self.advice}" if self.name else self.advice


class WrongFields(ValueError):  # noqa: N818
    """Values that are not what the model says."""

    def __init__(self, wrong: list[Wrong]):
        super().__init__("; ".join(map(str, wrong)))
        self.wrong = wrong


def load(model: type[Model], values: Mapping[str, Any]) -> Model:
    """The model with the values of its fields.

    What it has no field for is passed over, unless the model forbids it. A text stands for the
    number that it is.

    Raises:
        WrongFields: all that is wrong; what `__post_init__` raises only if each field is right.
    """
    found, wrong, known = {}, [], set()
    for field in msgspec.structs.fields(model):
        known.add(field.encode_name)
        if field.encode_name in values:
            with _collected(wrong, field.encode_name):
                found[field.name] = converted(values[field.encode_name], field.type)
        elif field.required:
            wrong.append(Wrong(field.encode_name, "is missing"))
    if model.__struct_config__.forbid_unknown_fields:
        wrong += [Wrong(str(name), "is unknown") for name in values if name not in known]
    if wrong:
        raise WrongFields(wrong)
    try:
        return model(**found)
    except ValueError as error:
        raise WrongFields([Wrong("", str(error))]) from None


def converted(value: Any, wanted: Any) -> Any:
    """The value as the type that is wanted.

    Raises:
        WrongFields: all that is wrong in it.
    """
    constraints = getattr(wanted, "__metadata__", ())
    plain = wanted.__origin__ if constraints else wanted
    given, kind = value, typing.get_origin(plain)
    try:
        for each in constraints:
            if isinstance(each, Parsed):
                value = each.read(value)
        # entry by entry, for the place of what is wrong
        # kind first: to Python 3.10 `dict[str, int]` is a type, too
        model = kind is None and isinstance(plain, type) and issubclass(plain, Struct)
        if model and isinstance(value, dict):
            return load(plain, value)
        if kind is list and isinstance(value, list):
            (item,) = typing.get_args(plain)
            value = [*_each(enumerate(value), int, item).values()]
            wanted = _constrained(list, constraints)
        elif kind is dict and isinstance(value, dict):
            value = _each(value.items(), *typing.get_args(plain))
            wanted = _constrained(dict, constraints)
        return msgspec.convert(value, wanted, strict=False)
    except msgspec.ValidationError as error:
        text = str(error)
        place = _PLACE.search(text)
        path = place["path"].removeprefix("$").replace("[", ".").replace("]", "") if place else ""
        advice = _advice(_PLACE.sub("", text), wanted)
        raise WrongFields([Wrong(path.strip("."), advice, None if place else given)]) from None
    except WrongFields:
        raise
    except ValueError as error:
        raise WrongFields([Wrong("", str(error), given)]) from None


def _constrained(plain: Any, constraints: Iterable[Any]) -> Any:
    for each in constraints:
        if isinstance(each, msgspec.Meta):
            plain = Annotated[plain, each]
    return plain


def _each(entries: Iterable[tuple[Any, Any]], key: Any, value: Any) -> dict[Any, Any]:
    """The entries of a list or a map, with their places."""
    found, wrong = {}, []
    for name, given in entries:
        with _collected(wrong, str(name)):
            found[converted(name, key)] = converted(given, value)
    if wrong:
        raise WrongFields(wrong)
    return found


@contextlib.contextmanager
def _collected(wrong: list[Wrong], place: str) -> Iterator[None]:
    """Adds what is wrong within a place."""
    try:
        yield
    except WrongFields as error:
        wrong += [
            Wrong(f"{place}.{each.name}" if each.name else place, each.advice, each.value)
            for each in error.wrong
        ]


def _advice(text: str, wanted: Any) -> str:
    """msgspec's words for what is wrong in those of a status line."""
    if found := _LENGTH.match(text):
        most = "at most" if found["sign"] == "<=" else "at least"
        unit = "character" if found["kind"] == "str" else "item"
        unit += "" if found["bound"] == "1" else "s"
        return f"must have {most} {found['bound']} {unit}"
    if found := _BOUND.match(text):
        return f"must be {_LIMITS[found['sign']]} {found['bound']}"
    if found := _PATTERN.match(text):
        pattern = found["pattern"][1:-1].replace("\\\\", "\\")
        return _ADVICE.get(pattern, "must match " + pattern.replace("\\Z", "$"))
    if found := _KIND.match(text):
        kinds = [_KINDS.get(each, each) for each in found["kinds"].split(" | ")]
        return f"must be {' or '.join(kinds)}"
    if found := _FIELD.match(text):
        unknown = found["what"] == "contains unknown"
        return f"{found['name']} is unknown" if unknown else f"{found['name']} is missing"
    if (found := _CHOICE.match(text)) and (choices := _choices(wanted)):
        return f"must be {_one_of(choices)}"
    return text[:1].lower() + text[1:]


def _choices(wanted: Any) -> list[str]:
    """The values of a Literal."""
    while hasattr(wanted, "__metadata__"):
        wanted = wanted.__origin__
    if typing.get_origin(wanted) is Literal:
        return [str(each) for each in typing.get_args(wanted)]
    return []


def _one_of(choices: list[str]) -> str:
    if len(choices) == 1:
        return choices[0]
    return f"one of {', '.join(choices[:-1])} or {choices[-1]}"
