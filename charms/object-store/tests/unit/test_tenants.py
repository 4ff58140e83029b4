"""What a tenant's own key is good for, on the real gateway."""

from __future__ import annotations

import base64
import hashlib

import pytest

BUCKET, FOLDER = "pipelines", "private-artifacts"
OWN, OTHER = f"/{BUCKET}/{FOLDER}/alice", f"/{BUCKET}/{FOLDER}/alice-2"


@pytest.fixture
def shared(real):
    """A bucket that two tenants use; one's name is a beginning of the other's."""
    root = real()
    for account in ("relation-3", "tenant-alice", "tenant-alice-2"):
        root.keep_account(account, f"of-{account}", exists=False)
    root.make_bucket(BUCKET, "relation-3")
    tenants = {f"tenant-{name}": f"{FOLDER}/{name}" for name in ("alice", "alice-2")}
    assert root.share(root.accounts(), [], {BUCKET: tenants}) == []
    for path in (f"{OWN}/x", f"{OTHER}/x"):
        assert root._send("PUT", path, "hello")[0] == 200
    return lambda account: real(account, f"of-{account}")


def listed(gateway, prefix: str, version: str = "list-type=2&") -> tuple[int, str]:
    quoted = prefix.replace("/", "%2F")
    return gateway._send("GET", f"/{BUCKET}?{version}prefix={quoted}")


def test_a_tenant_can_do_all_in_its_own_folder(shared):
    alice = shared("tenant-alice")
    assert alice._send("PUT", f"{OWN}/run/y", "mine")[0] == 200
    assert alice._send("GET", f"{OWN}/run/y") == (200, "mine")
    assert alice._send("HEAD", f"{OWN}/run/y")[0] == 200
    copied = {"x-amz-copy-source": f"{OWN}/run/y"[1:]}
    assert alice._send("PUT", f"{OWN}/z", headers=copied)[0] == 200
    status, text = listed(alice, f"{FOLDER}/alice/")
    assert (status, text.count("<Key>")) == (200, 3)
    assert listed(alice, f"{FOLDER}/alice/run/", "")[0] == 200
    assert alice._send("DELETE", f"{OWN}/z")[0] == 204


@pytest.mark.parametrize(
    "method, path, headers",
    [
        ("GET", f"{OTHER}/x", {}),
        ("HEAD", f"{OTHER}/x", {}),
        ("PUT", f"{OTHER}/x", {}),
        ("DELETE", f"{OTHER}/x", {}),
        ("PUT", f"{OWN}/stolen", {"x-amz-copy-source": f"{OTHER}/x"[1:]}),
        ("PUT", f"{OWN}/stolen", {"x-amz-copy-source": f"{OWN}/../alice-2/x"[1:]}),
        ("PUT", f"{OTHER}/planted", {"x-amz-copy-source": f"{OWN}/x"[1:]}),
        ("PUT", f"/{BUCKET}/beside", {}),
        ("PUT", f"{OWN}", {}),
        ("POST", f"{OTHER}/x?uploads=", {}),
        ("GET", f"/{BUCKET}?policy=", {}),
        ("DELETE", f"/{BUCKET}?policy=", {}),
        ("GET", f"/{BUCKET}?versions=&prefix={FOLDER}%2Falice-2%2F", {}),
        ("GET", f"/{BUCKET}?uploads=", {}),
        ("PATCH", "/list-users", {}),
    ],
)
def test_a_tenant_can_do_nothing_elsewhere(shared, real, method, path, headers):
    status, _ = shared("tenant-alice")._send(method, path, headers=headers)
    assert status == 403
    assert real()._send("GET", f"{OTHER}/x") == (200, "hello")


@pytest.mark.parametrize(
    "prefix", ["", FOLDER, f"{FOLDER}/", f"{FOLDER}/alice", f"{FOLDER}/alice-2/"]
)
@pytest.mark.parametrize("version", ["", "list-type=2&"])
def test_a_tenant_lists_nothing_but_its_own_folder(shared, prefix, version):
    assert listed(shared("tenant-alice"), prefix, version)[0] == 403


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_way_up_leads_nowhere(shared, real, method):
    path = f"{OWN}/../alice-2/x"
    assert shared("tenant-alice")._send(method, path)[0] == 403
    assert real()._send("GET", path) == (200, "hello")  # it is the other's object


def test_a_multiple_delete_deletes_only_its_own(shared, real):
    keys = [f"{FOLDER}/{each}" for each in ("alice/x", "alice-2/x", "alice/../alice-2/x")]
    body = "".join(f"<Object><Key>{key}</Key></Object>" for key in keys)
    body = f"<Delete>{body}</Delete>"
    digest = base64.b64encode(hashlib.md5(body.encode()).digest()).decode()
    status, text = shared("tenant-alice")._send(
        "POST", f"/{BUCKET}?delete=", body, {"content-md5": digest}
    )
    assert (status, text.count("<Deleted>"), text.count("AccessDenied")) == (200, 1, 2)
    assert real()._send("GET", f"{OTHER}/x") == (200, "hello")


def test_the_owner_keeps_all_its_rights(shared):
    owner = shared("relation-3")
    assert owner._send("GET", f"{OTHER}/x") == (200, "hello")
    assert owner._send("PUT", f"/{BUCKET}/beside", "x")[0] == 200
    assert listed(owner, "")[0] == 200


def test_a_tenant_that_has_gone_can_do_nothing_any_more(shared, real):
    root = real()
    root.remove_account("tenant-alice")
    root.share(root.accounts(), [], {BUCKET: {"tenant-alice-2": f"{FOLDER}/alice-2"}})
    assert shared("tenant-alice")._send("GET", f"{OWN}/x")[0] == 403
    assert shared("tenant-alice-2")._send("GET", f"{OTHER}/x")[0] == 200
    assert 'tenant-alice"' not in root._send("GET", f"/{BUCKET}?policy=")[1]


def test_an_owner_without_an_account_keeps_nobody_from_the_bucket(shared, real):
    root = real()
    root.remove_account("relation-3")  # its relation has ended; the bucket stays
    assert root.share(root.accounts(), ["tenant-alice-2"], {}) == []
    assert shared("tenant-alice-2")._send("GET", f"{OWN}/x") == (200, "hello")
