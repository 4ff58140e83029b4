"""Pipelines by the unchanged kfp SDK, through the gateway, by two tenants.

Argo's controller and executor, Envoy and ML Metadata's store are the real programs; Kubeflow
Pipelines' own servers, driver and launcher are stand-ins on the local engine. The tests of this
file run in order on one model.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jubilant
import pytest
from browsers import PORT, namespace_of
from bundles import deploy_part
from reach import Reach

WANTED = {
    "resource-broker", "mariadb", "object-store", "profiles", "dex", "oauth2-proxy", "gateway",
    "argo-controller", "mlmd", "metadata-envoy", "kfp-api", "kfp-persistence", "kfp-schedwf",
    "kfp-ui",
}  # fmt: skip
SCRIPT = Path(__file__).with_name("pipelines_client.py")
Do = Callable[..., Any]


@pytest.fixture(scope="module")
def stack(juju: jubilant.Juju, charms: Path, tmp_path_factory: pytest.TempPathFactory):
    """Pipelines behind the door."""
    folder = tmp_path_factory.mktemp("bundle")
    return deploy_part(juju, charms, folder, ("door", "pipelines"), WANTED.__contains__)


def profile(stack: jubilant.Juju, reach: Reach, owner: str) -> Iterator[str]:
    """A namespace of somebody's, with what a run needs."""
    name = f"{owner}-{secrets.token_hex(3)}"
    stack.run("profiles/0", "create-profile", {"name": name, "owner": f"{owner}@example.com"})
    reach.kubectl("wait", f"namespace/{name}", "--for=create", "--timeout=60s")
    for each in (
        "rolebinding/default-editor", "configmap/kfp-launcher", "secret/mlpipeline-minio-artifact"
    ):  # fmt: skip
        reach.kubectl("-n", name, "wait", each, "--for=create", "--timeout=120s")
    yield name
    stack.run("profiles/0", "delete-profile", {"name": name, "confirm": True})
    reach.kubectl("wait", f"namespace/{name}", "--for=delete", "--timeout=180s")


@pytest.fixture(scope="module")
def team(stack: jubilant.Juju, reach: Reach) -> Iterator[str]:
    """Ann's namespace."""
    yield from profile(stack, reach, "ann")


@pytest.fixture(scope="module")
def other(stack: jubilant.Juju, reach: Reach) -> Iterator[str]:
    """Bob's namespace."""
    yield from profile(stack, reach, "bob")


def sdk() -> Path:
    """A Python with the SDK: that of the image which components run in."""
    from localjuju.images import Catalogue
    from localjuju.progress import Progress

    image = Catalogue.load().ensure("docker.io/library/python:3.11", Progress())
    return image.rootfs.parent / "venv" / "bin" / "python"


@pytest.fixture(scope="module")
def do(
    stack: jubilant.Juju, reach: Reach, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Do]:
    """Has the SDK do something with the token of a namespace's service account."""
    folder = tmp_path_factory.mktemp("sdk")
    shown = stack.run("gateway/0", "get-ca").results
    ca = folder / "ca.pem"
    ca.write_text(shown["ca"])
    python = sdk()
    with reach.forward(namespace_of(stack), "gateway", PORT) as url:

        def done(namespace: str, what: str, /, **arguments: Any) -> Any:
            token = reach.kubectl(
                "-n", namespace, "create", "token", "default-editor",
                "--audience=charmed-mlops", "--duration=1h",
            ).strip()  # fmt: skip
            asked = {
                "port": urllib.parse.urlsplit(url).port,
                "name": urllib.parse.urlsplit(shown["url"]).hostname,
                "ca": str(ca), "token": token, "namespace": namespace, "do": what,
                "arguments": arguments, "package": str(folder / "sums.yaml"),
            }  # fmt: skip
            ended = subprocess.run(
                [python, SCRIPT],
                input=json.dumps(asked),
                capture_output=True,
                text=True,
                check=False,
            )
            assert ended.returncode == 0, ended.stderr[-2000:]
            return json.loads(ended.stdout.splitlines()[-1])

        yield done


@pytest.fixture(scope="module")
def first(do: Do, team: str) -> dict[str, Any]:
    """A run of Ann's, to its end."""
    return do(team, "run", pipeline="sums", arguments={"count": 10})


def test_a_pipeline_runs_in_pods_of_the_tenant_to_its_end(first: dict[str, Any]):
    assert first["state"] == "SUCCEEDED", first
    assert {first["tasks"][name] for name in ("numbers", "total", "say")} == {"SUCCEEDED"}


def test_its_artifacts_lie_in_the_tenant_s_folder(
    stack: jubilant.Juju, reach: Reach, team: str, first: dict[str, Any]
):
    settings = json.loads(
        reach.kubectl("-n", team, "get", "configmap/kfp-launcher", "-o", "json")
    )["data"]
    assert f"/private-artifacts/{team}/" in settings["defaultPipelineRoot"]
    listed = reach.kubectl(
        "-n", namespace_of(stack), "exec", "object-store-0", "-c", "object-store", "--",
        "find", "/data", "-type", "f", "-path", f"*/private-artifacts/{team}/*/numbers/*",
    )  # fmt: skip
    assert listed.splitlines()


def test_the_same_again_is_taken_from_the_cache(do: Do, team: str, first: dict[str, Any]):
    again = do(team, "run", pipeline="sums", arguments={"count": 10})
    assert again["state"] == "SUCCEEDED"
    assert {again["tasks"][name] for name in ("numbers", "total")} == {"SKIPPED"}


def test_a_condition_that_does_not_hold_leaves_its_step_out(
    do: Do, team: str, first: dict[str, Any]
):
    found = do(team, "run", pipeline="sums", arguments={"count": 3})
    assert found["state"] == "SUCCEEDED"
    assert found["tasks"].get("say") in (None, "SKIPPED")


def test_a_component_that_fails_ends_the_run(do: Do, team: str, first: dict[str, Any]):
    found = do(team, "run", pipeline="failing", arguments={})
    assert (found["state"], found["tasks"]["fail"]) == ("FAILED", "FAILED")


def test_a_parameter_that_the_pipeline_does_not_have_is_named(
    do: Do, team: str, first: dict[str, Any]
):
    assert "colour" in do(team, "wrong")


def test_another_tenant_is_refused(do: Do, team: str, other: str, first: dict[str, Any]):
    found = do(other, "refused", id=first["id"], namespace=team)
    assert found == dict.fromkeys(("list", "get", "terminate", "delete"), 403)


def test_the_admin_lists_runs(stack: jubilant.Juju, team: str, first: dict[str, Any]):
    listed = stack.run("kfp-api/0", "list-runs", {"namespace": team}).results
    runs = {each["id"]: each["state"] for each in json.loads(listed["runs"])}
    assert runs[first["id"]] == "SUCCEEDED"


def test_a_schedule_starts_runs_until_it_is_off(do: Do, team: str, first: dict[str, Any]):
    found = do(team, "recurring", seconds=20)
    assert found == {"started": True, "status": "DISABLED"}
