"""Charm config and action parameters as models, with one line for all that is wrong."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
import ops

from charmed_mlops import fields
from charmed_mlops.errors import ActionFailed, Blocked

Quantity = Annotated[str, msgspec.Meta(pattern=fields.QUANTITY)]
"""An amount of a resource, such as 500m or 2Gi."""

_VALUE_WIDTH = 32


class Where(msgspec.Struct, kw_only=True):
    """Parameters of an action on the objects of one namespace, or of all."""

    namespace: str = ""

    def path(self, group: str, plural: str) -> str:
        """Of the list in the API, such as `/apis/GROUP/VERSION/namespaces/x/PLURAL`."""
        return f"{group}{f'/namespaces/{self.namespace}' if self.namespace else ''}/{plural}"


class Named(msgspec.Struct, kw_only=True):
    """Parameters of an action on one object."""

    namespace: str
    name: str

    def path(self, group: str, plural: str) -> str:
        """Of the object in the API."""
        return f"{group}/namespaces/{self.namespace}/{plural}/{self.name}"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def load_options(charm: ops.CharmBase, model: type[fields.Model]) -> fields.Model:
    """The charm's config as a model; `-` in an option's name is `_` in the field's.

    Raises:
        Blocked: options are wrong; the text names each with its value.
    """
    try:
        return fields.load(model, _named(charm.config))
    except fields.WrongFields as error:
        raise Blocked("; ".join(_lines(error, "config "))) from None


def load_params(event: ops.ActionEvent, model: type[fields.Model]) -> fields.Model:
    """An action's parameters as a model.

    Raises:
        ActionFailed: parameters are wrong; the text names each with its value.
    """
    try:
        return fields.load(model, _named(event.params))
    except fields.WrongFields as error:
        raise ActionFailed("; ".join(_lines(error, ""))) from None


def params_model(method: Callable[..., Any]) -> type[msgspec.Struct] | None:
    """The model that an action's method takes, None when it takes a dict."""
    first = next(iter(inspect.signature(method).parameters.values()), None)
    if first is None:
        return None
    hint = typing.get_type_hints(method).get(first.name)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint
    return None


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("-", "_"): value for name, value in values.items()}


def _lines(error: fields.WrongFields, prefix: str) -> list[str]:
    lines = []
    for each in error.wrong:
        if not each.name:  # of the model as a whole
            lines.append(each.advice)
            continue
        given = "" if each.value is None else f"={_short(each.value)}"
        lines.append(f"{prefix}{each.name.replace('_', '-')}{given}: {each.advice}")
    return lines


def _short(value: Any) -> str:
    """The value in one line, so that what is wrong with it stays in view."""
    text = str(value).replace("\n", " ")
    return text if len(text) <= _VALUE_WIDTH else f"{text[: _VALUE_WIDTH - 1]}…"
