"""The commands: each a function with its arguments, found by name."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from dataclasses import dataclass

from localjuju.cli.context import Context

Run = Callable[[argparse.Namespace, Context], "int | None"]
Arguments = Callable[[argparse.ArgumentParser], object]


@dataclass(frozen=True)
class Command:
    """A command: what it does in one line, its arguments, its function."""

    name: str
    summary: str
    arguments: Arguments
    run: Run
    flags_first: bool = False
    """What follows the first word is not read for flags."""


# Which module of this package has a command: only that one is imported.
MODULES = {
    "models": ("add-model", "controllers", "destroy-model", "model-config", "model-constraints",
               "models", "set-model-constraints", "show-model", "switch", "version", "whoami"),
    "deploying": ("attach-resource", "deploy", "refresh"),
    "export": ("export-bundle",),
    "applications": ("add-unit", "config", "constraints", "remove-application", "remove-unit",
                     "resolved", "scale-application", "set-constraints", "trust"),
    "clouds": ("add-cloud", "add-credential", "clouds", "credentials", "remove-cloud",
               "remove-credential", "show-cloud", "update-cloud", "update-credential"),
    "relations": ("integrate", "remove-relation"),
    "offers": ("consume", "find-offers", "offer", "offers", "remove-offer", "remove-saas",
               "show-offer"),
    "actions": ("actions", "cancel-task", "exec", "operations", "run", "show-operation",
                "show-task"),
    "status": ("show-application", "show-status-log", "show-unit", "status", "wait-for"),
    "pools": ("create-storage-pool", "remove-storage-pool", "storage-pools",
              "update-storage-pool"),
    "storage": ("add-storage", "attach-storage", "detach-storage", "remove-storage",
                "show-storage", "storage"),
    "secrets": ("add-secret", "grant-secret", "remove-secret", "revoke-secret", "secrets",
                "show-secret", "update-secret"),
    "logs": ("debug-log",),
    "ssh": ("scp", "ssh"),
}  # fmt: skip
ALIASES = {
    "relate": "integrate", "resolve": "resolved", "list-models": "models",
    "list-secrets": "secrets", "list-actions": "actions", "list-operations": "operations",
    "list-storage": "storage", "list-controllers": "controllers", "add-relation": "integrate",
    "status-log": "show-status-log", "list-offers": "offers", "list-clouds": "clouds",
    "list-credentials": "credentials", "list-storage-pools": "storage-pools",
}  # fmt: skip
NOT_SUPPORTED = frozenset(
    (
        "add-k8s", "add-machine", "add-space", "add-ssh-key",
        "add-user", "autoload-credentials",
        "bind", "bootstrap", "change-user-password", "charm-resources", "config-schema",
        "create-backup", "dashboard",
        "debug-code", "debug-hook", "debug-hooks", "default-credential", "default-region",
        "destroy-controller", "diff-bundle", "disable-command", "disable-user",
        "disabled-commands", "download", "download-backup", "enable-command",
        "enable-destroy-controller", "enable-ha", "enable-user", "expose",
        "find", "firewall-rules", "grant", "grant-cloud", "help-action-commands",
        "help-hook-commands", "import-filesystem", "import-ssh-key", "info", "kill-controller",
        "login", "logout", "machines", "migrate", "model-defaults", "model-secret-backend",
        "move-to-space", "payloads", "plans", "regions", "register",
        "reload-spaces", "remove-k8s", "remove-machine",
        "remove-secret-backend", "remove-space", "remove-ssh-key",
        "remove-unit-storage", "remove-user",
        "rename-space", "resources", "restore-backup", "resume-relation", "retry-provisioning",
        "revoke", "revoke-cloud", "secret-backends", "set-application-base",
        "set-credential", "set-firewall-rule", "show-action", "show-controller",
        "show-credential", "show-machine",
        "show-secret-backend", "show-space", "show-user", "sla", "spaces",
        "ssh-keys", "subnets", "suspend-relation", "sync-agent-binary",
        "unexpose", "unregister", "update-k8s",
        "update-public-clouds", "update-secret-backend",
        "upgrade-controller", "upgrade-machine", "upgrade-model", "users",
    )
)  # fmt: skip

_found: dict[str, Command] = {}


def command(
    name: str,
    summary: str,
    arguments: Arguments = lambda parser: None,
    flags_first: bool = False,
) -> Callable[[Run], Run]:
    """Registers a function as a command."""

    def register(run: Run) -> Run:
        _found[name] = Command(name, summary, arguments, run, flags_first)
        return run

    return register


def find(name: str) -> Command | None:
    """A command by its name or another name of it; None where there is none."""
    name = ALIASES.get(name, name)
    for module, names in MODULES.items():
        if name in names:
            importlib.import_module(f"localjuju.cli.{module}")
            return _found[name]
    return None


def every() -> list[Command]:
    """All commands, by name."""
    return [
        found
        for name in sorted(name for names in MODULES.values() for name in names)
        if (found := find(name)) is not None
    ]
