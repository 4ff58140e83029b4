"""Actions on models, by the server's REST API.

Source: https://www.kubeflow.org/docs/components/model-registry/reference/rest-api/
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

from charmed_mlops import ActionFailed
from charmed_mlops.results import listing

_API = "/api/model_registry/v1alpha3"
_PAGE = 100
_TIMEOUT_SECONDS = 30


class Where(msgspec.Struct, kw_only=True):
    """Which models are listed."""

    state: Literal["", "LIVE", "ARCHIVED"] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50


def listed(url: str, where: Where) -> dict[str, Any]:
    """Name, owner, state and versions of each model.

    Args:
        url: the server's.
        where: which ones.

    Raises:
        ActionFailed: the server says no or nothing.
    """
    found: list[dict[str, Any]] = []
    for model in _all(url, "/registered_models"):
        if where.state in ("", model.get("state")):
            found.append(_summary(url, model))
        if len(found) == where.limit:
            break
    return listing("models", found)


def _summary(url: str, model: dict[str, Any]) -> dict[str, Any]:
    versions = list(_all(url, f"/registered_models/{model['id']}/versions"))
    live = [each["name"] for each in versions if each.get("state") != "ARCHIVED"]
    archived = [each["name"] for each in versions if each.get("state") == "ARCHIVED"]
    return {
        "id": model["id"],
        "name": model["name"],
        "state": model.get("state", ""),
        **({"owner": model["owner"]} if model.get("owner") else {}),
        "versions": live,
        **({"archived-versions": archived} if archived else {}),
    }


def _all(url: str, path: str) -> Iterator[dict[str, Any]]:
    """The objects of a list, the oldest first."""
    token = ""
    while True:
        query = {"pageSize": _PAGE, "orderBy": "ID", "sortOrder": "ASC", "nextPageToken": token}
        answer = _get(f"{url}{_API}{path}?{urllib.parse.urlencode(query)}")
        yield from answer.get("items") or ()
        token = answer.get("nextPageToken", "")
        if not token:
            return


def _get(url: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        reason = " ".join(error.read(300).decode(errors="replace").split())
        raise ActionFailed(f"the server answers {error.code}: {reason}") from None
    except (OSError, ValueError) as error:
        raise ActionFailed(f"the server does not answer: {error}") from None
