"""Log targets: what reaches a Loki, and what is refused."""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ops import pebble

from localjuju.inpod.tests.test_client import _until, client, daemon

__all__ = ["client", "daemon"]


class Loki:
    """Takes pushes, and answers with the statuses that are told, then with 204."""

    def __init__(self) -> None:
        self.pushes: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        loki = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = loki.statuses.pop(0) if loki.statuses else 204
                loki.pushes.append({"status": status, "path": self.path, **body})
                self.send_response(status)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/loki/api/v1/push"

    def lines(self, service: str) -> list[str]:
        """What was taken of a service, in order."""
        return [
            line
            for push in self.pushes
            if push["status"] == 204
            for stream in push["streams"]
            if stream["stream"]["pebble_service"] == service
            for _, line in stream["values"]
        ]


@pytest.fixture
def loki() -> Iterator[Loki]:
    made = Loki()
    yield made
    made.server.shutdown()
    made.server.server_close()


def _layer(loki: Loki, services: list[str], **commands: str) -> Any:
    target = {
        "override": "replace", "type": "loki", "location": loki.url, "services": services,
        "labels": {"team": "ml", "where": "$ZONE-${NONE}x"},
    }  # fmt: skip
    return {
        "services": {
            name: {"override": "replace", "command": command, "environment": {"ZONE": "a"}}
            for name, command in commands.items()
        },
        "log-targets": {"main": target},
    }


def test_lines_reach_loki_with_their_labels(client: pebble.Client, loki: Loki):
    before = time.time_ns()
    layer = _layer(
        loki, ["all", "-quiet"], web="sh -c 'echo one; echo two; sleep 100'",
        quiet="sh -c 'echo not this; sleep 100'",
    )  # fmt: skip
    client.add_layer("base", layer)
    client.start_services(["web", "quiet"])
    _until(lambda: loki.lines("web") == ["one", "two"])
    (stream,) = loki.pushes[0]["streams"]
    assert stream["stream"] == {"team": "ml", "where": "a-x", "pebble_service": "web"}
    assert loki.pushes[0]["path"] == "/loki/api/v1/push"
    times = [int(moment) for moment, _ in stream["values"]]
    assert times == sorted(times)
    assert before < times[0] < time.time_ns()
    assert loki.lines("quiet") == []


def test_what_loki_cannot_take_now_is_sent_again_and_what_is_wrong_is_dropped(
    client: pebble.Client, loki: Loki, tmp_path: Path
):
    pipe = tmp_path / "pipe"
    subprocess.run(["mkfifo", pipe], check=True)
    client.add_layer("base", _layer(loki, ["web"], web=f"sh -c 'exec cat <> {pipe}'"))
    client.start_services(["web"])
    loki.statuses = [503, 204, 400]
    for line in ("first", "second", "wrong", "last"):
        count = len(loki.pushes)
        pipe.write_text(f"{line}\n")
        _until(lambda count=count: len(loki.pushes) > count)
    assert loki.lines("web") == ["first", "second", "last"]


def test_what_is_left_is_sent_when_the_daemon_ends(
    client: pebble.Client, daemon: subprocess.Popen[bytes], loki: Loki
):
    command = (
        """sh -c 'trap "echo goodbye; exit 0" TERM; echo hello; while true; do sleep 0.05; done'"""
    )
    client.add_layer("base", _layer(loki, ["all"], web=command))
    client.start_services(["web"])
    _until(lambda: loki.lines("web") == ["hello"])
    daemon.terminate()
    daemon.wait(20)
    assert (loki.lines("web")[0], loki.lines("web")[-1]) == ("hello", "goodbye")


def test_a_target_that_goes_gets_nothing_more(client: pebble.Client, loki: Loki):
    client.add_layer("base", _layer(loki, ["all"], web="sh -c 'echo one; sleep 100'"))
    client.start_services(["web"])
    _until(lambda: loki.lines("web") == ["one"])
    off = {"log-targets": {"main": {"override": "merge", "services": ["-all"]}}}
    client.add_layer("base", off, combine=True)  # type: ignore[arg-type]
    client.restart_services(["web"])
    time.sleep(1.5)
    assert loki.lines("web") == ["one"]


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ({"type": "kafka"}, 'log target "t" has unsupported type "kafka"'),
        ({"labels": {"pebble_x": "1"}}, 'label "pebble_x" uses reserved prefix "pebble_"'),
        ({"type": ""}, 'plan must define "type" ("loki" or "opentelemetry") for log target "t"'),
        ({"location": ""}, 'plan must define "location" for log target "t"'),
        ({"services": ["nope"]}, 'log target "t" specifies unknown service "nope"'),
    ],
)
def test_a_wrong_target_is_refused(client: pebble.Client, target: dict[str, Any], told: str):
    whole = {"override": "replace", "type": "loki", "location": "http://l", **target}
    with pytest.raises(pebble.APIError) as refused:
        client.add_layer("base", {"log-targets": {"t": whole}})  # type: ignore[arg-type]
    assert told in refused.value.message


def test_the_plan_shows_durations_as_go_prints_them(client: pebble.Client):
    check = {"override": "replace", "exec": {"command": "true"}, "period": "60s"}
    service = {"override": "replace", "command": "x", "kill-delay": "1500ms"}
    layer: Any = {"checks": {"c": check}, "services": {"s": service}}
    client.add_layer("base", layer)
    plan = client.get_plan()
    assert plan.checks["c"].period == "1m0s"
    assert plan.services["s"].to_dict().get("kill-delay") == "1.5s"
