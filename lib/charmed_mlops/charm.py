"""The base of every charm: one function from inputs to desired state."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import ops

from charmed_mlops.errors import ActionFailed, Blocked, CommandFailed, Waiting
from charmed_mlops.workload import Workload

logger = logging.getLogger(__name__)


class ServiceCharm(ops.CharmBase):
    """Runs `reconcile` on every event that may change what the charm should do.

    A subclass declares its helpers in `__init__` and says in `reconcile` what should be. What is
    missing is raised as Waiting or Blocked and becomes the unit's status. The application's
    status is left to Juju, which derives it from its units.

    Actions are methods named `action_NAME` (underscores for hyphens): they get the parameters
    as a dict, return the results as a dict (or None), and raise ActionFailed.
    """

    def __init__(self, framework: ops.Framework, container: str | None):
        """`container` is the workload's; None for a charm without one, and without `workload`."""
        super().__init__(framework)
        if container is not None:
            self.workload = Workload(self, container)
        self._outcome: ops.StatusBase | None = None
        for event in self._reconciling_events():
            framework.observe(event, self._on_event)
        framework.observe(self.on.secret_remove, self._on_secret_remove)
        framework.observe(self.on.collect_unit_status, self._on_collect_unit_status)
        for action in self.meta.actions:
            name = action.replace("-", "_")
            if hasattr(self, f"action_{name}"):
                framework.observe(self.on[name].action, self._on_action)

    def reconcile(self) -> None:
        """Bring everything to the desired state.

        Raises:
            Waiting: something that comes by itself is missing.
            Blocked: someone has to act.
        """
        raise NotImplementedError

    # what a reconcile function asks for

    def render(self, template: str, **context: Any) -> str:
        """The text of `src/templates/TEMPLATE` with the context; undefined names are errors."""
        import jinja2  # here, as most hooks of most charms render nothing

        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(
                [self.charm_dir / "src" / name for name in ("templates", "manifests")]
            ),
            undefined=jinja2.StrictUndefined,
            keep_trailing_newline=True,
        )
        return environment.get_template(template).render(**context)

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
        """The DNS name of the application's Service in the cluster."""
        return f"{self.app.name}.{self.model.name}.svc.cluster.local"

    def app_secret(self, label: str, make: Callable[[], dict[str, str]]) -> dict[str, str]:
        """Content of the application's secret; made on first use, by the leader.

        Raises:
            Waiting: it is not there yet and this unit does not lead.
        """
        try:
            return self.model.get_secret(label=label).peek_content()
        except ops.SecretNotFoundError:
            if not self.unit.is_leader():
                raise Waiting(f"waiting for the leader to create secret {label}") from None
        content = make()
        self.app.add_secret(content, label=label)
        return content

    def require_leader(self) -> None:
        """Raises ActionFailed unless this unit leads, as application secrets need it."""
        if not self.unit.is_leader():
            raise ActionFailed(f"run this on the leader: {self.app.name}/leader")

    def converge(self) -> None:
        """Reconcile now, and keep what came of it as the unit's status."""
        try:
            self.reconcile()
            if self.meta.containers:
                self.workload.require_healthy()
            self._outcome = ops.ActiveStatus()
        except Waiting as reason:
            self._outcome = ops.WaitingStatus(str(reason))
        except Blocked as reason:
            self._outcome = ops.BlockedStatus(str(reason))
        except CommandFailed as reason:
            logger.warning("%s", reason)
            self._outcome = ops.WaitingStatus(f"will try again: {reason}")
        except ops.pebble.ConnectionError:
            self._outcome = ops.WaitingStatus(f"waiting for container {self.workload.name}")

    # events

    def _reconciling_events(self) -> list[ops.BoundEvent]:
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
                on[name].relation_joined,
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
        self.converge()

    def _on_secret_remove(self, event: ops.SecretRemoveEvent) -> None:
        event.remove_revision()

    def _on_action(self, event: ops.ActionEvent) -> None:
        name = event.handle.kind.removesuffix("_action")
        try:
            event.set_results(getattr(self, f"action_{name}")(dict(event.params)) or {})
        except (ActionFailed, Waiting, Blocked, CommandFailed) as reason:
            event.fail(str(reason))
        except ops.pebble.ConnectionError:
            event.fail(f"container {self.workload.name} does not answer: try again later")

    def _on_collect_unit_status(self, event: ops.CollectStatusEvent) -> None:
        if self._outcome:
            event.add_status(self._outcome)
