"""Models, and who and what we are."""

from __future__ import annotations

import argparse
import sys

from localjuju.cli.context import (
    CONTROLLER,
    Context,
    UsageError,
    plain_name,
    read_current,
    say,
    seconds,
    write_current,
)
from localjuju.cli.output import format_option, show, table
from localjuju.cli.registry import command
from localjuju.cli.settings import pairs, settings_arguments, show_settings, split_settings
from localkube.host.errors import EngineError


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="MODEL")
    parser.add_argument("cloud", nargs="?", help="ignored: there is one")
    parser.add_argument("--no-switch", action="store_true")
    parser.add_argument("--config", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--controller", "-c")
    parser.add_argument("--credential", help="ignored: none is needed")


@command("add-model", "Adds a model.", _add_arguments)
def add_model(options: argparse.Namespace, context: Context) -> None:
    """A model is a namespace of its name."""
    name = plain_name(options.name)
    context.client.call("add_model", name=name, config=pairs(options.config, "--config"))
    if not options.no_switch:
        write_current(name)
    say(f"Added '{name}' model on local/localhost with credential '' for user 'admin'")


def _destroy_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="MODEL")
    for flag in ("--no-prompt", "--destroy-storage", "--release-storage", "--force", "--no-wait"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("-y", dest="no_prompt", action="store_true")
    parser.add_argument("-t", "--timeout", type=seconds)


@command("destroy-model", "Removes a model with everything in it.", _destroy_arguments)
def destroy_model(options: argparse.Namespace, context: Context) -> None:
    """Returns when it is gone."""
    name = plain_name(options.name)
    if options.release_storage:
        raise UsageError("--release-storage is not supported by localjuju")
    if name not in _names(context):
        raise EngineError(f"model {CONTROLLER}:admin/{name} not found")
    if not options.no_prompt:
        say(f"WARNING! This command will destroy the {name!r} model and all its applications.")
        say("To continue, enter the name of the model to be destroyed:")
        if sys.stdin.readline().strip() != name:
            raise EngineError("model destruction: aborted; --no-prompt does not ask")
    context.client.call(
        "destroy_model",
        name=name,
        destroy_storage=options.destroy_storage,
        force=options.force,
    )
    say("Destroying model")
    context.wait(lambda: name not in _names(context), options.timeout, f"model {name} to go")
    say("Model destroyed.")


def _names(context: Context) -> list[str]:
    return [model["short-name"] for model in context.client.call("models")]


@command(
    "models", "Lists models.", lambda parser: format_option(parser, "tabular", "json", "yaml")
)
def models(options: argparse.Namespace, context: Context) -> None:
    """The current one is marked."""
    found = context.client.call("models")
    current = read_current()

    def text() -> str:
        rows = [("Model", "Cloud/Region", "Type", "Status")]
        rows += [
            (
                m["short-name"] + ("*" if m["short-name"] == current else ""),
                f"{m['cloud']}/{m['region']}", m["type"], m["status"]["current"],
            )
            for m in found
        ]  # fmt: skip
        return f"Controller: {CONTROLLER}\n\n{table(rows)}"

    show(options, {"models": found, "current-model": current}, text)


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="MODEL")
    format_option(parser, "yaml", "json")


@command("show-model", "Shows a model.", _show_arguments)
def show_model(options: argparse.Namespace, context: Context) -> None:
    """As `juju models` has it, by name."""
    name = plain_name(options.name) if options.name else context.model
    for model in context.client.call("models"):
        if model["short-name"] == name:
            show(options, {name: model})
            return
    raise EngineError(f"model {CONTROLLER}:admin/{name} not found")


@command(
    "switch", "Tells or chooses the current model.",
    lambda parser: parser.add_argument("name", nargs="?", metavar="MODEL"),
)  # fmt: skip
def switch(options: argparse.Namespace, context: Context) -> None:
    """Without a name it tells."""
    before = read_current()
    if not options.name:
        print(f"{CONTROLLER}:admin/{before}" if before else CONTROLLER)
        return
    name = plain_name(options.name)
    if name not in _names(context):
        raise EngineError(f'cannot determine if "{name}" is a valid model: not found')
    write_current(name)
    say(f"{CONTROLLER}:admin/{before} -> {CONTROLLER}:admin/{name}")


@command("model-config", "Shows or sets the model's configuration.", settings_arguments)
def model_config(options: argparse.Namespace, context: Context) -> None:
    """KEY shows one, KEY=VALUE sets, --reset takes back."""
    keys, values = split_settings(options)
    if values or options.reset:
        context.call("set_model_config", values=values, reset=options.reset)
        return
    found = context.call("model_config")
    found = {
        key: value if isinstance(value, dict) else {"Value": value, "Source": "model"}
        for key, value in found.items()
    }
    show_settings(options, keys, found, "Value", lambda f: [("Attribute", "From", "Value")] + [
        (key, entry.get("Source", "default"), entry.get("Value", ""))
        for key, entry in sorted(f.items())
    ])  # fmt: skip


@command(
    "set-model-constraints", "Sets the model's constraints.",
    lambda parser: parser.add_argument("constraints", nargs="*"),
)  # fmt: skip
def set_model_constraints(options: argparse.Namespace, context: Context) -> None:
    """KEY=VALUE …"""
    context.call("set_model_constraints", text=" ".join(options.constraints))


@command(
    "model-constraints", "Shows the model's constraints.",
    lambda parser: format_option(parser, "constraints", "json", "yaml"),
)  # fmt: skip
def model_constraints(options: argparse.Namespace, context: Context) -> None:
    """As KEY=VALUE …"""
    found = context.call("model_constraints")
    show(options, found, lambda: " ".join(f"{key}={value}" for key, value in found.items()))


@command(
    "version", "Tells the version of Juju that is kept.",
    lambda parser: (
        format_option(parser, "smart", "json", "yaml"),
        parser.add_argument("--all", action="store_true"),
    ),
)  # fmt: skip
def version(options: argparse.Namespace, context: Context) -> None:
    """Works without an engine too."""
    from localjuju.cli.versions import AGENT_VERSION, CLIENT_VERSION

    if not options.all:
        show(options, CLIENT_VERSION, lambda: CLIENT_VERSION)
        return
    if options.format == "smart":
        options.format = "yaml"
    told = {"version": CLIENT_VERSION, "git-commit": "", "git-tree-state": "", "compiler": "-"}
    show(options, {**told, "agent-version": AGENT_VERSION})


@command(
    "whoami", "Tells controller, model and user.",
    lambda parser: format_option(parser, "tabular", "json", "yaml"),
)  # fmt: skip
def whoami(options: argparse.Namespace, context: Context) -> None:
    """The user is always admin."""
    found = {"controller": CONTROLLER, "model": read_current(), "user": "admin"}
    show(
        options, found,
        lambda: "\n".join(f"{key.capitalize() + ':':12}{value}" for key, value in found.items()),
    )  # fmt: skip


@command(
    "controllers", "Lists controllers: there is one.",
    lambda parser: format_option(parser, "tabular", "json", "yaml"),
)  # fmt: skip
def controllers(options: argparse.Namespace, context: Context) -> None:
    """Only while an engine runs."""
    told = context.client.call("version")
    found = {
        "controllers": {
            CONTROLLER: {
                "current-model": read_current(), "user": "admin", "access": "superuser",
                "cloud": "local", "agent-version": told["version"], "models": len(_names(context)),
            }
        },
        "current-controller": CONTROLLER,
    }  # fmt: skip
    rows = [
        ("Controller", "Model", "User", "Access", "Cloud/Region", "Version"),
        (f"{CONTROLLER}*", read_current() or "-", "admin", "superuser", "local", told["version"]),
    ]
    show(options, found, lambda: table(rows))
