"""The unit's own ServiceAccount: whose token it is and whom it is for."""

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
