"""The unit's own ServiceAccount, and what it reads: tokens, logs."""

from __future__ import annotations

import base64
import json

import pytest

from charmed_mlops import ActionFailed, kubernetes


def write(folder, claims) -> None:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    (folder / "token").write_text(f"e30.{payload}.sig\n")


@pytest.mark.parametrize(
    "claims, audience",
    [
        ({"aud": ["https://kubernetes.default.svc"]}, "https://kubernetes.default.svc"),
        ({"aud": "api"}, "api"),
        ({"aud": []}, ""),
        ({"sub": "system:serviceaccount:shop:kfp-api"}, ""),
    ],
)
def test_a_tokens_audience_is_read_from_it(tmp_path, claims, audience):
    write(tmp_path, claims)
    assert kubernetes.audience(tmp_path) == audience


def test_a_token_of_another_form_has_no_audience(tmp_path):
    (tmp_path / "token").write_text("opaque")
    assert kubernetes.audience(tmp_path) == ""


def test_a_pod_without_a_token_has_no_audience_and_says_so_when_asked(tmp_path):
    assert kubernetes.audience(tmp_path) == ""
    with pytest.raises(ActionFailed, match="has no ServiceAccount token"):
        kubernetes.token(tmp_path)


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        ("one\ntwo\n", "one\ntwo\n"),
        ("a" * 90_000 + "\n" + "b" * 90_000 + "\n", "b" * 90_000 + "\n"),
        ("é" * 90_000, "é" * 51_200),
        ("a\0b\n", "a\N{REPLACEMENT CHARACTER}b\n"),
    ],
    ids=["all of it", "whole lines of its end", "one line, by its end", "a NUL"],
)
def test_a_log_fits_into_a_result_of_an_action(monkeypatch, found, shown):
    asked: list[str] = []
    monkeypatch.setattr(kubernetes, "text", lambda path: asked.append(path) or found)
    assert kubernetes.log("/api/v1/namespaces/a/pods/b", 5) == shown
    assert asked == ["/api/v1/namespaces/a/pods/b/log?tailLines=5"]
