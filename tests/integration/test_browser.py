"""A person's path in a real browser: login, dashboard, MLflow, logout, with a screenshot of each.

The screenshots are in `build/screenshots/` when the tests have run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import jubilant
import pytest
from chromium import Window, chromium
from people import Accounts
from reach import Reach

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"


@pytest.fixture(scope="module")
def new_window(stack: jubilant.Juju, reach: Reach) -> Iterator[Callable[[], Window]]:
    """Makes browsers, each a person's own."""
    with chromium(stack, reach, SCREENSHOTS) as make:
        yield make


def log_in(window: Window, email: str, password: str) -> None:
    """Fills in the login's form."""
    window.fill("#login", email)
    window.fill("#password", password)
    window.click("#submit-login")


def test_from_the_login_to_mlflow_and_out_again(
    new_window: Callable[[], Window], accounts: Accounts, team: str
):
    window = new_window()
    window.open("/")
    assert window.path() == "/dex/auth"
    window.shot("01-login")

    log_in(window, accounts.ann.email, accounts.bob.password)
    window.see("Invalid Email Address and password")
    window.shot("02-wrong-password")

    log_in(window, *accounts.ann)
    window.see(team)
    assert window.path() == "/"
    assert accounts.ann.email in window.text()
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
