"""Which images the catalogue gives to the node where registries have the real ones."""

from __future__ import annotations

import pytest

from localjuju.images import Catalogue, layers

STAND_IN = "ghcr.io/dexidp/dex:v2.45.0"


def test_a_stand_in_gives_way_to_its_registry_that_answers():
    assert Catalogue.load().find(STAND_IN).stand_in
    assert layers.find_beside(["docker.io", "ghcr.io"], STAND_IN) is None


@pytest.mark.parametrize("registries", [[], ["docker.io"]])
def test_a_stand_in_stays_where_its_registry_does_not_answer(registries: list[str]):
    assert layers.find_beside(registries, STAND_IN) is not None


def test_the_real_program_of_the_catalogue_stays():
    reference = "quay.io/oauth2-proxy/oauth2-proxy:v7.15.4"
    assert not Catalogue.load().find(reference).stand_in
    assert layers.find_beside(["quay.io"], reference) is not None


def test_every_registry_of_the_catalogue_is_known():
    assert {"docker.io", "ghcr.io", "quay.io"} <= set(layers.registries())
