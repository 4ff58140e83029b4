"""Attacks on the fence: Ann asks for what is Bob's."""

from __future__ import annotations

from pathlib import Path

import pytest
from fences import SERVICE, Fence, real  # pyright: ignore[reportMissingImports]
from lineage import (  # pyright: ignore[reportMissingImports]
    ATTACKS,
    OWN,
    RUN,
    Call,
    absent,
    attacks,
    by_id,
    by_name,
    field,
    of,
)

TYPES = ["GetArtifactTypes", "GetExecutionTypes", "GetContextTypes", "GetArtifactTypesByID"]
WRITES = {
    "PutContextType": field(1, field(2, "mine")),
    "PutArtifactType": field(1, field(2, "mine")),
    "PutExecutionType": field(1, field(2, "mine")),
}
OTHERS = [
    "PutArtifacts", "PutExecution", "PutExecutions", "PutContexts", "PutEvents", "PutTypes",
    "PutAttributionsAndAssociations", "PutParentContexts", "PutLineageSubgraph",
    "DeleteArtifacts", "GetEverything", "getartifactsbyid", "",
]  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_she_sees_what_belongs_to_her_runs(fence: Fence, name: str):
    assert fence.ask(of(fence.world.ann, "ann")[name]).status == 200


@pytest.mark.parametrize("name", ATTACKS)
def test_she_sees_nothing_else(fence: Fence, name: str):
    answer = fence.ask(attacks(fence.world)[name])
    assert answer.status == 403
    assert b"bob" not in answer.content


@pytest.mark.parametrize("name", ATTACKS)
def test_where_nobody_asks_she_gets_it(whole: Fence, name: str):
    answer = whole.ask(attacks(whole.world)[name], off=True)
    assert (answer.status, answer.grpc) == (200, "0")
    assert answer.content[0] == 0  # a message, not only trailers …
    assert int.from_bytes(answer.content[1:5], "big") > 0  # … and not an empty one


@pytest.mark.parametrize("name", ATTACKS)
def test_who_may_see_all_tenants_runs_sees_everything(fence: Fence, name: str):
    assert fence.ask(attacks(fence.world)[name], user="root").status == 200


@pytest.mark.parametrize("name", OWN)
def test_a_contributor_sees_it_too(fence: Fence, name: str):
    call = of(fence.world.bob, "bob")[name]
    assert fence.ask(call).status == 403
    fence.reviews.rights.add(("ann", "bob", "get"))
    assert fence.ask(call).status == 200


def test_the_right_to_read_one_run_is_not_the_right_to_list_all(fence: Fence):
    fence.reviews.rights.add(("ann", "", "get"))
    assert fence.ask(Call("GetArtifacts")).status == 403


def test_an_artifact_that_a_run_of_hers_used_is_hers_to_see(fence: Fence):
    call = by_id("GetArtifactsByID", fence.world.shared)
    assert {fence.ask(call, user=user).status for user in ("ann", "bob")} == {200}
    assert fence.ask(call, user="eve").status == 403


@pytest.mark.parametrize("name", sorted(absent()))
def test_what_is_not_there_is_refused_as_what_is_another_s(fence: Fence, name: str):
    there, absent_one = of(fence.world.bob, "bob")[name], absent()[name]
    assert fence.ask(there) == fence.ask(absent_one)


def test_a_run_that_has_not_begun_is_refused_until_its_context_is_there(fence: Fence):
    assert fence.ask(by_name(RUN, "run-later")).status == 403


@pytest.mark.parametrize("method", TYPES)
def test_types_are_the_same_for_all(fence: Fence, method: str):
    assert fence.ask(Call(method), user="eve").status == 200


def test_a_step_without_artifacts_asks_for_none(fence: Fence):
    answer = fence.ask(Call("GetArtifactsByID"))
    assert answer.status == 200
    assert b"minio" not in answer.content


@pytest.mark.parametrize("user", ["ann", "root"])
@pytest.mark.parametrize("method", [*WRITES, *OTHERS])
def test_nobody_writes_or_calls_what_is_not_known(fence: Fence, method: str, user: str):
    assert fence.ask(Call(method, WRITES.get(method, b"")), user=user).status == 403


@pytest.mark.parametrize("method", WRITES)
def test_where_nobody_asks_she_writes(whole: Fence, method: str):
    answer = whole.ask(Call(method, WRITES[method]), off=True)
    assert (answer.status, answer.grpc) == (200, "0")


def test_who_has_no_name_is_refused(fence: Fence):
    for user in ("", " "):
        assert fence.ask(Call("GetArtifactTypes"), user=user).status == 401


def own_framed(fence: Fence) -> bytes:
    message = by_id("GetArtifactsByID", fence.world.ann.artifact).message
    return b"\0" + len(message).to_bytes(4, "big") + message


@pytest.mark.parametrize(
    "garble",
    [
        lambda body: b"",
        lambda body: body[:-1],
        lambda body: body[:3],
        lambda body: body + b"\0",
        lambda body: body + body,
        lambda body: b"\1" + body[1:],
        lambda body: b"\x80" + body[1:],
        lambda body: body + b"\x80\0\0\0\0",
        lambda body: b"\0\0\0\0\2\x08\xff",  # an id that does not end
        lambda body: b"\0\0\0\0\2\x0b\x0c",  # a group
        lambda body: b"\0\0\0\0\2\0\1",  # field 0
        lambda body: b"\0\0\0\0\3\x0a\x09\1",  # packed ids that end too early
        lambda body: b"\0\0\0\0\3\x0a\1\x80",  # packed ids of which one does not end
        lambda body: b"\0\0\0\0\x0c\x08" + b"\xff" * 10 + b"\1",  # too large a number
    ],
)
def test_a_call_that_is_none_is_refused(fence: Fence, garble):
    body = own_framed(fence)
    given = {"kubeflow-userid": "ann"}
    path = f"{SERVICE}GetArtifactsByID"
    assert fence.post(path, body, given).status == 200
    assert fence.post(path, garble(body), given).status == 400


def test_an_id_of_another_kind_is_refused(fence: Fence):
    context = field(1, bytes([fence.world.ann.context]))
    assert fence.ask(Call("GetArtifactsByContext", context)).status == 400


def test_too_many_ids_are_refused(fence: Fence):
    call = by_id("GetArtifactsByID", *range(1, 1002))
    assert fence.ask(call).status == 400


@pytest.mark.parametrize(
    "path",
    [
        f"{SERVICE}GetArtifactTypes?", f"{SERVICE}GetArtifactTypes/",
        f"/{SERVICE}GetArtifactTypes", f"{SERVICE}GetArtifactTypes/../GetArtifacts",
        f"{SERVICE}%47etArtifactTypes",
        "/ml_metadata.OtherService/GetArtifactTypes", "/healthz", "/", "/GetArtifactTypes",
    ],
)  # fmt: skip
def test_a_path_that_is_not_just_a_call_s_is_refused(fence: Fence, path: str):
    answer = fence.post(path, b"\0\0\0\0\0", {"kubeflow-userid": "ann"})
    assert answer.status == 403


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_another_http_method_passes_nothing(fence: Fence, method: str):
    path, given = f"{SERVICE}GetArtifactTypes", {"kubeflow-userid": "ann"}
    assert fence.post(path, b"\0\0\0\0\0", given, method=method).status >= 400


def test_nothing_passes_while_kubernetes_does_not_answer(fence: Fence):
    fence.reviews.down = True
    assert fence.ask(of(fence.world.ann, "ann")["the artifact"]).status == 503
    fence.reviews.down = False
    assert fence.ask(of(fence.world.ann, "ann")["the artifact"]).status == 200


def test_nothing_passes_while_ml_metadata_does_not_answer(alone: Fence):
    assert alone.played
    alone.played.down = True
    assert alone.ask(of(alone.world.ann, "ann")["the artifact"]).status == 503
    alone.played.down = False
    assert alone.ask(of(alone.world.ann, "ann")["the artifact"]).status == 200


@pytest.mark.parametrize("program", ["store", "authorizer"])
def test_nothing_passes_while_a_program_is_away(tmp_path: Path, program: str):
    with real(tmp_path) as found:
        found.stop[program]()
        assert found.ask(of(found.world.ann, "ann")["the artifact"]).status == 503


def test_what_is_known_is_not_asked_again(caching: Fence):
    call = by_id("GetExecutionsByID", caching.world.ann.execution)
    assert caching.played
    for _ in range(3):
        assert caching.ask(call).status == 200
    assert caching.played.asked == ["GetContextsByExecution"]
    assert len(caching.reviews.calls) == 2  # all namespaces, hers


def test_what_failed_is_asked_again(caching: Fence):
    call = by_id("GetExecutionsByID", caching.world.ann.execution)
    caching.reviews.down = True
    assert caching.ask(call).status == 503
    caching.reviews.down = False
    assert caching.ask(call).status == 200


# by Envoy


def test_base64_is_read_as_it_goes_on(whole: Fence):
    assert whole.ask_as_text(of(whole.world.ann, "ann")["the artifact"]).status == 200
    assert whole.ask_as_text(of(whole.world.bob, "bob")["the artifact"]).status == 403
    two = Call("GetArtifactsByID", field(1, whole.world.bob.artifact))
    body = b"AAAAAAA=" + b"AAAAAAA="  # two frames, each padded
    path, given = SERVICE + two.method, {"content-type": "application/grpc-web-text"}
    assert whole.post(path, body, {**given, "kubeflow-userid": "ann"}).status == 400


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc-web-text;x=y", "text/x"])
def test_another_content_type_changes_nothing(whole: Fence, kind: str):
    call = of(whole.world.bob, "bob")["the artifact"]
    body = b"\0" + len(call.message).to_bytes(4, "big") + call.message
    given = {"content-type": kind, "kubeflow-userid": "ann"}
    answer = whole.post(SERVICE + call.method, body, given)
    assert answer.status == 403 or answer.grpc == "7"
    assert b"bob" not in answer.content


def test_a_refusal_is_one_to_grpc_web(whole: Fence):
    answer = whole.ask(of(whole.world.bob, "bob")["the artifact"])
    assert (answer.status, answer.grpc) == (403, "7")


def test_a_body_that_is_too_large_is_not_asked_about(whole: Fence):
    call = Call("GetArtifactsByID", field(1, b"\1" * 65536))
    before = len(whole.reviews.calls)
    assert whole.ask(call).status == 413
    assert len(whole.reviews.calls) == before


def test_a_name_that_she_sends_twice_is_nobody_s(whole: Fence):
    answer = whole.ask(of(whole.world.ann, "ann")["the artifact"], user="ann,bob")
    assert answer.status == 403
