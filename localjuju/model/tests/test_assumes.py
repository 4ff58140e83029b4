"""What a charm assumes: a deployment that cannot work is refused, in Juju's words."""

from __future__ import annotations

from typing import Any

import pytest

from localjuju.model import assumes
from localjuju.model.errors import ModelError

FEATURES = {"juju": "3.6.10", "k8s-api": "1.35.4"}


@pytest.mark.parametrize(
    "assumed",
    [
        None,
        [],
        ["juju", "k8s-api"],
        ["juju >= 3.6.10", "juju<4", "k8s-api >=1.35"],
        ["juju >= 3.6-beta2"],
        [{"any-of": ["juju >= 4.0", {"all-of": ["juju >= 3.1.5", "juju < 3.7"]}]}],
    ],
)
def test_what_is_there_is_enough(assumed: Any):
    assert assumes.unmet(assumed, FEATURES) == ""


@pytest.mark.parametrize(
    ("assumed", "told"),
    [
        (["juju >= 42"], "  - charm requires Juju version >= 42.0.0, model has version 3.6.10"),
        (
            ["juju < 3.6-rc1"],
            "  - charm requires Juju version < 3.6-rc1, model has version 3.6.10",
        ),
        (
            ["juju", "k8s-api < 1.30", "popcorn"],
            "  - charm requires Kubernetes version < 1.30.0, model is running on version 1.35.4\n"
            '  - charm requires feature "popcorn" but model does not support it',
        ),
        (
            [{"any-of": ["juju >= 4", {"all-of": ["juju", "popcorn"]}]}],
            "  - charm requires at least one of the following:\n"
            "    - charm requires Juju version >= 4.0.0, model has version 3.6.10\n"
            "    - charm requires all of the following:\n"
            '      - charm requires feature "popcorn" but model does not support it',
        ),
    ],
)
def test_what_is_missing_is_told(assumed: Any, told: str):
    head = "Charm cannot be deployed because:\n"
    assert assumes.unmet(assumed, FEATURES) == head + told


@pytest.mark.parametrize(
    "assumed",
    ["juju", ["juju > 3"], ["juju >= new"], [3], [{"some-of": []}], [{"any-of": "juju"}],
     [{"any-of": ["juju", "Juju 3"]}]],
)  # fmt: skip
def test_what_cannot_be_read_is_an_error(assumed: Any):
    with pytest.raises(ModelError, match=r"malformed|expected"):
        assumes.unmet(assumed, FEATURES)
