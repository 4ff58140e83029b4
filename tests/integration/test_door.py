"""The door: gateway, login, rights and tenants, with the real Caddy, oauth2-proxy and MLflow.

Dex, the profile controller, access management and the dashboard are stand-ins.
"""

from __future__ import annotations

import json
import secrets
import urllib.parse
from collections.abc import Iterator

import httpx2
import jubilant
import pytest
import yaml
from browsers import NewClient, is_login, login, settle
from people import Accounts
from reach import Reach

SEARCH = "/mlflow/api/2.0/mlflow/experiments/search?max_results=5"
WORKSPACES = "/mlflow/api/3.0/mlflow/workspaces"  # a person's own: also who has none may ask
ECHO = """
import http.server, json

class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"path": self.path, "headers": self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Echo).serve_forever()
"""


@pytest.fixture(scope="module")
def profiles(team: str, other: str, reach: Reach) -> dict[str, str]:
    """Ann's and Bob's namespaces; Ann's has what stands in for a notebook, named `book`."""
    container = {
        "name": "echo",
        "image": "docker.io/library/python:3.12.12-slim",
        "command": ["/usr/local/bin/python3", "-c", ECHO],
    }
    labels = {"app": "book"}
    objects = [
        {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "book", "labels": labels},
            "spec": {"containers": [container]},
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "book"},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8000}]},
        },
    ]  # fmt: skip
    reach.kubectl("-n", team, "apply", "-f", "-", stdin=yaml.safe_dump_all(objects))
    reach.kubectl("-n", team, "wait", "pod/book", "--for=condition=Ready", "--timeout=300s")
    return {"ann": team, "bob": other}


def token(reach: Reach, namespace: str, audience: str) -> dict[str, str]:
    """The headers of a machine client with a token of the namespace's editor."""
    text = reach.kubectl(
        "-n", namespace, "create", "token", "default-editor", f"--audience={audience}"
    )
    return {"Authorization": f"Bearer {text.strip()}"}


def test_without_a_session_a_page_leads_to_the_login(stack, new_client: NewClient):
    answer = new_client().get("/mlflow/")
    assert is_login(answer)
    assert answer.url.path == "/dex/auth/local/login"
    assert answer.history[0].status_code == 302


def test_without_a_session_a_program_is_refused(stack, new_client: NewClient):
    assert new_client().get(SEARCH, headers={"Accept": "application/json"}).status_code == 401


def test_the_first_admin_logs_in_and_gets_the_page_that_she_opened(
    stack: jubilant.Juju, new_client: NewClient
):
    first = stack.run("dex/0", "get-admin-password").results
    client = new_client()
    answer = login(client, first["email"], first["password"], "/mlflow/")
    assert answer.url.path == "/mlflow/"
    assert "<title>MLflow</title>" in answer.text
    found = client.get(WORKSPACES)
    # no profile is hers; where there is none at all, MLflow leaves the list out
    assert (found.status_code, found.json().get("workspaces", [])) == (200, [])


def test_a_page_s_programs_and_changes_pass_as_well(ann: httpx2.Client, team: str):
    page = ann.get("/mlflow/").text
    source = page.partition('src="')[2].partition('"')[0]
    assert not source.startswith("/")  # else it would lead past the prefix
    assert ann.get(f"/mlflow/{source}").status_code == 200
    workspace = {"X-MLFLOW-WORKSPACE": team}
    origin = {"Origin": f"https://{ann.get('/mlflow/').request.headers['Host']}"}
    made = ann.post(
        "/mlflow/ajax-api/2.0/mlflow/experiments/create",
        json={"name": f"door-{secrets.token_hex(3)}"},
        headers=workspace | origin,
    )
    assert made.status_code == 200, made.text
    foreign = ann.post(
        "/mlflow/ajax-api/2.0/mlflow/experiments/create",
        json={"name": "foreign"},
        headers=workspace | {"Origin": "https://elsewhere.example"},
    )
    assert foreign.status_code == 403


def test_a_wrong_password_is_refused(new_client: NewClient, accounts: Accounts):
    client = new_client()
    answer = login(client, accounts.ann.email, accounts.bob.password, "/mlflow/")
    assert is_login(answer)
    assert "Invalid Email Address and password" in answer.text
    assert is_login(client.get("/mlflow/"))


def test_a_name_in_a_header_is_not_believed(new_client: NewClient, accounts: Accounts):
    for name in ("kubeflow-userid", "X-Auth-Request-Email", "X-Gateway-User", "X-Forwarded-Email"):
        headers = {name: accounts.ann.email, "Accept": "application/json"}
        assert new_client().get(SEARCH, headers=headers).status_code == 401, name


def test_her_own_namespace_is_open_and_the_application_is_told_her_name_only(
    ann: httpx2.Client, accounts: Accounts, profiles: dict[str, str]
):
    path = f"/notebook/{profiles['ann']}/book/"
    forged = {"kubeflow-userid": accounts.bob.email, "Kubeflow_Userid": accounts.bob.email}
    answer = ann.get(f"{path}tree?a=b", headers=forged)
    assert answer.status_code == 200, answer.text
    assert answer.json()["path"] == f"{path}tree?a=b"
    headers = [(name.lower(), value) for name, value in answer.json()["headers"]]
    assert [v for n, v in headers if n.replace("_", "-") == "kubeflow-userid"] == [
        accounts.ann.email
    ]
    assert "mlops_session" not in json.dumps(headers)


def test_another_s_namespace_is_closed(
    bob: httpx2.Client, accounts: Accounts, profiles: dict[str, str]
):
    path = f"notebook/{profiles['ann']}/book/"
    assert bob.get(f"/{path}").status_code == 403
    forged = {"kubeflow-userid": accounts.ann.email}
    assert bob.get(f"/{path}", headers=forged).status_code == 403
    own = f"/notebook/{profiles['bob']}"
    for crooked in (f"{own}/%2e%2e/{profiles['ann']}/book/", f"/%6eotebook/{path[9:]}"):
        answer = bob.get(crooked)
        # the dashboard may have a page for every path; the notebook answers with what it got
        assert answer.status_code in (400, 403, 404) or "<html" in answer.text, crooked


def test_the_dashboard_shows_her_namespaces_and_the_applications(
    ann: httpx2.Client, accounts: Accounts, profiles: dict[str, str]
):
    assert ann.get("/").status_code == 200
    # what the page asks for
    known = ann.get("/api/workgroup/env-info").json()
    assert known["user"] == accounts.ann.email
    namespaces = [each["namespace"] for each in known["namespaces"]]
    assert profiles["ann"] in namespaces
    assert profiles["bob"] not in namespaces
    links = ann.get("/api/dashboard-links").json()["menuLinks"]
    assert "/mlflow/" in [each["link"] for each in links]


@pytest.fixture
def decisions_at_once(stack: jubilant.Juju) -> Iterator[None]:
    """The gateway keeps no decision, as it may else for decision-ttl seconds."""
    stack.config("gateway", {"decision-ttl": 0})
    settle(stack)
    yield
    stack.config("gateway", reset="decision-ttl")
    settle(stack)


def test_a_contributor_gets_in_and_out_again(
    stack: jubilant.Juju, bob: httpx2.Client, accounts: Accounts, profiles: dict[str, str],
    decisions_at_once: None,
):  # fmt: skip
    who = {"profile": profiles["ann"], "user": accounts.bob.email}
    stack.run("profiles/0", "add-contributor", who)
    assert bob.get(f"/notebook/{profiles['ann']}/book/").status_code == 200
    stack.run("profiles/0", "remove-contributor", who)
    assert bob.get(f"/notebook/{profiles['ann']}/book/").status_code == 403


def test_a_service_account_s_token_passes_where_it_has_rights(
    new_client: NewClient, profiles: dict[str, str], reach: Reach
):
    headers = token(reach, profiles["ann"], "charmed-mlops")
    client = new_client()
    workspace = {"X-MLFLOW-WORKSPACE": profiles["ann"]}
    assert "experiments" in client.get(SEARCH, headers=headers | workspace).json()
    answer = client.get(f"/notebook/{profiles['ann']}/book/", headers=headers)
    assert answer.status_code == 200, answer.text
    told = {name.lower(): value for name, value in answer.json()["headers"]}
    account = f"system:serviceaccount:{profiles['ann']}:default-editor"
    assert told["kubeflow-userid"] == account
    assert "authorization" not in told
    other = token(reach, profiles["bob"], "charmed-mlops")
    assert client.get(f"/notebook/{profiles['ann']}/book/", headers=other).status_code == 403


def test_a_token_for_another_audience_or_of_another_issuer_is_refused(
    ann: httpx2.Client, profiles: dict[str, str], reach: Reach
):
    foreign = token(reach, profiles["ann"], "https://elsewhere.example")
    # not even beside a good session: what is sent has to be right
    assert ann.get(SEARCH, headers=foreign).status_code == 401
    header, payload, _ = foreign["Authorization"].split(".")
    broken = {"Authorization": f"{header}.{payload}.c2lnbmF0dXJl"}
    assert ann.get(SEARCH, headers=broken).status_code == 401


def test_logging_out_ends_the_session(new_client: NewClient, accounts: Accounts):
    client = new_client()
    login(client, *accounts.ann, "/mlflow/")
    assert client.get(WORKSPACES).status_code == 200
    client.get("/oauth2/sign_out", follow_redirects=False)
    assert is_login(client.get("/mlflow/"))


def test_who_logs_in_is_not_sent_to_another_site(new_client: NewClient, accounts: Accounts):
    client = new_client()
    away = urllib.parse.quote("https://elsewhere.example/", safe="")
    answer = login(client, *accounts.ann, f"/oauth2/start?rd={away}")
    assert answer.url.host == "127.0.0.1"


def test_no_password_shows(stack: jubilant.Juju, accounts: Accounts):
    shown = stack.cli("status", "--format", "json") + stack.cli("debug-log", "--replay")
    shown += stack.cli("show-unit", "oauth2-proxy/0") + stack.cli("config", "dex")
    for account in accounts:
        assert account.password not in shown
