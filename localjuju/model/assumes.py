"""What a charm assumes of Juju and of the cluster: `assumes` in its metadata.

Source: internal/charm/assumes and core/assumes of juju/juju.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping
from typing import Any

from localjuju.model import models
from localjuju.model.errors import ModelError
from localkube.building import versions

FEATURES = {"juju": models.AGENT_VERSION, "k8s-api": versions.KUBERNETES}
_NAME = r"[a-z][a-z0-9-]*[a-z0-9]"
_FEATURE = re.compile(rf"({_NAME})(?:\s*(>=|<)\s*(\S+))?")
_VERSION = re.compile(r"(\d+)(?:\.(\d+)(?:-([a-z]+))?)?(?:\.?(\d+))?(?:\.\d+)?")
_COMPARE = {">=": operator.ge, "<": operator.lt}
_MISMATCH = {
    "juju": "charm requires Juju version {} {}, model has version {}",
    "k8s-api": "charm requires Kubernetes version {} {}, model is running on version {}",
}
_COMPOSITE = {
    "any-of": "charm requires at least one of the following:",
    "all-of": "charm requires all of the following:",
}


def unmet(assumed: Any, features: Mapping[str, str] = FEATURES) -> str:
    """What of it is not there, in Juju's words; "" where all is.

    Args:
        assumed: the metadata's list; None where it has none.
        features: versions by the names of features.

    Raises:
        ModelError: it is malformed.
    """
    if assumed is None:
        return ""
    if not isinstance(assumed, list):
        raise ModelError('malformed "assumes" block; expected an expression list')
    complaints = [text for each in assumed if (text := _unmet(each, features))]
    return _listed("Charm cannot be deployed because:", complaints) if complaints else ""


def _unmet(expression: Any, features: Mapping[str, str]) -> str:
    if isinstance(expression, str):
        return _unmet_feature(expression.strip(), features)
    if not isinstance(expression, dict):
        raise ModelError('expected a feature, "any-of" or "all-of" expression')
    if len(expression) != 1 or not expression.keys() <= _COMPOSITE.keys():
        raise ModelError('malformed composite expression; expected an "any-of" or "all-of" block')
    ((kind, parts),) = expression.items()
    if not isinstance(parts, list):
        raise ModelError(f'malformed "{kind}" expression; expected a list of sub-expressions')
    texts = [_unmet(part, features) for part in parts]  # all of them: any may be malformed
    complaints = [text for text in texts if text]
    enough = len(complaints) < len(texts) if kind == "any-of" else not complaints
    return "" if enough or not texts else _listed(_COMPOSITE[kind], complaints)


def _unmet_feature(expression: str, features: Mapping[str, str]) -> str:
    match = _FEATURE.fullmatch(expression)
    if match is None:
        raise ModelError(f'malformed feature expression "{expression}"')
    name, sign, wanted = match.groups()
    least = _version(wanted, expression) if wanted else None
    there = features.get(name)
    if there is None:
        return f'charm requires feature "{name}" but model does not support it'
    if least is None or _COMPARE[sign](_version(there, there), least):
        return ""
    major, minor, tag, patch = least
    shown = f"{major}.{minor}.{patch}" if tag == _RELEASED else f"{major}.{minor}-{tag}{patch}"
    return _MISMATCH[name].format(sign, shown, there)


_RELEASED = "~"  # sorts after every tag: 3.6-beta2 comes before 3.6.0


def _version(text: str, expression: str) -> tuple[int, int, str, int]:
    match = _VERSION.fullmatch(text)
    if match is None:
        raise ModelError(f'malformed feature expression "{expression}"')
    major, minor, tag, patch = match.groups()
    return int(major), int(minor or 0), tag or _RELEASED, int(patch or 0)


def _listed(head: str, complaints: list[str]) -> str:
    return "\n".join([head, *_indented(complaints)])


def _indented(complaints: list[str]) -> Iterator[str]:
    for complaint in complaints:
        for line in f"- {complaint}".splitlines():
            yield f"  {line}"
