"""What a charm tells Prometheus and Grafana, in the interfaces that Charmhub's charms read.

- prometheus_scrape, application databag: `scrape_jobs` (JSON list of scrape configurations; a
  target `*` stands for every unit's address), `alert_rules` (JSON `{"groups": [...]}`, from
  src/prometheus_alert_rules) and `scrape_metadata` (JSON: model, model_uuid, application,
  charm_name, unit); unit databag: the unit's address and name.
- grafana_dashboard, application databag: `dashboards`, JSON `{"templates": {...}, "uuid": ...}`,
  each template's content as xz in base64, from src/grafana_dashboards.

Source: libraries prometheus_scrape v0 (prometheus-k8s) and grafana_dashboard v0 (grafana-k8s).
"""

from __future__ import annotations

import base64
import hashlib
import json
import lzma
import pathlib
from collections.abc import Mapping
from typing import Any

import ops


class Metrics:
    """Publishes scrape jobs, alert rules and dashboards over whichever relation is there."""

    def __init__(
        self,
        charm: ops.CharmBase,
        port: int | Mapping[str, int] | None = None,
        path: str = "/metrics",
        *,
        scrape: str = "metrics-endpoint",
        dashboards: str = "grafana-dashboard",
    ):
        """`port` is where the workload has its metrics; None for rules only.

        Where a unit runs several programs it is the port of each, by a name that is the end of
        its job's. Prometheus' charm gives all targets of a job and a unit the same labels: those
        of one job would be one series.
        """
        self._charm = charm
        self._ports = {"": port} if isinstance(port, int) else dict(port or {})
        self._path = path
        self._scrape = scrape
        self._dashboards = dashboards

    def publish(self) -> None:
        """Write what differs."""
        for relation in self._relations(self._scrape):
            self._publish_scrape(relation)
        if self._charm.unit.is_leader():
            for relation in self._relations(self._dashboards):
                self._set(relation.data[self._charm.app], dashboards=self._templates())

    def _relations(self, endpoint: str) -> list[ops.Relation]:
        if endpoint not in self._charm.meta.relations:
            return []
        return [each for each in self._charm.model.relations[endpoint] if each.active]

    def _publish_scrape(self, relation: ops.Relation) -> None:
        charm = self._charm
        unit = charm.unit.name.replace("/", "-")
        address = f"{unit}.{charm.app.name}-endpoints.{charm.model.name}.svc.cluster.local"
        own = relation.data[charm.unit]
        for key, value in {
            "prometheus_scrape_unit_address": address,
            "prometheus_scrape_unit_name": charm.unit.name,
        }.items():
            if own.get(key) != value:
                own[key] = value
        if not charm.unit.is_leader():
            return
        jobs = []
        for name, port in self._ports.items():
            job = {"metrics_path": self._path, "static_configs": [{"targets": [f"*:{port}"]}]}
            jobs.append({**job, **({"job_name": name} if name else {})})
        self._set(
            relation.data[charm.app],
            scrape_jobs=jobs,
            alert_rules=self._rules(),
            scrape_metadata={**self._topology(), "charm_name": charm.meta.name},
        )

    def _topology(self) -> dict[str, str]:
        charm = self._charm
        return {
            "model": charm.model.name,
            "model_uuid": charm.model.uuid,
            "application": charm.app.name,
            "unit": charm.unit.name,
        }

    def _rules(self) -> dict[str, Any]:
        import yaml  # here, as only a related charm needs it

        charm = self._charm
        labels = {
            "juju_model": charm.model.name,
            "juju_model_uuid": charm.model.uuid,
            "juju_application": charm.app.name,
            "juju_charm": charm.meta.name,
        }
        topology = ",".join(f'{key}="{value}"' for key, value in labels.items())
        groups = []
        for file in sorted(charm.charm_dir.glob("src/prometheus_alert_rules/*.rules")):
            for group in yaml.safe_load(file.read_text())["groups"]:
                group["name"] = f"{charm.model.name}_{charm.app.name}_{group['name']}"
                for rule in group["rules"]:
                    rule["expr"] = rule["expr"].replace("%%juju_topology%%", topology)
                    rule["labels"] = {**rule.get("labels", {}), **labels}
                groups.append(group)
        return {"groups": groups} if groups else {}

    def _templates(self) -> dict[str, Any]:
        charm = self._charm
        templates = {}
        for file in sorted(charm.charm_dir.glob("src/grafana_dashboards/*.json*")):
            packed = base64.b64encode(lzma.compress(self._dashboard(file).encode())).decode()
            templates[f"file:{file.name.split('.')[0]}"] = {
                "charm": charm.meta.name,
                "content": packed,
                # every query gets a label juju_KEY of each: none that metrics do not have
                "juju_topology": self._topology(),
                "inject_dropdowns": True,
            }
        # a reader takes a new uuid as a change: it has to stay as long as the content does
        return {"templates": templates, "uuid": charm.model.uuid}

    def _dashboard(self, file: pathlib.Path) -> str:
        """The dashboard with the uid and the tag that its charm's have.

        A collector between this charm and Grafana keeps a uid of 40 hexadecimal digits and a tag
        `charm: NAME`. Others it replaces by its own; then the same dashboard by two ways is two.
        """
        name = self._charm.meta.name
        dashboard = json.loads(file.read_text())
        path = f"{name}-{file.relative_to(self._charm.charm_dir)}"
        dashboard["uid"] = hashlib.shake_256(path.encode()).hexdigest(20)
        dashboard["tags"] = [*dashboard.get("tags", []), f"charm: {name}"]
        return json.dumps(dashboard)

    @staticmethod
    def _set(data: ops.RelationDataContent, **values: Any) -> None:
        for key, value in values.items():
            text = json.dumps(value, sort_keys=True)
            if data.get(key) != text:
                data[key] = text
