"""Charm config and action parameters as pydantic models, with one line for all that is wrong."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable
from typing import Annotated, Any

import ops
import pydantic

from charmed_mlops.errors import ActionFailed, Blocked

# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
Quantity = Annotated[
    str, pydantic.StringConstraints(pattern=r"^\d+(\.\d+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")
]
"""An amount of a resource, such as 500m or 2Gi."""

_ADVICE = {
    "^\\d+(\\.\\d+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$": "must be a quantity such as 500m or 2Gi",
}
_VALUE_WIDTH = 32
Model = typing.TypeVar("Model", bound=pydantic.BaseModel)


class Where(pydantic.BaseModel):
    """Parameters of an action on the objects of one namespace, or of all."""

    namespace: str = ""

    def path(self, group: str, plural: str) -> str:
        """Of the list in the API, such as `/apis/GROUP/VERSION/namespaces/x/PLURAL`."""
        return f"{group}{f'/namespaces/{self.namespace}' if self.namespace else ''}/{plural}"


class Named(pydantic.BaseModel):
    """Parameters of an action on one object."""

    namespace: str
    name: str

    def path(self, group: str, plural: str) -> str:
        """Of the object in the API."""
        return f"{group}/namespaces/{self.namespace}/{plural}/{self.name}"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def load_options(charm: ops.CharmBase, model: type[Model]) -> Model:
    """The charm's config as a model; `-` in an option's name is `_` in the field's.

    Raises:
        Blocked: options are wrong; the text names each with its value.
    """
    try:
        return charm.load_config(model)
    except pydantic.ValidationError as error:
        raise Blocked("; ".join(_lines(error, "config "))) from None


def load_params(event: ops.ActionEvent, model: type[Model]) -> Model:
    """An action's parameters as a model.

    Raises:
        ActionFailed: parameters are wrong; the text names each with its value.
    """
    try:
        return event.load_params(model)
    except pydantic.ValidationError as error:
        raise ActionFailed("; ".join(_lines(error, ""))) from None


def params_model(method: Callable[..., Any]) -> type[pydantic.BaseModel] | None:
    """The model that an action's method takes, None when it takes a dict."""
    first = next(iter(inspect.signature(method).parameters.values()), None)
    if first is None:
        return None
    hint = typing.get_type_hints(method).get(first.name)
    if isinstance(hint, type) and issubclass(hint, pydantic.BaseModel):
        return hint
    return None


def _lines(error: pydantic.ValidationError, prefix: str) -> list[str]:
    lines = []
    for each in error.errors():
        name = ".".join(str(part) for part in each["loc"]).replace("_", "-")
        if each["type"] == "value_error" and not name:  # of the model as a whole
            lines.append(_advice(each))
            continue
        value = each["input"]
        lines.append(f"{prefix}{name}={_short(value)}: {_advice(each)}")
    return lines


def _short(value: Any) -> str:
    """The value in one line, so that what is wrong with it stays in view."""
    text = str(value).replace("\n", " ")
    return text if len(text) <= _VALUE_WIDTH else f"{text[: _VALUE_WIDTH - 1]}…"


def _advice(error: Any) -> str:
    context = error.get("ctx") or {}
    if error["type"] == "string_pattern_mismatch":
        return _ADVICE.get(context["pattern"], f"must match {context['pattern']}")
    if error["type"] in ("literal_error", "enum"):
        return f"must be one of {context['expected'].replace(chr(39), '')}"
    if error["type"] == "value_error":
        return str(context["error"])
    text = re.sub(r"^(Input|Value) should be", "must be", error["msg"])
    return text[0].lower() + text[1:]
