"""Pods come and go, routes change: no request fails for it, on the real Caddy."""

from __future__ import annotations

import re
import signal
import threading
import time

from charms.small_servers import http_server, reply
from localkube.tests.ports import ports

LEAVING = 5
"""Seconds that a stopping Caddy takes new requests."""


def reroute(door, port):
    """Have the application's routes lead to another port."""
    pattern = r"(reverse_proxy 127\.0\.0\.1):\d+( {\s+import again\s+flush_interval)"
    changed, count = re.subn(pattern, rf"\1:{port}\2", door.config.read_text())
    assert count >= 2
    new = door.config.with_suffix(".new")
    new.write_text(changed)
    new.rename(door.config)  # in one step, as Pebble does: Caddy must not read half of it
    door.process.send_signal(signal.SIGUSR1)  # as the charm has it sent


def ask(door, path):
    """One request. Go's server drops a connection that was made in the moment of a reload, before
    or after its handshake, with no request read from it: a client asks again, as browsers and
    libraries do.
    """
    try:
        return door.get(path)
    except ConnectionResetError:  # http.client.RemoteDisconnected is one
        return door.get(path)


def test_a_request_waits_for_a_pod_that_is_about_to_listen(door):
    (port,) = ports(1)
    reroute(door, port)
    end = time.monotonic() + 300
    while ask(door, "/open/x").status != 502:  # nobody listens, which it says in the end
        assert time.monotonic() < end
    found = []
    asking = threading.Thread(target=lambda: found.append(ask(door, "/open/x")))
    asking.start()
    time.sleep(0.5)
    with http_server(lambda handler: reply(handler, 200, {}, b"late"), port=port):
        asking.join()
    assert [(each.status, each.text) for each in found] == [(200, "late")]


def test_new_routes_fail_no_request(door):
    def moved(handler):
        reply(handler, 200, {}, b"there")

    with http_server(moved) as port:
        texts = []
        reroute(door, port)
        end = time.monotonic() + 300
        while "there" not in texts or texts[-1] != "there" or len(texts) < 100:
            answer = ask(door, "/open/x")
            assert answer.status == 200
            texts.append(answer.text)
            assert time.monotonic() < end
    assert set(texts) == {"here", "there"}


def test_a_gateway_that_stops_still_answers_who_has_not_heard_of_it(door):
    door.process.terminate()
    begin, answers = time.monotonic(), []
    while time.monotonic() - begin < LEAVING - 1:
        answers.append(door.get("/open/x").status)
    assert set(answers) == {200}
    assert door.process.wait(30) == 0
