"""A model that lasts for all files; pytest-jubilant's own fixture makes one for each file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import jubilant
import pytest
from pytest_jubilant._main import _JujuFactory


@contextmanager
def lasting_model(
    config: pytest.Config, prefix: str, suffix: str, *, teardown: bool
) -> Iterator[jubilant.Juju]:
    """A model PREFIX-SUFFIX that is made and torn down as pytest-jubilant's options say.

    The factory is what its fixtures use; the plugin has them for one module only. A test may
    have destroyed the model.

    Args:
        config: with the options.
        prefix: of the model's name.
        suffix: of the model's name.
        teardown: whether it goes in the end, if the options say so, too.
    """
    option = config.getoption
    factory = _JujuFactory(
        model_prefix=prefix,
        allow_existing_model=bool(option("--juju-model")),
        log_path=option("--juju-dump-logs"),
        add_model=not option("--no-juju-setup"),
        controller=option("--juju-controller"),
        cloud=option("--juju-cloud"),
    )
    juju = factory.get_juju(suffix)
    if option("--juju-switch"):
        assert juju.model is not None
        juju.cli("switch", juju.model, include_model=False)
    yield juju
    factory._dump_all_logs()
    if not teardown or option("--no-juju-teardown"):
        return
    if f"{prefix}-{suffix}" in model_names(juju):
        factory._teardown(force=True)


def model_names(juju: jubilant.Juju) -> list[str]:
    """Every model of the controller."""
    found = json.loads(juju.cli("models", "--format", "json", include_model=False))["models"]
    return [model["short-name"] for model in found]
