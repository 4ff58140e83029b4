"""The interface `cluster_resources`: what goes into the databag comes out of it."""

from __future__ import annotations

import json

import pytest

from charmed_mlops.interfaces.manifests import (
    InvalidManifests,
    digest,
    for_tenant,
    pack,
    unpack,
)

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}


def test_what_is_packed_comes_out():
    many = [
        {**CONFIG_MAP, "metadata": {"name": str(n)}, "data": {"x": "y" * 999}} for n in range(99)
    ]
    assert unpack(pack(many)) == many
    assert len(pack(many)) < 5000


def test_a_plain_list_is_taken_too():
    assert unpack(json.dumps([CONFIG_MAP])) == [CONFIG_MAP]


def test_the_same_objects_give_the_same_text_and_hash():
    turned = {key: CONFIG_MAP[key] for key in reversed(CONFIG_MAP)}
    assert pack([CONFIG_MAP]) == pack([turned])
    assert digest([CONFIG_MAP]) == digest([turned])
    assert digest([CONFIG_MAP]) != digest([{**CONFIG_MAP, "data": {}}])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "not a list"),
        (json.dumps([{"kind": "ConfigMap"}]), "without apiVersion"),
        (json.dumps([CONFIG_MAP, CONFIG_MAP]), "declared twice"),
        (pack([{**CONFIG_MAP, "data": {"x": "y" * 9_000_000}}]), "more than"),
        (json.dumps([{**CONFIG_MAP, "metadata": {"name": "a", "namespace": {}}}]), "not a text"),
        (json.dumps([{**CONFIG_MAP, "metadata": {"name": ""}}]), "without apiVersion"),
        ("[" * 100_000 + "]" * 100_000, "not a list"),
        ("[NaN]", "not a list"),
        (r'["\ud800"]', "not a list"),
        (pack([CONFIG_MAP])[:40], "not a list|cut short"),
    ],
)
def test_what_is_not_a_list_of_objects_is_refused(text: str, reason: str):
    with pytest.raises(InvalidManifests, match=reason):
        unpack(text)


def test_a_tenant_s_name_stands_wherever_the_placeholder_stood():
    given = {"a": ["$(tenant)", {"b-$(tenant)": "x $(tenant) $(other)"}], "n": 1}
    assert for_tenant(given, "alice") == {
        "a": ["alice", {"b-alice": "x alice $(other)"}],
        "n": 1,
    }


@pytest.mark.parametrize(
    ("manifests", "tenants", "expected"),
    [
        ([CONFIG_MAP], [], "7912126f4329cf87"),
        ([CONFIG_MAP], [CONFIG_MAP], "103ee347387d51ed"),
    ],
)
def test_vectors_of_the_wire_format(manifests, tenants, expected):
    """A charm and the broker are refreshed apart: these values may never change in a version."""
    assert digest(manifests, tenants).startswith(expected)
