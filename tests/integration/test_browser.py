"""A person's path in a real browser: from the login to a metric in MLflow, and out again.

Each step leaves a screenshot in `build/screenshots/`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import jubilant
import pytest
from chromium import Window, chromium
from pages import wait_for
from people import Account, Accounts
from reach import Reach
from selenium.webdriver.common.keys import Keys

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
NAME = "lab"
# nothing is set up before: the PodDefault tells where to
CELL = 'import mlflow; mlflow.log_metric("accuracy", 0.75); mlflow.active_run().info.run_name'
NewWindow = Callable[[], Window]


@pytest.fixture(scope="module")
def new_window(stack: jubilant.Juju, reach: Reach) -> Iterator[NewWindow]:
    """Makes browsers, each a person's own."""
    with chromium(stack, reach, SCREENSHOTS) as make:
        yield make


def log_in(window: Window, account: Account) -> None:
    """Fills in the login's form."""
    window.fill("#login", account.email)
    window.fill("#password", account.password)
    window.click("#submit-login")


def create(window: Window) -> float:
    """Spawns a notebook by the form, and says when that was clicked."""
    window.fill("[name=name]", NAME)
    # the bundle's option `configurations` has ticked it
    assert window.find("[name=configurations][value=mlflow]").is_selected()
    window.shot("04-new-notebook")
    clicked = time.time()
    window.click("#form button", "Create")
    return clicked


def moments(pod: Any) -> dict[str, float]:
    """When a pod came through its states, by the API's clock, which has whole seconds.

    What the node notes no time for is left out: the local engine's has none for Ready.
    """
    conditions = {c["type"]: c["lastTransitionTime"] for c in pod["status"]["conditions"]}
    (container,) = pod["status"]["containerStatuses"]
    found = {
        "pod created": pod["metadata"]["creationTimestamp"],
        "scheduled": conditions["PodScheduled"],
        "container started": container["state"]["running"]["startedAt"],
        "ready": conditions["Ready"],
    }
    return {
        name: datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
        for name, text in found.items()
        if text
    }


def run_first_cell(window: Window) -> str:
    """Opens a notebook from JupyterLab's launcher and runs a cell, whose result it returns."""
    window.click(".jp-LauncherCard[data-category=Notebook]")
    window.see("| Idle")  # a cell that is run before its kernel is there does nothing
    window.click(".jp-Notebook .jp-CodeCell .cm-content")
    window.type(CELL, Keys.SHIFT, Keys.ENTER)
    result = window.find(".jp-OutputArea-executeResult .jp-OutputArea-output", "'")
    return result.text.strip("'")


def open_workspace(window: Window, team: str) -> None:
    """Opens the list of experiments in MLflow's page."""
    window.open(f"/mlflow/#/experiments?workspace={team}")


def test_from_the_login_to_a_metric_and_out_again(
    new_window: NewWindow, ann: httpx2.Client, accounts: Accounts, team: str, reach: Reach,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    window = new_window()
    window.open("/")
    assert window.path() == "/dex/auth/local/login"
    window.shot("01-login")
    log_in(window, Account(accounts.ann.email, accounts.bob.password))
    window.see("Invalid Email Address and password")
    window.shot("02-wrong-password")
    log_in(window, accounts.ann)
    window.see(team)
    assert window.path() == "/"
    assert accounts.ann.email in window.text()
    window.shot("03-dashboard")

    window.click("#menu a", "Notebooks")
    clicked = create(window)
    wait_for(lambda: ann.get(f"/notebook/{team}/{NAME}/api").status_code == 200)
    answered = time.time()
    window.find("#rows a", "Connect")
    window.shot("05-notebook-ready")
    pod = json.loads(reach.kubectl("-n", team, "get", f"pod/{NAME}-0", "-o", "json"))
    with capsys.disabled():
        for name, moment in {**moments(pod), "first 200": answered}.items():
            print(f"\n{name}: {moment - clicked:.1f} s after the click", end="")
        print()

    window.click("#rows a", "Connect")
    window.to_new_tab()
    window.find(".jp-LauncherCard")
    assert window.path().startswith(f"/notebook/{team}/{NAME}/lab")
    window.shot("06-jupyterlab")
    run = run_first_cell(window)
    window.shot("07-cell")
    window.close_tab()

    window.open("/")
    window.click("#menu a", "MLflow")
    window.see(team)  # as a workspace of hers
    window.shot("08-mlflow")
    window.click("a", team)
    window.click("label, button, a, span", "Model training")
    window.click("a", "Default")
    window.see(run)
    window.shot("09-run")

    other = new_window()
    other.open(f"/notebook/{team}/{NAME}/")
    log_in(other, accounts.bob)
    other.see("You may not open this")
    assert f"{accounts.bob.email} has no right in {team}" in other.text()
    other.shot("10-another-s-notebook")
    open_workspace(other, team)
    other.see("Create your first experiment")  # MLflow's page shows a list with nothing of hers
    assert "Default" not in other.text()
    other.shot("11-another-s-workspace")

    window.open("/jupyter/")
    window.click("#rows button", "Stop")
    window.see("stopped")
    window.shot("12-stopped")
    window.click("#rows button", "Delete")
    window.agree()
    window.until(lambda: not window.driver.find_elements("css selector", "#rows tr"))
    window.shot("13-deleted")

    window.open("/")
    window.click("#logout")
    window.open("/mlflow/")
    window.find("#login")
    assert window.path() == "/dex/auth/local/login"
    window.shot("14-logged-out")
