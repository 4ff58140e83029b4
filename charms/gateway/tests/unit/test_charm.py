"""The gateway's configuration, certificate, Service and options."""

from __future__ import annotations

import datetime
import json
import signal
import time

import ops
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from ops import testing

from charmed_mlops.testing import relation

CONFIG = "/tmp/gateway/Caddyfile"
ROUTE = {"name": "app", "prefix": "/app/", "host": "app.shop", "port": 80}


def routed(*routes, app="app"):
    return relation("routes", app, version="1", routes=json.dumps(list(routes)))


def pair(days=30, other_key=False):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - datetime.timedelta(days=60))
        .not_valid_after(now + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    private = ec.generate_private_key(ec.SECP256R1()) if other_key else key
    return {
        "certificate": certificate.public_bytes(serialization.Encoding.PEM).decode(),
        "private-key": private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
    }


@pytest.fixture
def signals(monkeypatch):
    """What the charm has Pebble send to services."""
    sent = []
    monkeypatch.setattr(ops.Container, "send_signal", lambda _, *given: sent.append(given))
    return sent


@pytest.fixture
def started(charm, tmp_path):
    """The state once Caddy runs, in a container whose files stay from hook to hook."""
    caddy = testing.Container(
        "caddy", can_connect=True, mounts={"tmp": testing.Mount(location="/tmp", source=tmp_path)}
    )
    return charm.settled(containers=[caddy, testing.Container("authorizer", can_connect=True)])


def with_route(charm, before):
    return charm.applied(charm.again(before, relations=[*before.relations, routed(ROUTE)]))


def test_a_change_is_loaded_on_a_signal_and_restarts_nothing(signals, charm, started, tmp_path):
    assert charm.service(started).command == (
        "/usr/bin/caddy run --config /tmp/gateway/Caddyfile --adapter caddyfile"
    )
    assert signals == []  # it has read the file at its start
    after = with_route(charm, started)
    assert "/app/" in (tmp_path / "gateway" / "Caddyfile").read_text()
    assert charm.service(after) == charm.service(started)
    assert signals == [("SIGUSR1", "caddy")]
    charm.again(after)
    assert len(signals) == 1  # nothing changed


def test_another_certificate_is_loaded_on_a_signal_too(signals, charm, started, tmp_path):
    charm.applied(charm.again(started, config={"hostname": "ml.example.com"}))
    assert signals == [("SIGUSR1", "caddy")]
    assert len([*(tmp_path / "gateway").glob("*.crt")]) == 2


def test_after_a_hook_that_ended_before_the_signal_the_next_one_sends_it(
    charm, started, monkeypatch
):
    with monkeypatch.context() as patched:
        patched.setattr(ops.Container, "send_signal", lambda *_: 1 / 0)
        with pytest.raises(testing.errors.UncaughtCharmError):
            with_route(charm, started)
    sent = []
    monkeypatch.setattr(ops.Container, "send_signal", lambda _, *given: sent.append(given))
    with_route(charm, started)
    assert sent == [("SIGUSR1", "caddy")]


def test_the_authorizer_runs_beside_it_with_the_options(charm):
    out = charm.settled(config={"token-audience": "ours", "decision-ttl": 9})
    assert charm.service(out, "authorizer").command == (
        "/usr/local/bin/python3 /tmp/authorizer.py --port=9001 --audience=ours --ttl=9 --leaving=6"
    )
    text = charm.file(out, "/tmp/authorizer.py", "authorizer")
    assert text == (charm.folder / "src" / "authorizer.py").read_text()


def test_it_may_ask_for_reviews_and_read_notebooks_and_nothing_else(charm):
    rules = charm.manifest(charm.settled(), "ClusterRole")["rules"]
    assert [(rule["resources"], rule["verbs"]) for rule in rules] == [
        (["tokenreviews"], ["create"]),
        (["subjectaccessreviews"], ["create"]),
        (["notebooks"], ["get"]),
    ]


@pytest.mark.parametrize(
    "given, url",
    [
        ({}, "https://gateway.shop.svc.cluster.local:8443"),
        ({"hostname": "ml.example.com"}, "https://ml.example.com"),
        ({"hostname": "ml.example.com", "external-port": 8443}, "https://ml.example.com:8443"),
    ],
)
def test_applications_hear_the_url_that_people_type(charm, given, url):
    out = charm.settled(routed(ROUTE), config=given)
    assert charm.published(out, "routes")["url"] == url


def test_its_own_certificate_names_the_host_and_get_ca_shows_what_to_trust(charm):
    out = charm.settled(config={"hostname": "ml.example.com"})
    (secret,) = [each for each in out.secrets if each.label == "serving-certificate"]
    leaf = x509.load_pem_x509_certificate(secret.tracked_content["server-cert"].encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "ml.example.com" in names.get_values_for_type(x509.DNSName)
    shown = charm.act("get-ca", out)
    assert shown["ca"] == secret.tracked_content["ca-cert"]
    assert shown["url"] == "https://ml.example.com"


def test_a_new_host_name_gets_a_new_certificate_by_the_same_ca(charm):
    before = charm.settled()
    after = charm.again(before, config={"hostname": "ml.example.com"})

    def content(out):
        (found,) = [each for each in out.secrets if each.label == "serving-certificate"]
        return found.latest_content or found.tracked_content

    assert content(after)["server-cert"] != content(before)["server-cert"]
    assert content(after)["ca-cert"] == content(before)["ca-cert"]


def test_the_administrators_certificate_is_used(charm):
    secret = testing.Secret(pair())
    out = charm.settled(secrets=[secret], config={"tls-secret": secret.id})
    assert out.unit_status == testing.ActiveStatus()
    line = next(each for each in charm.file(out, CONFIG).splitlines() if "\ttls " in each)
    assert charm.file(out, line.split()[1]) == secret.tracked_content["certificate"]
    with pytest.raises(testing.ActionFailed, match="juju update-secret"):
        charm.act("renew-certificate", out)


@pytest.mark.parametrize(
    "content, message",
    [
        ({"certificate": "x"}, "needs certificate and private-key"),
        ({"certificate": "x", "private-key": "y"}, "certificate or private-key is not PEM"),
        (pair(other_key=True), "private-key is not the certificate's"),
        (pair(days=-1), "the certificate expired on "),
    ],
)
def test_a_certificate_that_cannot_be_used_blocks_and_says_why(charm, content, message):
    secret = testing.Secret(content)
    out = charm.settled(secrets=[secret], config={"tls-secret": secret.id})
    assert out.unit_status.message.startswith(f"config tls-secret: {message}")


@pytest.mark.parametrize(
    "given, ports",
    [
        ({}, None),
        ({"service-type": "LoadBalancer"}, {"name": "https", "port": 443, "targetPort": 8443}),
        (
            {"service-type": "NodePort", "node-port": 30443},
            {"name": "https", "port": 443, "targetPort": 8443, "nodePort": 30443},
        ),
    ],
)
def test_a_service_makes_it_reachable_from_outside_when_asked(charm, given, ports):
    out = charm.settled(config=given)
    declared = [each for each in charm.manifests(out) if each["kind"] == "Service"]
    services = [each for each in declared if each["metadata"]["name"] != "gateway--serving"]
    assert [each["spec"]["ports"] for each in services] == ([[ports]] if ports else [])
    assert [each["spec"]["type"] for each in services] == (
        [given["service-type"]] if ports else []
    )


@pytest.mark.parametrize(
    "route, message",
    [
        ({"prefix": "/oauth2/x/"}, "/oauth2/x/ is the gateway's own"),
        ({"prefix": "/{name}/{name}/"}, "a placeholder stands twice in its prefix"),
        ({"host": "{name}.shop"}, "its prefix lacks a placeholder of its host"),
        ({"prefix": "/{name}/", "host": "{name}.shop"}, "a host with placeholders needs access"),
        ({"prefix": "/a/../b/"}, "its prefix has a dot segment"),
        ({"host": "{env}.shop"}, "its host has an unknown placeholder"),
        ({"annotations": "kubeflow.org"}, "the gateway does not read"),
        (
            {
                "prefix": "/{namespace}/{name}/",
                "access": "namespace",
                "group": "",
                "resource": "secrets",
                "annotations": "kubeflow.org",
            },
            "the gateway does not read secrets for annotations",
        ),
    ],
)
def test_a_route_that_would_open_too_much_is_left_out_and_named(charm, route, message):
    out = charm.settled(routed({**ROUTE, **route}), routed({**ROUTE, "prefix": "/b/"}, app="b"))
    assert out.unit_status.name == "blocked"
    assert message in out.unit_status.message
    listed = charm.act("list-routes", out)["routes"]
    assert [each["prefix"] for each in listed.values()] == ["/b/"]


@pytest.mark.parametrize(
    "given, message",
    [
        ({"hostname": "a b"}, "config hostname=a b: must match"),
        ({"external-port": 0}, "config external-port=0: must be greater"),
        ({"service-type": "x"}, "config service-type=x: must be one of"),
        ({"token-audience": "a b"}, "config token-audience=a b: must match"),
        ({"decision-ttl": 301}, "config decision-ttl=301: must be less"),
    ],
)
def test_a_wrong_option_blocks_and_says_why(charm, given, message):
    out = charm.settled(config=given)
    assert out.unit_status.name == "blocked"
    assert out.unit_status.message.startswith(message)


def test_a_changed_file_is_loaded_while_clients_go_on(door):
    def get(path: str) -> int:
        """A GET as browsers do it: one that meets a closed connection is sent again, once."""
        try:
            return door.get(path, user="ann").status
        except ConnectionResetError:  # seen once in some thousand, on a busy machine
            return door.get(path, user="ann").status

    text = door.config.read_text()
    new = door.folder / "new"
    new.write_text(text.replace('"there is nothing here" 404', '"gone" 410'))
    new.rename(door.config)  # at once, as Pebble writes a file
    door.process.send_signal(signal.SIGUSR1)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        status = get("/nothing/")
        assert status in (404, 410)
        assert get("/app/") == 200
        if status == 410:
            return
    pytest.fail("the change was not loaded")


PODS = "/api/v1/namespaces/shop/pods"
LABEL = "charmed-mlops.io/serving"


def external(charm, out):
    return charm.manifest(out, "Service", "gateway-external")["spec"]["selector"]


def test_its_service_leads_to_pods_that_serve_and_to_no_other(charm, api):
    api.add(PODS, {"metadata": {"name": "gateway-0"}})
    out = charm.settled(config={"service-type": "NodePort"})
    assert api.get(PODS, "gateway-0")["metadata"]["labels"] == {LABEL: "true"}
    assert external(charm, out) == {"app.kubernetes.io/name": "gateway", LABEL: "true"}
    calls = len(api.calls)
    assert charm.applied(out).unit_status == testing.ActiveStatus()
    assert len(api.calls) == calls  # once for each pod


def test_its_service_leads_to_every_pod_where_none_may_be_labelled(charm, api):
    api.add(PODS, {"metadata": {"name": "gateway-0"}})
    api.forbidden.add(f"{PODS}/gateway-0")
    out = charm.applied(charm.settled(config={"service-type": "NodePort"}))
    assert out.unit_status == testing.ActiveStatus()
    assert external(charm, out) == {"app.kubernetes.io/name": "gateway"}
