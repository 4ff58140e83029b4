"""Overlays name charms, options and endpoints that there are, and join only what fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from charmed_mlops.testing import ROOT, merged

BUNDLES = sorted((ROOT / "bundle").rglob("*.yaml"))


def charm(application: str) -> dict[str, Any]:
    """The charm of an application, which has its name."""
    return merged(ROOT / "charms" / application)


@pytest.mark.parametrize("file", BUNDLES, ids=[file.stem for file in BUNDLES])
def test_applications_have_charms_with_such_options_and_resources(file: Path):
    for name, spec in (yaml.safe_load(file.read_text()).get("applications") or {}).items():
        if "charm" not in spec:  # changes one of the bundle
            continue
        meta = charm(name)
        assert Path(spec["charm"]).name == f"{name}.charm"
        known = (meta.get("config") or {}).get("options") or {}
        assert set(spec.get("options") or {}) <= set(known)
        assert set(spec.get("resources") or {}) == set(meta.get("resources") or {})


@pytest.mark.parametrize("file", BUNDLES, ids=[file.stem for file in BUNDLES])
def test_relations_join_a_requirer_and_a_provider_of_one_interface(file: Path):
    for relation in yaml.safe_load(file.read_text()).get("relations") or []:
        roles = set()
        interfaces = set()
        for side in relation:
            name, _, endpoint = side.partition(":")
            meta = charm(name)
            (role,) = [each for each in ("requires", "provides") if endpoint in meta.get(each, {})]
            roles.add(role)
            interfaces.add(meta[role][endpoint]["interface"])
        assert (len(interfaces), roles) == (1, {"requires", "provides"}), relation
