"""Interface s3: the wire format of a request, and what Charmhub's providers answer."""

from __future__ import annotations

import json

import ops
import pytest
from ops import testing

from charmed_mlops import S3Provider, S3Requirer, ServiceCharm
from charmed_mlops.interfaces.s3 import Bucket

# s3-integrator of track 1, with its library's version 0: options as they were typed, keys in plain
INTEGRATOR = {
    "access-key": "relation-1",
    "secret-key": "open-sesame",
    "bucket": "leaves",
    "endpoint": "s3.example.com",
    "region": "us-east-2",
    "path": "/test/path_1/",
    "attributes": '["a1:v1", "a2:v2"]',
    "s3-api-version": "4",
    "s3-uri-style": "host",
    "storage-class": "STANDARD",
    "tls-ca-chain": '["-----BEGIN A-----", "-----BEGIN B-----"]',
    "data": '{"bucket": "leaves"}',
}
# of track 2, with version 1: keys in a secret
INTEGRATOR_2 = {
    "lib-version": "1.0",
    "bucket": "leaves",
    "endpoint": "https://s3.example.com:9000",
    "secret-extra": "secret:d4g5ssfmp25c7a7kmq1g",
    "data": '{"bucket": "leaves", "requested-secrets": "[\\"access-key\\", \\"secret-key\\"]"}',
}
META = {
    "name": "tea",
    "requires": {"plain": {"interface": "s3"}, "shared": {"interface": "s3"}},
    "provides": {"s3": {"interface": "s3"}},
}


class Tea(ServiceCharm):
    """Has both sides."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container=None)
        self.plain = S3Requirer(self, "plain", "leaves")
        self.shared = S3Requirer(self, "shared", "leaves", tenants="cups")
        self.provider = S3Provider(self, "s3")

    def reconcile(self) -> None:
        for requirer in (self.plain, self.shared):
            requirer.get_or_none()


@pytest.mark.parametrize("endpoint, more", [("plain", {}), ("shared", {"tenants": "cups"})])
def test_a_request_names_the_bucket_and_the_tenants_folder(endpoint, more):
    context = testing.Context(Tea, meta=META)
    relation = testing.Relation(endpoint)
    out = context.run(
        context.on.config_changed(), testing.State(leader=True, relations=[relation])
    )
    assert out.get_relation(relation.id).local_app_data == {
        "bucket": "leaves",
        "requested-secrets": json.dumps(["access-key", "secret-key"]),
        **more,
    }


@pytest.mark.parametrize("folder", ["", "cups", "cups/of_tea-1.2"])
def test_the_provider_reads_the_folder(folder):
    context = testing.Context(Tea, meta=META)
    data = {"bucket": "leaves", **({"tenants": folder} if folder else {})}
    state = testing.State(leader=True, relations=[testing.Relation("s3", remote_app_data=data)])
    with context(context.on.config_changed(), state) as manager:
        (request,) = manager.charm.provider.requests()
        assert (request.bucket, request.tenants) == ("leaves", folder)


def read(data, *secrets):
    context = testing.Context(Tea, meta=META)
    relation = testing.Relation("plain", remote_app_name="s3-integrator", remote_app_data=data)
    state = testing.State(leader=True, relations=[relation], secrets=secrets)
    with context(context.on.config_changed(), state) as manager:
        return manager.charm.plain.get()


def status(data, *secrets):
    context = testing.Context(Tea, meta=META)
    relation = testing.Relation("plain", remote_app_name="s3-integrator", remote_app_data=data)
    state = testing.State(leader=True, relations=[relation], secrets=secrets)
    return context.run(context.on.config_changed(), state).unit_status


def test_the_integrators_bucket_is_read():
    found = read(INTEGRATOR)
    assert found == Bucket(
        "https://s3.example.com", "leaves", "us-east-2", "relation-1", "open-sesame",
        path_style=False, path="test/path_1", ca="-----BEGIN A-----\n-----BEGIN B-----",
    )  # fmt: skip
    assert found.environment()["S3_ENDPOINT"] == "s3.example.com"


def test_the_bucket_of_its_next_track_is_read_with_the_keys_of_a_secret():
    keys = testing.Secret(
        {"access-key": "relation-1", "secret-key": "open-sesame"}, id=INTEGRATOR_2["secret-extra"]
    )
    endpoint = "https://s3.example.com:9000"
    expected = Bucket(endpoint, "leaves", "us-east-1", "relation-1", "open-sesame")
    assert read(INTEGRATOR_2, keys) == expected


def test_it_waits_while_the_integrator_has_told_no_more_than_its_version():
    assert status({"lib-version": "1.0"}) == ops.WaitingStatus(
        "waiting for s3-integrator to give a bucket"
    )
    assert status(INTEGRATOR_2) == ops.WaitingStatus(
        "waiting for s3-integrator to grant its secret"
    )


@pytest.mark.parametrize("text", ["{", "1", "{}", '"a"', "[1]", "null", "[" * 100_000])
def test_a_chain_that_is_none_is_passed_over(text):
    assert read({**INTEGRATOR, "tls-ca-chain": text}).ca == ""


@pytest.mark.parametrize("text", ["ftp://h", "https://", "a b", "https://[", "h:99999", "h:x"])
def test_an_endpoint_that_is_none_blocks_and_is_shown(text):
    found = status({**INTEGRATOR, "endpoint": text})
    assert found == ops.BlockedStatus(f"s3-integrator: endpoint {text!r} is no URL")
