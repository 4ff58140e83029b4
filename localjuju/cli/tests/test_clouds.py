"""Clouds and credentials, through jubilant."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jubilant
import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def juju(tmp_path: Path) -> jubilant.Juju:
    program = tmp_path / "juju"
    program.write_text(
        f"#!/bin/sh\nPYTHONPATH={ROOT} CHARMED_MLOPS_STATE={tmp_path / 'state'} "
        f'exec {sys.executable} -m localjuju.cli "$@"\n'
    )
    program.chmod(0o755)
    return jubilant.Juju(cli_binary=str(program))


def _cloud(endpoint: str) -> Any:
    stack = {
        "type": "openstack",
        "auth-types": ["userpass"],
        "regions": {"r": {"endpoint": endpoint}},
    }
    return {"clouds": {"stack": stack}}


@pytest.mark.parametrize("where", [{"client": True}, {"controller": "localjuju"}])
def test_a_cloud_is_kept_changed_shown_and_forgotten(juju: jubilant.Juju, where: dict[str, Any]):
    flags = ["--client"] if "client" in where else ["--controller", "localjuju"]
    with pytest.raises(jubilant.CLIError, match="returned non-zero exit status 1"):
        juju.update_cloud("stack", _cloud("https://a"), **where)
    juju.add_cloud("stack", _cloud("https://a"), **where)
    with pytest.raises(jubilant.CLIError) as twice:
        juju.add_cloud("stack", _cloud("https://a"), **where)
    assert "use `update-cloud stack`" in twice.value.stderr
    assert "https://a" in juju.cli("show-cloud", *flags, "stack", include_model=False)
    juju.update_cloud("stack", _cloud("https://b"), **where)
    assert "https://b" in juju.cli("show-cloud", *flags, "stack", include_model=False)
    assert "stack        1  openstack" in juju.cli("clouds", include_model=False)
    juju.cli("remove-cloud", *flags, "stack", include_model=False)
    with pytest.raises(jubilant.CLIError) as gone:
        juju.cli("show-cloud", *flags, "stack", include_model=False)
    assert gone.value.stderr == "ERROR cloud stack not found\n"
    assert "local        1  kubernetes" in juju.cli("clouds", include_model=False)


def test_a_credential_is_kept_for_its_owner_and_its_secrets_are_not_shown(
    juju: jubilant.Juju, tmp_path: Path
):
    credential = {"auth-type": "access-key", "access-key": "name", "secret-key": "s3cret"}
    juju.add_credential("aws", {"credentials": {"aws": {"c": credential}}}, client=True)

    def shown(*options: str) -> dict[str, str]:
        told = json.loads(
            juju.cli("credentials", "--format", "json", *options, include_model=False)
        )
        return told["client-credentials"]["aws"]["cloud-credentials"]["c"]["details"]

    assert shown() == {"access-key": "name"}
    assert shown("--show-secrets") == {"access-key": "name", "secret-key": "s3cret"}
    assert (tmp_path / "state" / "clouds.yaml").stat().st_mode & 0o777 == 0o600
    juju.cli("remove-credential", "aws", "c", "--client", include_model=False)
    assert juju.cli("credentials", "--format", "json", include_model=False) == "{}\n"
