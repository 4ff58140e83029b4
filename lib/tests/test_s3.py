"""Wire format of a request for a bucket."""

from __future__ import annotations

import json

import ops
import pytest
from ops import testing

from charmed_mlops import S3Provider, S3Requirer, ServiceCharm

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
