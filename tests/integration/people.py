"""Ann and Bob, who use the shared model, and the profiles that they own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import jubilant
from browsers import settle
from reach import Reach

# What a profile's namespace gets: of profiles, of MLflow with workspaces, and of pipelines.
_PARTS = (
    "serviceaccount/default-editor", "rolebinding/default-editor", "rolebinding/namespaceAdmin",
    "poddefault/mlflow", "configmap/kfp-launcher", "secret/mlpipeline-minio-artifact",
)  # fmt: skip


class Account(NamedTuple):
    """What somebody logs in with."""

    email: str
    password: str


class Accounts(NamedTuple):
    """Two users beside the first one; neither has rights in what the other owns."""

    ann: Account
    bob: Account


def add_accounts(juju: jubilant.Juju) -> Accounts:
    """Adds Ann and Bob by dex's action, with names that nobody had before."""
    emails = [f"{name}-{secrets.token_hex(3)}@example.com" for name in Accounts._fields]
    tasks = [juju.run("dex/0", "add-user", {"email": email}) for email in emails]
    settle(juju)
    made = (Account(e, task.results["password"]) for e, task in zip(emails, tasks, strict=True))
    return Accounts(*made)


def new_profile(juju: jubilant.Juju, reach: Reach, owner: str) -> str:
    """The namespace of a new profile with all that belongs in it.

    Args:
        juju: the model with profiles.
        reach: the cluster.
        owner: an account's e-mail address.
    """
    name = f"{owner.partition('-')[0]}-{secrets.token_hex(3)}"
    juju.run("profiles/0", "create-profile", {"name": name, "owner": owner})
    reach.kubectl("wait", f"namespace/{name}", "--for=create", "--timeout=300s")
    for each in _PARTS:
        reach.kubectl("-n", name, "wait", each, "--for=create", "--timeout=300s")
    return name


@contextmanager
def profile(juju: jubilant.Juju, reach: Reach, owner: str, leaving: list[str]) -> Iterator[str]:
    """A new profile's namespace, until the context ends.

    Its end does not wait until the namespace has gone, as its pods may take a minute to stop. The
    name is added to `leaving`; `gone` waits.
    """
    name = new_profile(juju, reach, owner)
    yield name
    juju.run("profiles/0", "delete-profile", {"name": name, "confirm": True})
    leaving.append(name)


def gone(reach: Reach, leaving: list[str]) -> None:
    """Returns when these namespaces have gone; the list is empty then."""
    while leaving:
        reach.kubectl("wait", f"namespace/{leaving[-1]}", "--for=delete", "--timeout=300s")
        leaving.pop()
