"""The base of every charm: one function from inputs to desired state."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import ops

from charmed_mlops.errors import (
    ActionFailed,
    Blocked,
    CommandFailed,
    Restarting,
    Waiting,
    option_status,
)
from charmed_mlops.logs import LogForwarding
from charmed_mlops.peers import Peers
from charmed_mlops.workload import Workload

if TYPE_CHECKING:
    from charmed_mlops.certificates import WebhookCertificate
    from charmed_mlops.cluster import ClusterResources
    from charmed_mlops.serving import ServingPods

logger = logging.getLogger(__name__)
Model = TypeVar("Model")
MANIFESTS = Path(__file__).parent / "manifests"
"""Macros that the charms' manifest templates import."""


class ServiceCharm(ops.CharmBase):
    """Runs `reconcile` on every event that may change what the charm should do.

    A subclass declares its helpers in `__init__` and says in `reconcile` what should be. What is
    missing is raised as Waiting or Blocked and becomes the unit's status. The application's
    status is left to Juju, which derives it from its units.

    Actions are methods named `action_NAME` (underscores for hyphens): they get the parameters
    as the model that their parameter's annotation names, else as a dict, return the
    results as a dict (or None), and raise ActionFailed.

    Attributes:
        workload: the service of the first container; not there if the charm has no container.
        peers: values that the leader shares with the other units.
        certificates: those that the leader makes and renews.
    """

    def __init__(
        self, framework: ops.Framework, container: str | None, ports: tuple[int, ...] = ()
    ):
        """Prepares.

        Args:
            framework: of ops.
            container: the workload's; None for a charm without one, and without `workload`.
            ports: TCP ports that every unit serves; they are open once its program is declared.
                With a broker the application has a Service for them that leads only to units
                that serve, and `address` is that Service's.

        Raises:
            NotImplementedError: an action of charmcraft.yaml has no method.
        """
        super().__init__(framework)
        self.peers = Peers(self)
        self.certificates: list[WebhookCertificate] = []
        self._logs = LogForwarding(self)
        self._workloads: list[Workload] = []
        self._others_secrets: list[str] = []
        self._ports = ports
        self._cluster: ClusterResources | None = None
        self._serving: ServingPods | None = None
        if container is not None:
            self.workload = self.add_workload(container)
        self._outcome: ops.StatusBase | None = None
        for event in self._reconciling_events():
            framework.observe(event, self._on_event)
        framework.observe(self.on.secret_remove, self._on_secret_remove)
        framework.observe(self.on.collect_unit_status, self._on_collect_unit_status)
        for action in self.meta.actions:
            name = action.replace("-", "_")
            if not hasattr(self, f"action_{name}"):
                raise NotImplementedError(f"action {action} has no method action_{name}")
            framework.observe(self.on[name].action, self._on_action)

    def add_workload(self, container: str, service: str | None = None) -> Workload:
        """A further service, in a container of its own or beside another.

        Args:
            container: the container's name.
            service: the service's name; the container's unless given.
        """
        workload = Workload(self, container, service, self._logs.targets, self._has_others)
        self._workloads.append(workload)
        return workload

    def declare_by(self, cluster: ClusterResources) -> None:
        """Have the application's own objects declared by these, too; they call this themselves."""
        self._cluster = cluster
        if self._ports:
            self.serving_pods()

    def serving_pods(self) -> ServingPods:
        """For a charm with a Service of its own, which is to lead only to pods that serve.

        Its ClusterResources have to be there.
        """
        from charmed_mlops.serving import ServingPods  # here: not every charm needs it

        cluster = self._cluster
        assert cluster is not None
        if self._serving is None:
            self._serving = ServingPods(self, lambda: cluster.by_label)
        return self._serving

    def serving_services(self) -> list[dict[str, Any]]:
        """The Service that leads to the units that serve, for a charm that says its ports."""
        return [self._serving.service(self._ports)] if self._serving and self._ports else []

    @property
    def selects_by_label(self) -> bool:
        """Whether the application's own Services select by the label of pods that serve."""
        return self._serving is not None and self._serving.by_label

    def reconcile_on(self, event: ops.BoundEvent) -> None:
        """Run `reconcile` on a library's event, too."""
        self.framework.observe(event, self._on_event)

    def leave_secrets_of(self, library: str) -> None:
        """Leave old revisions of secrets to the library whose labels begin so.

        Juju takes a revision that is removed twice as an error: juju/juju issue 19036.
        """
        self._others_secrets.append(library)

    def reconcile(self) -> None:
        """Bring everything to the desired state.

        Raises:
            Waiting: something that comes by itself is missing.
            Blocked: someone has to act.
        """
        raise NotImplementedError

    # what a reconcile function asks for

    def options(self, model: type[Model]) -> Model:
        """The config as a model of msgspec; `-` in an option's name is `_` in the field's.

        Raises:
            Blocked: options are wrong; the text names each.
        """
        from charmed_mlops.options import load_options

        return load_options(self, model)  # type: ignore[type-var]

    def render(self, template: str, **context: Any) -> str:
        """The text of `src/templates/TEMPLATE` with the context; undefined names are errors.

        Templates of manifests import the shared macros by `{% import "macros.j2" as lib %}`.
        """
        return self._templates.get_template(template).render(**context)

    @functools.cached_property
    def _templates(self) -> Any:
        import base64
        import json

        import jinja2  # here, as most hooks of most charms render nothing

        folders = [self.charm_dir / "src" / name for name in ("templates", "manifests")]
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader([*folders, MANIFESTS]),
            undefined=jinja2.StrictUndefined,
            keep_trailing_newline=True,
        )
        environment.filters["b64encode"] = lambda text: base64.b64encode(text.encode()).decode()
        # plain json.dumps: jinja2's own tojson escapes for HTML
        environment.filters["to_json"] = lambda value: json.dumps(value, sort_keys=True)
        return environment

    def images(self) -> dict[str, str]:
        """The images of `src/images.yaml`, as the options `images` and `registry` have them.

        Raises:
            Blocked: an option is wrong.
        """
        from charmed_mlops.images import resolve

        return resolve(
            self.charm_dir / "src",
            str(self.config.get("images", "")),
            str(self.config.get("registry", "")),
        )

    def set_ports(self, *ports: int) -> None:
        """Open just these TCP ports of the application's Service."""
        self.unit.set_ports(*ports)

    def choice(self, option: str, *allowed: str) -> str:
        """A config option that must be one of a few values, else Blocked."""
        value = str(self.config[option])
        if value not in allowed:
            raise Blocked(f"config {option}={value}: must be one of {', '.join(allowed)}")
        return value

    def number(self, option: str, minimum: int, maximum: int) -> int:
        """A whole-number config option within bounds, both included, else Blocked."""
        value = int(self.config[option])
        if not minimum <= value <= maximum:
            raise Blocked(f"config {option}={value}: must be from {minimum} to {maximum}")
        return value

    @property
    def address(self) -> str:
        """The DNS name in the cluster for clients of the application.

        It is that of the Service that leads only to units that serve, where a broker declares
        one: from the start, so that it stays the same; nobody can be served before. Publish it
        after the objects are applied.
        """
        if self._ports and self._cluster and self._cluster.related:
            return self._serving_address
        return self.juju_address

    @property
    def juju_address(self) -> str:
        """The DNS name of Juju's Service, which is there as long as the application is.

        It also leads to a new unit in the seconds before its first hook.
        """
        return f"{self.app.name}.{self.model.name}.svc.cluster.local"

    @property
    def addresses(self) -> list[str]:
        """The DNS names that `address` may be, for a certificate."""
        return [self.juju_address, *([self._serving_address] if self._ports else [])]

    @property
    def _serving_address(self) -> str:
        from charmed_mlops.serving import name_of

        return f"{name_of(self.app.name)}.{self.model.name}.svc.cluster.local"

    def leave_serving_address(self) -> None:
        """Publish Juju's name in place of that of the Service, which goes with the broker.

        An application that ends wakes its clients by the end of their relations.
        """
        if not (self._ports and self.unit.is_leader() and self.app.planned_units()):
            return
        for relations in self.model.relations.values():
            for relation in relations:
                mine = relation.data[self.app] if relation.active else {}
                for key, text in list(mine.items()):
                    if self._serving_address in text:
                        mine[key] = text.replace(self._serving_address, self.juju_address)

    def unit_address(self, number: int) -> str:
        """The DNS name of one unit's pod, which a new pod of the same unit keeps."""
        return (
            f"{self.app.name}-{number}.{self.app.name}-endpoints.{self.model.name}"
            ".svc.cluster.local"
        )

    def require_single_unit(self, alternative: str) -> None:
        """For a program that cannot run twice: units but the first get no traffic.

        Clients must be given `unit_address(0)`: the Service may still name another pod.

        Args:
            alternative: what to use for high availability, such as "use mysql-k8s".

        Raises:
            Blocked: this is not unit 0.
        """
        if self.unit.name != f"{self.app.name}/0":
            for workload in self._workloads:
                workload.stand_aside()
            name = self.app.name
            raise Blocked(
                f"{name} runs one unit: juju scale-application {name} 1; "
                f"{alternative} for high availability"
            )

    def app_secret(self, label: str, make: Callable[[], dict[str, str]]) -> dict[str, str]:
        """Content of the application's secret; made on first use, by the leader.

        A charm that scales declares `peers`, so that the followers are woken when it is there.

        Raises:
            Waiting: it is not there yet and this unit does not lead.
        """
        try:
            secret = self.model.get_secret(label=label)
            # refresh: an owner that peeks keeps the first revision in use for ever
            content = secret.get_content(refresh=True)
        except ops.SecretNotFoundError:
            if not self.unit.is_leader():
                raise Waiting(f"waiting for the leader to create secret {label}") from None
            content = make()
            secret = self.app.add_secret(content, label=label)
        self.peers.announce(label, secret)
        return content

    def require_leader(self) -> None:
        """Raises ActionFailed unless this unit leads, as application secrets need it."""
        if not self.unit.is_leader():
            raise ActionFailed(f"run this on the leader: {self.app.name}/leader")

    def action_renew_certificate(self, parameters: dict[str, Any]) -> dict[str, str]:
        """For charms with a certificate, which declare the action `renew-certificate`."""
        asked = [ca for each in self.certificates if (ca := each.renew_elsewhere())]
        if asked:
            return {"asked": ", ".join(asked)}
        self.require_leader()
        ends = [each.renew() for each in self.certificates]
        self.converge()
        return {"expires": min(ends).isoformat()} if ends else {}

    def converge(self) -> None:
        """Reconcile now, and keep what came of it as the unit's status."""
        try:
            self._settle()
            self._outcome = ops.ActiveStatus()
        except Restarting as reason:
            self._outcome = ops.MaintenanceStatus(str(reason))
        except Waiting as reason:
            self._outcome = ops.WaitingStatus(str(reason))
        except Blocked as reason:
            self._outcome = ops.BlockedStatus(self._refusal(str(reason)))
        except CommandFailed as reason:
            logger.warning("%s", reason)
            self._outcome = ops.WaitingStatus(f"will try again: {reason}")
        except ops.pebble.ConnectionError:
            self._outcome = ops.WaitingStatus("waiting for the workload's container")
        with contextlib.suppress(ops.pebble.ConnectionError):  # Pebble may have gone meanwhile
            for workload in self._workloads:
                workload.end_start_check()
        if not isinstance(self._outcome, ops.ActiveStatus):
            with contextlib.suppress(ops.pebble.ConnectionError):
                self._hold_back()
                for workload in self._workloads:
                    workload.forward_logs()  # what runs goes on, and its log may say what is wrong

    def _settle(self) -> None:
        """Reconcile, and let the unit get requests once its programs answer."""
        try:
            self.reconcile()
        except (Waiting, Blocked):
            # what is missing, or has to be put right, need not keep it from serving
            if self._serves():
                self._open()
            raise
        for workload in self._workloads:
            workload.require_healthy()
        for workload in self._workloads:
            workload.admit()
        self._open()

    def _serves(self) -> bool:
        """Whether all programs are declared and answer, and nothing holds the pod back."""
        if not all(each.is_open for each in self._workloads):
            return False
        try:
            for workload in self._workloads:
                workload.require_healthy()
        except Waiting:
            return False
        return True

    def _open(self) -> None:
        """Open the ports, and have the Services lead to this pod."""
        if self._ports:
            self.set_ports(*self._ports)
        if self._serving and self._serving.label():
            self.reconcile()

    def _refusal(self, text: str) -> str:
        """The status for what somebody has to put right; the log has all that it leaves out."""
        if not text.startswith("config "):
            return text
        line = option_status(text, self.app.name)
        if line.endswith("…"):
            logger.warning("%s", text)
        return line

    def _has_others(self) -> bool:
        """Whether the application has other units."""
        return self.app.planned_units() > 1

    def _hold_back(self) -> None:
        """A unit that joins others gets no traffic before it serves.

        A pod is ready as long as no check says otherwise, also before there is one.
        """
        starting = [each for each in self._workloads if each.is_to_start]
        if starting and self._has_others():
            for workload in starting:
                workload.hold_back()

    def _let_others_follow(self) -> None:
        """At update-status, a unit that cannot start its program lets others be replaced.

        Kubernetes replaces the pods of a refreshed application one by one, the leader's mostly
        last, and each when the one before is Ready. What a new unit waits for may be something
        that only a leader of the same revision does. So its pod is Ready from now on. The Service
        that leads to units that serve does not lead to it.
        """
        waits = isinstance(self._outcome, ops.WaitingStatus)
        apart = self._serving is not None and self._cluster is not None and self._cluster.related
        if waits and apart and any(each.is_to_start for each in self._workloads):
            for workload in self._workloads:
                workload.admit()

    # events

    def _reconciling_events(self) -> list[ops.BoundEvent]:
        """All but relation-joined, which relation-changed always follows."""
        on = self.on
        events = [
            on.install,
            on.start,
            on.config_changed,
            on.update_status,
            on.upgrade_charm,
            on.leader_elected,
            on.secret_changed,
        ]
        for name in self.meta.relations:
            events += [
                on[name].relation_created,
                on[name].relation_changed,
                on[name].relation_departed,
                on[name].relation_broken,
            ]
        events += [on[name].storage_attached for name in self.meta.storages]
        for name in self.meta.containers:
            events += [
                on[name].pebble_ready,
                on[name].pebble_custom_notice,
                on[name].pebble_check_failed,
                on[name].pebble_check_recovered,
            ]
        return events

    def _on_event(self, event: ops.EventBase) -> None:
        if isinstance(event, ops.PebbleCheckRecoveredEvent):
            for workload in self._workloads:
                workload.note_recovery(event.info.name)
        if not self._is_leaving(event):
            self.converge()
            if isinstance(event, ops.UpdateStatusEvent):
                with contextlib.suppress(ops.pebble.ConnectionError):
                    self._let_others_follow()

    def _is_leaving(self, event: ops.EventBase) -> bool:
        """Whether this unit is scaled away and others stay.

        Juju breaks a leaving unit's relations one by one before its pod goes, while its program
        still answers requests. Without them it would do that wrongly. So the unit stays as it
        is, but for new requests: they go to the others. Kubernetes takes the highest numbers
        first. The number does not tell alone: Juju knows of a unit from when its pod starts, and
        that of a lower one may start later.
        """
        number = int(self.unit.name.rpartition("/")[2])
        if number == 0 or not 0 < self.app.planned_units() <= number:
            return False
        with contextlib.suppress(ops.pebble.ConnectionError):
            if isinstance(event, ops.RelationDepartedEvent) and event.departing_unit == self.unit:
                for workload in self._workloads:
                    workload.leave()
                return True
            if any(workload.is_leaving for workload in self._workloads):
                return True
        return isinstance(event, ops.RelationBrokenEvent)

    def _on_secret_remove(self, event: ops.SecretRemoveEvent) -> None:
        if not (event.secret.label or "").startswith(tuple(self._others_secrets)):
            event.remove_revision()

    def _on_action(self, event: ops.ActionEvent) -> None:
        name = event.handle.kind.removesuffix("_action")
        method = getattr(self, f"action_{name}")
        try:
            event.set_results(method(self._params(event, method)) or {})
        except (ActionFailed, Waiting, Blocked, CommandFailed) as reason:
            event.fail(str(reason))
        except ops.pebble.ConnectionError:
            event.fail("the workload's container does not answer: try again later")

    @staticmethod
    def _params(event: ops.ActionEvent, method: Callable[..., Any]) -> Any:
        from charmed_mlops.options import load_params, params_model

        model = params_model(method)
        return load_params(event, model) if model else dict(event.params)

    def _on_collect_unit_status(self, event: ops.CollectStatusEvent) -> None:
        if self._outcome:
            event.add_status(self._outcome)
