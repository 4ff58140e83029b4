"""A container's environment and the downward API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from lightkube import codecs
from lightkube.models.core_v1 import ResourceFieldSelector

from localjuju.node import environment
from localjuju.node.environment import ConfigError, expand
from localjuju.node.values import field_value, quantity, resource_value

OBJECTS = {("ConfigMap", "settings"): {"a": "1"}, ("Secret", "key"): {"p": "s3cret"}}


async def lookup(kind: str, name: str) -> Mapping[str, str] | None:
    return OBJECTS.get((kind, name))


def pod(*variables: dict[str, object], **container: object) -> Any:
    return codecs.from_dict(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "web-0", "namespace": "m", "uid": "u", "labels": {"app": "web"},
            },
            "spec": {
                "nodeName": "localhost",
                "serviceAccountName": "web",
                "containers": [{"name": "c", "image": "x", "env": list(variables), **container}],
            },
        }
    )  # fmt: skip


async def built(*variables: dict[str, object], **container: object) -> dict[str, str]:
    made = pod(*variables, **container)
    return await environment.build(
        made, made.spec.containers[0], {"I": "image"}, lookup, "10.1.0.9"
    )


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$(A)/x", "1/x"),
        ("$$(A)", "$(A)"),
        ("$(B)", "$(B)"),
        ("$A", "$A"),
        ("$$", "$"),
        ("$(head $$.pid) $$$$", "$(head $$.pid) $$"),  # a command of a shell is left alone
        ("$(A", "$(A"),
    ],
)
def test_references_are_expanded_as_kubernetes_does(text: str, result: str):
    assert expand(text, {"A": "1"}) == result


async def test_later_variables_may_name_earlier_ones():
    found = await built({"name": "A", "value": "x"}, {"name": "B", "value": "$(A)-$(I)"})
    assert found["B"] == "x-image"


async def test_values_come_from_fields_config_maps_and_secrets():
    found = await built(
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}},
        {"name": "P", "valueFrom": {"secretKeyRef": {"name": "key", "key": "p"}}},
        {"name": "O", "valueFrom": {"secretKeyRef": {"name": "n", "key": "p", "optional": True}}},
        envFrom=[{"prefix": "S_", "configMapRef": {"name": "settings"}}],
    )
    assert {key: found.get(key) for key in ("IP", "APP", "A", "P", "O", "S_a")} == {
        "IP": "10.1.0.9", "APP": "web", "A": "1", "P": "s3cret", "O": None, "S_a": "1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ({"secretKeyRef": {"name": "none", "key": "p"}}, 'secret "none" not found'),
        (
            {"configMapKeyRef": {"name": "settings", "key": "z"}},
            'configmap "settings" has no key z',
        ),
    ],
)
async def test_what_is_required_and_missing_is_named(reference: dict[str, object], text: str):
    with pytest.raises(ConfigError, match=text):
        await built({"name": "X", "valueFrom": reference})


def test_an_unknown_field_is_refused():
    with pytest.raises(ValueError, match=r"no field status\.phase"):
        field_value(pod(), "status.phase", "")


@pytest.mark.parametrize(
    ("text", "value"), [("500m", "0.5"), ("1Gi", "1073741824"), ("2", "2"), ("1e3", "1000")]
)
def test_quantities(text: str, value: str):
    assert quantity(text) == quantity(value)


def test_a_limit_is_told_in_units_of_the_divisor_rounded_up():
    made = pod(resources={"limits": {"cpu": "1500m", "memory": "1Gi"}})
    container = made.spec.containers[0]

    cpu = ResourceFieldSelector(resource="limits.cpu")
    memory = ResourceFieldSelector(resource="limits.memory", divisor="1Mi")
    assert resource_value(made, container, cpu) == "2"
    assert resource_value(made, container, memory) == "1024"
