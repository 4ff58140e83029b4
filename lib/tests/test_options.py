"""Config and action parameters as models; actions have methods."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import ops
import pytest
from ops import testing

from charmed_mlops import Quantity, ServiceCharm
from charmed_mlops.errors import option_status

OPTIONS = {
    "log-level": {"type": "string", "default": "info"},
    "workers": {"type": "int", "default": 1},
    "memory": {"type": "string", "default": "1Gi"},
}
ACTIONS = {"brew": {"params": {"cup-size": {"type": "integer"}}, "additionalProperties": False}}


class Options(msgspec.Struct, kw_only=True):
    log_level: Literal["debug", "info"]
    workers: Annotated[int, msgspec.Meta(ge=1, le=8)]
    memory: Quantity


class Brew(msgspec.Struct, kw_only=True):
    cup_size: Annotated[int, msgspec.Meta(ge=1)] = 1


class Tea(ServiceCharm):
    """Nothing but options and an action."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container=None)

    def reconcile(self) -> None:
        self.options(Options)

    def action_brew(self, params: Brew) -> dict[str, str]:
        return {"cups": str(params.cup_size)}


def context(charm: type[ServiceCharm] = Tea) -> testing.Context:
    return testing.Context(
        charm, meta={"name": "tea"}, config={"options": OPTIONS}, actions=ACTIONS
    )


@pytest.mark.parametrize(
    "config, message",
    [
        ({}, ""),
        ({"workers": 9}, "config workers=9: must be less than or equal to 8"),
        ({"log-level": "loud"}, "config log-level=loud: must be one of debug or info"),
        ({"memory": "1 GB"}, "config memory=1 GB: must be a quantity such as 500m or 2Gi"),
        (
            {"workers": 0, "memory": "much"},
            "config workers=0: must be greater than or equal to 1; config memory=much: must…",
        ),
        (
            {"memory": "a quantity that nobody would write in an option"},
            "config memory=a quantity that nobody would wr…: must be a quantity such as…",
        ),
    ],
)
def test_wrong_options_are_named_all_at_once(config, message):
    out = (this := context()).run(this.on.config_changed(), testing.State(config=config))
    assert out.unit_status.message == message
    assert out.unit_status.name == ("blocked" if message else "active")


def test_the_log_has_the_whole_of_a_refusal_that_the_status_shortens():
    config: dict[str, str | int] = {"workers": 0, "memory": "much"}
    (this := context()).run(this.on.config_changed(), testing.State(config=config))
    whole = (
        "config workers=0: must be greater than or equal to 1; "
        "config memory=much: must be a quantity such as 500m or 2Gi"
    )
    assert whole in [each.message for each in this.juju_log]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (
            "config workers=0: must be from 1 to 64",
            "config workers=0: must be from 1 to 64: juju config tea --reset workers",
        ),
        # no room for the cure
        (
            "config max-connections=1: must be from 10 to 10000, as a server has it",
            "config max-connections=1: must be from 10 to 10000, as a server has it",
        ),
        # it names a cure of its own, or no value
        (
            "config key=secret:1: not readable: juju grant-secret 1 tea",
            "config key=secret:1: not readable: juju grant-secret 1 tea",
        ),
        (
            "config a-long-name: not readable: juju grant-secret secret:d4g5ssfmp25c7a7kmq1g tea",
            "config a-long-name: not readable: juju grant-secret secret:d4g5ssfmp25c7a7kmq1g tea",
        ),
        ("config leaves: must be a YAML map", "config leaves: must be a YAML map"),
    ],
)
def test_a_wrong_option_names_its_cure_where_there_is_room(text, status):
    assert option_status(text, "tea") == status


def test_an_action_gets_its_parameters_as_the_model_that_it_names():
    this = context()
    this.run(this.on.action("brew", params={"cup-size": 3}), testing.State())
    assert this.action_results == {"cups": "3"}
    with pytest.raises(testing.ActionFailed, match="cup-size=0: must be greater than or equal"):
        this.run(this.on.action("brew", params={"cup-size": 0}), testing.State())


def test_an_action_without_a_method_is_found_by_the_first_test():
    class Coffee(ServiceCharm):
        def __init__(self, framework: ops.Framework):
            super().__init__(framework, container=None)

    this = context(Coffee)
    with pytest.raises(testing.errors.UncaughtCharmError, match="action brew has no method"):
        this.run(this.on.config_changed(), testing.State())
