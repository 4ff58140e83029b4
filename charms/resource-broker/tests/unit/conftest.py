"""The broker under test, with a client of a real API server."""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ops import testing

from localjuju.model.admission import Admission, configuration_name, model_labels
from localkube.controlplane.pki import Authority

sys.path.insert(0, str(Path(__file__).parent))
from api_objects import objects  # pyright: ignore[reportMissingImports]

CHARM = Path(__file__).parents[2]
UUID = "7d2e4f66-2d0c-4c0d-8a52-3e0f3c1b9a10"
MODULES = (
    "charm",
    "broker",
    "apply",
    "removal",
    "inventory",
    "kube",
    "policy",
    "report",
    "guard",
    "rights",
    "rollout",
    "shapes",
    "watcher",
)


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The charm's modules, as only its own dispatch sees them."""
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(CHARM / "src"))
    yield {name: importlib.import_module(name) for name in MODULES}
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def cluster(kubeconfig: Path, modules: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    """A client of the real API server, with namespaces `shop` (the model) and `other`."""
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    client = modules["kube"].Cluster.connect()
    for name in ("shop", "other"):
        ref = modules["kube"].Ref("v1", "Namespace", "", name)
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        client.apply(ref, body, "test")
    yield client
    for item in objects(client):  # what a failed test leaves
        client.drop_finalizers(modules["removal"].reference(item))
        client.delete(modules["removal"].reference(item))
    client._http.close()


@pytest.fixture
def hooked(cluster: Any, modules: dict[str, Any], kubeconfig: Path) -> Iterator[Any]:
    """The broker's client in `shop`, with Juju's webhook as the local engine plays it."""
    ref, broker = modules["kube"].Ref, "system:serviceaccount:shop:resource-broker"
    admission = Admission(Authority(kubeconfig.parent / "pki"), lambda _, account, __: account)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(admission.start(), loop).result()
    namespace = ref("v1", "Namespace", "", "shop")
    cluster.merge(namespace, {"metadata": {"labels": model_labels("shop", UUID)}})
    api = "rbac.authorization.k8s.io"
    body = {
        "apiVersion": f"{api}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "broker"},
        "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": api, "kind": "User", "name": broker}],
    }
    binding = ref(f"{api}/v1", "ClusterRoleBinding", "", "broker")
    cluster.apply(binding, body, "test")
    configuration = admission.configuration("shop", UUID)
    made = ref(configuration["apiVersion"], configuration["kind"], "", configuration_name("shop"))
    cluster.apply(made, configuration, "test")
    client = modules["kube"].Cluster.connect()
    client._http.headers["Impersonate-User"] = broker
    probe = ref("v1", "ConfigMap", "shop", "probe")
    deadline = time.monotonic() + 30
    while not (cluster.get(probe) or {"metadata": {}})["metadata"].get("labels"):
        assert time.monotonic() < deadline
        cluster.delete(probe)
        metadata = {"name": "probe"}
        client.apply(probe, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}, "a")
    yield client
    client._http.close()
    for each in (made, binding, probe):
        cluster.delete(each)
    cluster.merge(namespace, {"metadata": {"labels": dict.fromkeys(model_labels("", ""))}})
    asyncio.run_coroutine_threadsafe(admission.stop(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def context(modules: dict[str, Any], tmp_path: Path) -> testing.Context:
    declared = yaml.safe_load((CHARM / "charmcraft.yaml").read_text())
    meta = {key: declared[key] for key in ("name", "provides", "containers", "resources")}
    # a folder of its own: ops.testing writes metadata there, and tests may run side by side
    (tmp_path / "charm").mkdir()
    (tmp_path / "charm" / "src").symlink_to(CHARM / "src")
    return testing.Context(
        modules["charm"].ResourceBroker,
        meta=meta,
        config=declared["config"],
        actions=declared["actions"],
        charm_root=tmp_path / "charm",
    )
