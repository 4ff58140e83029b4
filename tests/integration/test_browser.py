"""A person's path in a real browser: login, dashboard, MLflow, logout, with a screenshot of each.

The screenshots are in `build/screenshots/` when the tests have run.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import jubilant
import pytest
from browsers import settle
from bundles import deploy_part
from chromium import Window, chromium
from reach import Reach

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
WANTED = {
    "resource-broker", "mariadb", "object-store", "mlflow", "profiles", "dex", "oauth2-proxy",
    "gateway", "dashboard", "admission-webhook", "notebook-controller",
}  # fmt: skip
ANN = "ann@example.com"


@pytest.fixture(scope="module")
def stack(juju: jubilant.Juju, charms: Path, tmp_path_factory: pytest.TempPathFactory):
    """MLflow with workspaces behind the door."""
    folder = tmp_path_factory.mktemp("bundle")
    overlays = ("door", "notebooks", "workspaces")
    return deploy_part(juju, charms, folder, overlays, WANTED.__contains__)


@pytest.fixture(scope="module")
def password(stack: jubilant.Juju) -> str:
    """Ann's."""
    task = stack.run("dex/0", "add-user", {"email": ANN})
    settle(stack)
    return task.results["password"]


@pytest.fixture(scope="module")
def team(stack: jubilant.Juju, reach: Reach) -> Iterator[str]:
    """Ann's namespace."""
    name = f"ann-{secrets.token_hex(3)}"
    stack.run("profiles/0", "create-profile", {"name": name, "owner": ANN})
    reach.kubectl("wait", f"namespace/{name}", "--for=create", "--timeout=300s")
    reach.kubectl(
        "-n", name, "wait", "rolebinding/namespaceAdmin", "--for=create", "--timeout=300s"
    )
    yield name
    stack.run("profiles/0", "delete-profile", {"name": name, "confirm": True})
    reach.kubectl("wait", f"namespace/{name}", "--for=delete", "--timeout=300s")


@pytest.fixture(scope="module")
def new_window(stack: jubilant.Juju, reach: Reach) -> Iterator[Callable[[], Window]]:
    """Makes browsers, each a person's own."""
    with chromium(stack, reach, SCREENSHOTS) as make:
        yield make


def log_in(window: Window, name: str, password: str) -> None:
    """Fills in the login's form."""
    window.fill("#login", name)
    window.fill("#password", password)
    window.click("#submit-login")


def test_from_the_login_to_mlflow_and_out_again(
    new_window: Callable[[], Window], password: str, team: str
):
    window = new_window()
    window.open("/")
    assert window.path() == "/dex/auth"
    window.shot("01-login")

    log_in(window, ANN, f"{password}x")
    window.see("Invalid Email Address and password")
    window.shot("02-wrong-password")

    log_in(window, ANN, password)
    window.see(team)
    assert window.path() == "/"
    assert ANN in window.text()
    window.shot("03-dashboard")

    window.click("#menu a", "MLflow")
    window.see(team)  # as a workspace of hers
    assert window.path() == "/mlflow/"
    window.shot("04-mlflow")

    window.open("/")
    window.click("#logout")
    window.open("/mlflow/")
    window.find("#login")
    assert window.path() == "/dex/auth"
    window.shot("05-logged-out")
