"""Actions on runs, by the server's REST API with the unit's own identity.

Source: https://www.kubeflow.org/docs/components/pipelines/reference/api/kubeflow-pipeline-api-spec/
"""

from __future__ import annotations

import datetime
import itertools
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from artifacts import Artifacts

from charmed_mlops import ActionFailed
from charmed_mlops.results import listing, names

_PAGE = 100
_TIMEOUT_SECONDS = 30
_ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")


class Where(msgspec.Struct, kw_only=True):
    """Which runs are listed."""

    namespace: str = ""
    state: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50


class Run(msgspec.Struct, kw_only=True):
    """Which run is meant."""

    run_id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9-]{1,64}\Z")]


class Purge(msgspec.Struct, kw_only=True):
    """Which runs go."""

    namespace: str = ""
    older_than_days: Annotated[int, msgspec.Meta(ge=0)] = 30
    state: Literal["", "SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"] = ""
    confirm: bool = False


@dataclass(frozen=True)
class Runs:
    """The runs of all tenants.

    Attributes:
        url: the server's.
        token: of a ServiceAccount that may do it.
        tenants: namespaces to look into; the server lists one at a time.
    """

    url: str
    token: str
    tenants: Sequence[str]

    def all(self, namespace: str) -> Iterator[dict[str, Any]]:
        """The runs of a namespace, or of all tenants', the newest of each first."""
        for each in [namespace] if namespace else self.tenants:
            page = ""
            while True:
                query = {"namespace": each, "page_size": _PAGE, "sort_by": "created_at desc"}
                answer = self.call("GET", "", {**query, "page_token": page})
                yield from ({"namespace": each, **run} for run in answer.get("runs") or ())
                page = answer.get("next_page_token", "")
                if not page:
                    break

    def workflows(self, run_id: str) -> set[str]:
        """The names of a run's Workflows; a retried run may have several.

        The server tells them only within the ids of their nodes, which are NAME-NUMBER:
        https://argo-workflows.readthedocs.io/en/latest/node-field-selector/
        """
        details = self.call("GET", f"/{run_id}").get("run_details") or {}
        tasks = details.get("task_details") or ()
        nodes = (child.get("pod_name") or "" for task in tasks
                 for child in task.get("child_tasks") or ())  # fmt: skip
        return {node.rpartition("-")[0] for node in nodes} - {""}

    def call(self, method: str, what: str, query: dict[str, Any] | None = None) -> dict[str, Any]:
        """What the server answers to a request on `/runs` and `what` follows it.

        Raises:
            ActionFailed: it says no or nothing.
        """
        url = f"{self.url}/apis/v2beta1/runs{what}"
        request = urllib.request.Request(
            f"{url}?{urllib.parse.urlencode(query)}" if query else url,
            method=method,
            headers={"Authorization": f"Bearer {self.token}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            reason = _reason(error.read())
            raise ActionFailed(f"the API server answers {error.code}: {reason}") from None
        except (OSError, ValueError) as error:
            raise ActionFailed(f"the API server does not answer: {error}") from None


def listed(runs: Runs, where: Where) -> dict[str, Any]:
    """State and times of each run."""
    wanted = (
        each for each in runs.all(where.namespace) if where.state in ("", each.get("state", ""))
    )
    found = [_summary(each) for each in itertools.islice(wanted, where.limit)]
    return listing("runs", found)


def do(runs: Runs, verb: str, params: Run) -> dict[str, str]:
    """Retry, terminate or archive one run."""
    runs.call("POST", f"/{params.run_id}:{verb}")
    return {"run-id": params.run_id, "asked": verb}


def purge(runs: Runs, artifacts: Artifacts, params: Purge) -> dict[str, str]:
    """Delete runs that ended before the given time, with what they left in the bucket."""
    limit = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(
        days=params.older_than_days
    )
    states = (params.state,) if params.state else _ENDED
    # all first: pages move while runs are deleted
    old: dict[str, list[str]] = {}
    for each in runs.all(params.namespace):
        if each.get("state") in states and _ended(each) <= limit:
            old.setdefault(each["namespace"], []).append(each["run_id"])
    objects = 0
    for namespace, found in old.items():
        keys = artifacts.of_runs(namespace, {each: runs.workflows(each) for each in found})
        objects += len(keys)
        if params.confirm:
            artifacts.delete(keys)  # before the runs, so that it can be done again if it fails
            for run_id in found:
                runs.call("DELETE", f"/{run_id}")
    named = [each for found in old.values() for each in found]
    verb = "deleted" if params.confirm else "would-delete"
    return {**names(verb, named), **({"objects": str(objects)} if named else {})}


def _summary(run: dict[str, Any]) -> dict[str, Any]:
    error = (run.get("error") or {}).get("message", "")
    return {
        "namespace": run["namespace"],
        "id": run["run_id"],
        "name": run.get("display_name", ""),
        "state": run.get("state", "UNKNOWN"),
        "created": run.get("created_at", ""),
        "ended": run.get("finished_at", ""),
        **({"error": error} if error else {}),
    }


def _ended(run: dict[str, Any]) -> datetime.datetime:
    text = run.get("finished_at") or run.get("created_at") or "9999-12-31T00:00:00Z"
    return datetime.datetime.fromisoformat(f"{text[:19]}+00:00")


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"]).splitlines()[0][:200]
    except (ValueError, KeyError, TypeError, IndexError):
        return "no reason given"
