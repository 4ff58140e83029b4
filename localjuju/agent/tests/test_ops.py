"""Charms written with ops, on real hook commands and a real Pebble."""

from __future__ import annotations

import sys
from pathlib import Path

from localjuju.agent.tests.bench import MODEL, Bench

GIVER = """
import ops

class Giver(ops.CharmBase):
    def __init__(self, framework):
        super().__init__(framework)
        framework.observe(self.on.config_changed, self._config_changed)
        framework.observe(self.on.db_relation_created, self._created)
        framework.observe(self.on.secret_rotate, self._rotate)
        framework.observe(self.on.rotate_action, self._act)
        framework.observe(self.on.collect_unit_status, self._status)
        framework.observe(self.on.collect_app_status, self._app_status)

    def _config_changed(self, event):
        self.unit.set_ports(self.config["port"], ops.Port("udp", 53))
        self.unit.set_workload_version("1.2.3")
        assert self.app.planned_units() == 1
        assert self.model.get_binding("db").network.bind_address
        assert self.model.storages["data"][0].location.name == "data"
        assert "example.org/giver:1" in self.model.resources.fetch("image").read_text()

    def _created(self, event):
        secret = self.app.add_secret({"password": "one"}, label="root",
                                     rotate=ops.SecretRotate.DAILY)
        secret.grant(event.relation)
        assert secret.get_info().label == "root"
        event.relation.data[self.app]["secret-id"] = secret.id
        event.relation.data[self.unit]["host"] = "here"

    def _rotate(self, event):
        event.secret.set_content({"password": "rotated"})

    def _act(self, event):
        self.model.get_secret(label="root").set_content({"password": event.params["to"]})
        event.log("revised")
        event.set_results({"new": {"password-length": len(event.params["to"])}})

    def _status(self, event):
        event.add_status(ops.ActiveStatus("ready"))

    def _app_status(self, event):
        event.add_status(ops.ActiveStatus("all ready"))

ops.main(Giver)
"""

TAKER = """
import ops

class Taker(ops.CharmBase):
    def __init__(self, framework):
        super().__init__(framework)
        for event in (self.on.start, self.on.store_relation_changed, self.on.secret_changed,
                      self.on.store_relation_broken):
            framework.observe(event, self._reconcile)
        framework.observe(self.on.collect_unit_status, self._status)

    def _password(self, refresh=False):
        relation = self.model.get_relation("store")
        if relation is None or not relation.app or not relation.active:
            return None
        secret_id = relation.data[relation.app].get("secret-id")
        if secret_id is None:
            return None
        secret = self.model.get_secret(id=secret_id)
        return secret.get_content(refresh=refresh)["password"]

    def _reconcile(self, event):
        if isinstance(event, ops.SecretChangedEvent):
            self._password(refresh=True)

    def _status(self, event):
        password = self._password()
        if password is None:
            event.add_status(ops.WaitingStatus("waiting for store"))
        event.add_status(ops.ActiveStatus(f"password is {password}"))

ops.main(Taker)
"""


def _status(bench: Bench, application: str) -> tuple[str, str]:
    status = bench.api.status(MODEL)["applications"][application]["application-status"]
    return status["current"], status.get("message", "")


async def test_two_charms_share_a_secret_until_they_part(bench: Bench):
    giver = bench.charm(
        "giver", python=GIVER, provides={"db": {"interface": "sql"}},
        options={"port": {"type": "int", "default": 3306}},
        storage={"data": {"type": "filesystem", "location": "/data"}},
        resources={"image": {"type": "oci-image"}},
        actions={"rotate": {"params": {"to": {"type": "string"}}, "required": ["to"]}},
    )  # fmt: skip
    await bench.deploy(giver, resources={"image": "example.org/giver:1"})
    await bench.deploy(
        bench.charm("taker", python=TAKER, requires={"store": {"interface": "sql"}})
    )
    await bench.until(lambda: _status(bench, "giver") == ("active", "all ready"), 20)
    await bench.until(lambda: _status(bench, "taker") == ("waiting", "waiting for store"), 20)
    await bench.idle()
    shown = bench.api.status(MODEL)["applications"]["giver"]
    assert shown["version"] == "1.2.3"
    assert shown["units"]["giver/0"]["open-ports"] == ["3306/tcp", "53/udp"]

    bench.api.integrate(MODEL, "giver", "taker")
    await bench.until(lambda: _status(bench, "taker") == ("active", "password is one"), 20)
    await bench.idle()

    task = await bench.task("giver/leader", "rotate", to="second")
    assert (task["status"], task["results"]["new"]) == ("completed", {"password-length": "6"})
    await bench.until(lambda: _status(bench, "taker") == ("active", "password is second"), 20)

    bench.api.remove_relation(MODEL, "giver", "taker")
    await bench.until(lambda: _status(bench, "taker") == ("waiting", "waiting for store"), 20)
    bench.api.destroy_model(MODEL, destroy_storage=True)
    await bench.until(lambda: not bench.api.models(), 20)


WEB = """
import ops

class Web(ops.CharmBase):
    def __init__(self, framework):
        super().__init__(framework)
        self.container = self.unit.get_container("web")
        framework.observe(self.on.web_pebble_ready, self._ready)
        framework.observe(self.on.web_pebble_custom_notice, self._notice)
        framework.observe(self.on.web_pebble_check_failed, self._failed)

    def _ready(self, event):
        self.container.push("RUN/hello.txt", "hello", make_dirs=True)
        assert self.container.pull("RUN/hello.txt").read() == "hello"
        self.container.add_layer("web", {
            "services": {"web": {"override": "replace", "startup": "enabled",
                                 "command": "sleep 1000"}},
            "checks": {"up": {"override": "replace", "period": "2s", "threshold": 1,
                              "timeout": "1900ms", "exec": {"command": "test -e RUN/hello.txt"}}},
        })
        self.container.replan()
        assert self.container.get_service("web").is_running()
        self.unit.status = ops.ActiveStatus("serving")

    def _notice(self, event):
        self.unit.status = ops.ActiveStatus(f"{event.notice.key} {event.notice.last_data}")

    def _failed(self, event):
        self.unit.status = ops.BlockedStatus(f"check {event.info.name} failed")

ops.main(Web)
"""


async def test_pebble_ready_notices_checks_and_a_pebble_that_starts_again(bench: Bench):
    run = bench.state / "run"
    charm = bench.charm("web", python=WEB.replace("RUN", str(run)), containers={"web": {}})
    await bench.deploy(charm)
    await bench.until(lambda: _status(bench, "web") == ("active", "serving"), 20)
    await bench.idle()
    socket = bench.node.volume_path(MODEL, "web-0", "charm-data") / "charm/containers/web"
    link = Path("/tmp") / f"{bench.state.name[-20:]}-sock"
    link.symlink_to(socket)
    client = (
        "import sys, ops.pebble as p;"
        "p.Client(sys.argv[1]).notify(p.NoticeType.CUSTOM, 'example.org/a', data={'k': 'v'})"
    )
    number = bench.api.exec(
        MODEL, "web/0", f'{sys.executable} -c "{client}" {link}/pebble.socket'
    )["task"]
    assert (await bench.finished(number))["results"]["return-code"] == 0
    link.unlink()
    await bench.until(lambda: _status(bench, "web") == ("active", "example.org/a {'k': 'v'}"), 20)
    (run / "hello.txt").unlink()
    await bench.until(lambda: _status(bench, "web") == ("blocked", "check up failed"), 20)
    bench.forget()
    bench.node.restart_pebble("web-0", "web")
    await bench.until(lambda: _status(bench, "web") == ("active", "serving"), 20)
    await bench.until(lambda: "web-pebble-ready" in bench.hooks("web/0"))
