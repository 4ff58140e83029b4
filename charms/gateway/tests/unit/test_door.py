"""Attacks on the door, on the real Caddy and the real authorizer."""

from __future__ import annotations

import hashlib
import http.client

import pytest

from charms import grpc_double

NOTEBOOK = "/notebook/1/mine/"
FORGED = [
    "kubeflow-userid", "Kubeflow-Userid", "KUBEFLOW_USERID", "kubeflow_userid", "kubeflow-groups",
    "X-Auth-Request-Email", "X-Auth-Request-User", "X_Auth_Request_Email", "X-Gateway-User",
    "X-Gateway-Groups", "X_Gateway_User", "X-Forwarded-User", "X-Forwarded-Email",
    "X-Remote-User", "Remote-User",
]  # fmt: skip


def values(answer, *names):
    return [
        value for name, value in answer.seen["items"] if name.lower().replace("_", "-") in names
    ]


def test_who_is_logged_in_is_named_to_the_application(door):
    answer = door.get("/app/x?y=1", user="ann")
    assert answer.status == 200
    assert answer.seen["path"] == "/x?y=1"
    assert values(answer, "kubeflow-userid") == ["ann"]
    assert values(answer, "kubeflow-groups") == ["team"]


def test_a_browser_without_a_session_is_sent_to_log_in_and_back(door):
    answer = door.get("/app/x?y=1", ("Accept", "text/html"))
    assert answer.status == 302
    assert answer.headers["location"] == "/dex/auth?rd=/app/x?y=1"
    assert answer.seen is None


@pytest.mark.parametrize("headers", [[], [("Accept", "text/html"), ("Upgrade", "websocket")]])
def test_another_client_without_a_session_is_refused(door, headers):
    answer = door.get("/app/", *headers)
    assert (answer.status, answer.seen) == (401, None)


def test_a_public_route_needs_no_login_but_names_nobody(door):
    answer = door.get("/open/x", ("kubeflow-userid", "ann"))
    assert answer.status == 200
    assert values(answer, "kubeflow-userid") == []


@pytest.mark.parametrize("name", FORGED)
@pytest.mark.parametrize("path", ["/app/", "/open/"])
def test_a_forged_name_reaches_no_application(door, name, path):
    answer = door.get(path, (name, "forged"), (name, "forged"), user="bob")
    assert answer.status == 200
    assert "forged" not in str(answer.seen)
    assert door.get("/app/", (name, "ann")).status == 401


def test_the_application_gets_neither_the_session_nor_the_token(door):
    cookie = door.get("/app/", user="ann").seen["headers"]["cookie"]
    assert cookie == "theme=dark; a=b"
    assert "authorization" not in door.get("/app/", token="good").seen["headers"]


def test_who_has_the_right_in_the_namespace_passes_with_the_path_as_it_is(door):
    answer = door.get(f"{NOTEBOOK}lab?x=%2F", user="ann")
    assert answer.status == 200
    assert answer.seen["path"] == f"{NOTEBOOK}lab?x=%2F"


def test_a_group_that_is_kubernetes_own_is_not_believed_of_an_issuer(door):
    door.get(NOTEBOOK, user="ann")
    assert door.reviews.groups == [["team", "system:authenticated"]]
    assert door.get("/app/", user="system:admin").status == 401


@pytest.mark.parametrize("path", [f"{NOTEBOOK}lab?", f"{NOTEBOOK}lab?reset"])
def test_a_query_passes_even_where_it_is_empty(door, path):
    answer = door.get(path, user="ann")  # JupyterLab's own redirect leads to such a path
    assert (answer.status, answer.seen["path"]) == (200, path)


@pytest.mark.parametrize("path", ["/notebook/2/mine/", NOTEBOOK])
def test_who_has_no_right_there_is_refused(door, path):
    answer = door.get(path, user="bob")
    assert (answer.status, answer.seen) == (403, None)
    assert "bob has no right in" in answer.text


PAGES = "text/html,application/xhtml+xml,*/*;q=0.8"


def test_a_browser_gets_a_page_that_says_why_not(door):
    answer = door.get("/notebook/2/mine/", ("Accept", PAGES), user="<b>eve</b>")
    assert (answer.status, answer.seen) == (403, None)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<h1>You may not open this</h1>" in answer.text
    assert "&lt;b&gt;eve&lt;/b&gt; has no right in 2" in answer.text
    assert "<b>" not in answer.text


@pytest.mark.parametrize("accept", ["*/*", "application/json"])
def test_a_program_gets_one_line_of_plain_text(door, accept):
    answer = door.get("/notebook/2/mine/", ("Accept", accept), user="<b>eve</b>")
    assert (answer.status, answer.text) == (403, "<b>eve</b> has no right in 2")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/notebook/1/../2/mine/", "/notebook/1/..%2f2/mine/", "/notebook/1%2f..%2f2/mine/",
        "/notebook/1/%2e%2e/2/mine/", "/notebook/1/mine/../../2/mine/", "/notebook/1/./mine/",
        "/notebook/1/mine/%2E%2e/%2e./2/x/", "//notebook/2/mine/", "/app/..%5c/notebook/2/",
        "/app/\\../notebook/2/mine/", "/app/..", "/app/%00",
    ],
)  # fmt: skip
def test_a_path_that_can_be_read_in_two_ways_is_refused(door, path):
    answer = door.get(path, user="ann")
    assert (answer.status, answer.seen) == (400, None)


@pytest.mark.parametrize("referer", ["", "https://x/pipeline/apis/v1beta1/_proxy/http://a:1/"])
@pytest.mark.parametrize(
    "path",
    [
        "/pipeline/apis/v1beta1/_proxy/http://kfp-api:8888/x", "/pipeline/apis/v2beta1/_PROXY/a",
        "/pipeline/apis/v1beta1/%5fproxy/a", "/pipeline/x",
    ],
)  # fmt: skip
def test_the_pipelines_page_fetches_no_url_for_others(door, path, referer):
    answer = door.get(path, ("Referer", referer), user="ann")
    refused = bool(referer) or path != "/pipeline/x"
    assert (answer.status == 403 and "closed" in answer.text) is refused
    assert answer.seen is None or not refused


@pytest.mark.parametrize(
    "path",
    ["/notebook/%31/mine/", "/NOTEBOOK/1/mine/", "/notebook//1/mine/", "/notebook/1;2/mine/",
     "/notebook/1.2/mine/", "/notebook/nowhere", "/nothing/", "/", "/notebook/-/mine/"],
)  # fmt: skip
def test_a_path_that_is_no_route_reaches_nothing(door, path):
    answer = door.get(path, user="ann")
    assert answer.status == 404
    assert answer.seen is None


def test_a_missing_slash_is_added(door):
    assert door.get("/app", user="ann").headers["location"] == "/app/"
    assert door.get("/notebook/1/mine", user="ann").headers["location"] == NOTEBOOK


def test_a_service_is_asked_for_by_the_name_people_typed_or_by_its_own(door):
    typed = door.get("/app/", user="ann").seen["headers"]["host"]
    assert typed == f"localhost:{door.port}"
    headers = door.get("/named/", user="ann").seen["headers"]
    assert headers["host"] == "127.0.0.1"
    assert headers["x-forwarded-host"] == typed


@pytest.mark.parametrize(
    "sent", [(), (("X-Gateway-Namespace", "2"),), (("Connection", "X-Gateway-Namespace"),)]
)
def test_a_service_of_many_is_told_the_namespace_that_rights_were_asked_for_in(door, sent):
    headers = door.get("/served/1/lab/", *sent, user="ann").seen["headers"]
    assert headers["x-gateway-namespace"] == "1"
    assert headers["host"] == "127.0.0.1"


def test_others_are_told_none(door):
    sent = ("X-Gateway-Namespace", "2")
    for path in ("/app/", "/open/", "/notebook/1/lab/"):
        headers = door.get(path, sent, user="ann").seen["headers"]
        assert "x-gateway-namespace" not in headers


def test_the_longer_prefix_is_the_one_that_counts(door):
    assert door.get("/app/sub/x", user="ann").seen["path"] == "/app/sub/x"


# notebooks whose programs serve `/`

OBJECT = "/apis/kubeflow.org/v1/namespaces/1/notebooks/mine"
REWRITE = {"notebooks.kubeflow.org/http-rewrite-uri": "/"}
HEADERS = "notebooks.kubeflow.org/http-headers-request-set"


@pytest.mark.parametrize(
    ("sent", "served"),
    [
        ("", "/"),
        ("lab?x=%2F", "/lab?x=%2F"),
        ("a/b/", "/a/b/"),
        ("?folder=/home", "/?folder=/home"),
    ],
)
def test_a_notebook_that_serves_the_root_gets_the_rest_of_the_path(door, sent, served):
    door.reviews.annotations[OBJECT] = REWRITE
    answer = door.get(f"{NOTEBOOK}{sent}", user="ann")
    assert (answer.status, answer.seen["path"]) == (200, served)


def test_rstudio_is_told_where_it_is(door):
    door.reviews.annotations[OBJECT] = {
        **REWRITE, HEADERS: f'{{"X-RStudio-Root-Path": "{NOTEBOOK}"}}'
    }  # fmt: skip
    answer = door.get(NOTEBOOK, ("X-RStudio-Root-Path", "/elsewhere/"), user="ann")
    assert values(answer, "x-rstudio-root-path") == [NOTEBOOK]


@pytest.mark.parametrize(
    "given",
    [
        "{", "[]", "[" * 5000, '{"X-RStudio-Root-Path": 1}', '{"Kubeflow-Userid": "bob"}',
        r'{"X-RStudio-Root-Path": "/x/\r\nKubeflow-Userid: bob"}',
        '{"X-RStudio-Root-Path": "/x/ y/"}',
    ],
)  # fmt: skip
def test_a_notebook_s_owner_sets_no_other_header(door, given):
    door.reviews.annotations[OBJECT] = {HEADERS: given}
    answer = door.get(NOTEBOOK, user="ann")
    assert (answer.status, answer.seen["path"]) == (200, NOTEBOOK)
    assert values(answer, "kubeflow-userid") == ["ann"]
    assert values(answer, "x-rstudio-root-path") == []


def test_what_the_path_becomes_is_not_the_client_s_to_say(door):
    answer = door.get(NOTEBOOK, ("X-Gateway-Rewrite", "/"), user="ann")
    assert answer.seen["path"] == NOTEBOOK


def test_who_has_no_right_learns_nothing_of_the_notebook(door):
    door.reviews.annotations[OBJECT] = REWRITE
    assert door.get(NOTEBOOK, user="bob").status == 403
    assert f"GET {OBJECT}" not in door.reviews.calls


# machine clients


def test_a_service_account_with_our_audience_passes(door):
    answer = door.get(NOTEBOOK, token="good")
    assert values(answer, "kubeflow-userid") == ["system:serviceaccount:1:default-editor"]


@pytest.mark.parametrize("token", ["foreign", "expired", "x" * 9000, "a b"])
def test_a_token_that_is_not_for_us_is_refused(door, token):
    answer = door.get(NOTEBOOK, token=token)
    assert (answer.status, answer.seen) == (401, None)


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_a_session_does_not_help_a_token_that_is_wrong(door, scheme):
    answer = door.get("/app/", ("Authorization", f"{scheme} foreign"), user="ann")
    assert (answer.status, answer.seen) == (401, None)


def test_two_tokens_are_none(door):
    answer = door.get(NOTEBOOK, ("Authorization", "Bearer foreign"), token="good")
    assert answer.status in (400, 401)
    assert answer.seen is None


def test_a_service_account_has_its_own_rights_only(door):
    assert door.get("/notebook/2/mine/", token="good").status == 403


@pytest.mark.parametrize("given", [{"user": "ann"}, {"token": "good"}])
def test_nothing_passes_while_kubernetes_does_not_answer(door, given):
    door.reviews.down = True
    answer = door.get(NOTEBOOK, **given)
    assert (answer.status, answer.seen) == (503, None)
    door.reviews.down = False
    assert door.get(NOTEBOOK, **given).status == 200


def test_with_the_rights_given_the_same_request_passes(door):
    """The refusals above are the authorizer's doing, not the route's."""
    assert door.get(NOTEBOOK, user="bob").status == 403
    door.reviews.rights.add(("bob", "1", "notebooks.kubeflow.org", "get"))
    assert door.get(NOTEBOOK, user="bob").status == 200


# connections


def test_a_login_and_a_logout_reach_oauth2_proxy(door):
    path = "/oauth2/sign_out?rd=%2Fapp%2F"
    assert door.get(path).text == path


def test_a_grpc_call_passes_with_its_trailers_and_names_the_user(door):
    def call(*headers: tuple[str, str]) -> grpc_double.Reply:
        return grpc_double.call(door.port, door.context(), "/shop.Prices/Get", b"wine", *headers)

    reply = call(("cookie", "mlops_session=ann"), ("kubeflow-userid", "forged"))
    assert (reply.headers[":status"], reply.headers["user"]) == ("200", "ann")
    assert (reply.message, reply.trailers["grpc-status"]) == (b"wine", "0")
    assert call().headers[":status"] == "401"


def test_an_upload_passes_whole_without_being_told_its_size(door):
    block, count = b"0123456789abcdef" * 65536, 64

    def blocks():
        for _ in range(count):
            yield block

    connection = http.client.HTTPSConnection(
        "localhost", door.port, timeout=60, context=door.context()
    )
    connection.request(
        "POST", "/app/", blocks(), {"Cookie": "mlops_session=ann"}, encode_chunked=True
    )
    answer = connection.getresponse()
    digest = hashlib.sha256(block * count).hexdigest()
    assert (answer.status, answer.read().decode()) == (200, f"{len(block) * count} {digest}")
    connection.close()
