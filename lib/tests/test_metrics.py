"""What a charm tells Prometheus and Grafana, as their charms read it."""

from __future__ import annotations

import base64
import json
import lzma
import shutil
from pathlib import Path
from typing import Any

import ops
import pytest
from ops import testing

from charmed_mlops import Metrics
from charmed_mlops.testing import MODEL

META = {
    "name": "kettle-k8s",
    "provides": {
        "metrics-endpoint": {"interface": "prometheus_scrape"},
        "grafana-dashboard": {"interface": "grafana_dashboard"},
    },
}
PANEL = {"title": "Heat", "targets": [{"expr": "heat"}]}


class Kettle(ops.CharmBase):
    """Publishes on every event."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework)
        self.metrics = Metrics(self, port=9100)
        framework.observe(self.on.config_changed, self._publish)

    def _publish(self, _: ops.EventBase) -> None:
        self.metrics.publish()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The charm's folder, with one dashboard."""
    folder = tmp_path / "src" / "grafana_dashboards"
    folder.mkdir(parents=True)
    dashboard = {"title": "Kettle", "tags": ["tea"], "panels": [PANEL]}
    (folder / "kettle.json").write_text(json.dumps(dashboard))
    return tmp_path


def published(
    root: Path, endpoint: str, unit: int = 0, *, leader: bool = True
) -> testing.Relation:
    """A relation of the endpoint, once application `kettle` has written to it."""
    context = testing.Context(Kettle, META, charm_root=root, app_name="kettle", unit_id=unit)
    relation = testing.Relation(endpoint)
    state = testing.State(relations=[relation], leader=leader, model=MODEL, planned_units=unit + 1)
    out = context.run(context.on.config_changed(), state)
    found = out.get_relation(relation.id)
    assert isinstance(found, testing.Relation)
    return found


def template(root: Path) -> dict[str, Any]:
    """The one dashboard, as Grafana's charm gets it."""
    data = published(root, "grafana-dashboard").local_app_data
    (found,) = json.loads(data["dashboards"])["templates"].values()
    return found


def dashboard(root: Path) -> dict[str, Any]:
    return json.loads(lzma.decompress(base64.b64decode(template(root)["content"])))


def test_every_unit_names_its_own_address_and_the_leader_alone_the_job(root):
    first = published(root, "metrics-endpoint")
    second = published(root, "metrics-endpoint", 1, leader=False)
    host = "kettle-1.kettle-endpoints.shop.svc.cluster.local"
    assert second.local_unit_data["prometheus_scrape_unit_address"] == host
    assert second.local_unit_data["prometheus_scrape_unit_name"] == "kettle/1"
    (job,) = json.loads(first.local_app_data["scrape_jobs"])
    assert job == {"metrics_path": "/metrics", "static_configs": [{"targets": ["*:9100"]}]}
    assert not second.local_app_data


def test_a_dashboard_s_topology_has_only_what_its_menus_ask_for(root):
    # Grafana's charm has every query ask for a label juju_KEY of a variable of that name
    assert template(root)["juju_topology"] == {
        "model": "shop",
        "model_uuid": MODEL.uuid,
        "application": "kettle",
        "unit": "kettle/0",
    }


def test_a_dashboard_arrives_whole(root):
    assert dashboard(root)["panels"] == [PANEL]


def test_a_dashboard_is_the_same_one_by_whatever_way_it_comes(root):
    found = dashboard(root)
    # a collector leaves just such a uid and tag as they are
    assert len(bytes.fromhex(found["uid"])) == 20
    assert found["tags"] == ["tea", "charm: kettle-k8s"]
    shutil.copytree(root / "src", root / "elsewhere" / "src")
    assert dashboard(root / "elsewhere")["uid"] == found["uid"]


def test_two_dashboards_of_a_charm_are_two(root):
    folder = root / "src" / "grafana_dashboards"
    first = dashboard(root)["uid"]
    (folder / "kettle.json").rename(folder / "lid.json")
    assert dashboard(root)["uid"] != first
