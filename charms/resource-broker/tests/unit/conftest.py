"""The broker under test, with a client of a real API server."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ops import testing

sys.path.insert(0, str(Path(__file__).parent))
from api_objects import objects  # pyright: ignore[reportMissingImports]

CHARM = Path(__file__).parents[2]
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
