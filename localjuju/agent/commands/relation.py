"""relation-ids, relation-list, relation-get, relation-set, relation-model-get."""

from __future__ import annotations

from localjuju.agent.commands.arguments import Arguments, output, pairs
from localjuju.agent.commands.registry import command
from localjuju.agent.context import CommandError, Context
from localjuju.model import models, relations


@command("relation-ids", "[ENDPOINT]", format=str)
def relation_ids(context: Context, arguments: Arguments) -> str:
    """Prints the ids of an endpoint's relations."""
    if arguments.words:
        name = arguments.words[0]
    elif context.hook and context.hook.endpoint:
        name = context.hook.endpoint
    else:
        raise CommandError("no endpoint name specified", 2)
    found = [
        f"{name}:{row['id']}"
        for row in relations.of(context.db, context.model, context.application)
        if name in relations.endpoints_of(row, context.application) and context.knows(row["id"])
    ]
    return output(sorted(found), arguments.text("format"))


@command("relation-list", format=str, r=str, relation=str, app=bool)
def relation_list(context: Context, arguments: Arguments) -> str:
    """Prints the units, or the application, at the other side of a relation."""
    relation = context.relation(_id(arguments))
    if arguments.on("app"):
        remote = relations.other(relation, context.application)
        return output(remote, arguments.text("format"))
    return output(context.members(relation), arguments.text("format"))


@command("relation-get", "[KEY|-] [MEMBER]", format=str, r=str, relation=str, app=bool)
def relation_get(context: Context, arguments: Arguments) -> str:
    """Prints what a unit or an application put into a relation."""
    relation = context.relation(_id(arguments))
    key = arguments.words[0] if arguments.words else "-"
    given = len(arguments.words) > 1
    member = arguments.words[1] if given else _remote(context)
    # In a hook that no unit caused, the other application is meant.
    if arguments.on("app") or (not given and "/" not in member):
        data = _application_data(context, relation, member.partition("/")[0])
    else:
        remote = relations.other(relation, context.application)
        if member.rpartition("/")[0] not in (remote, context.application):
            raise CommandError("permission denied")
        data = context.unit_data(relation["id"], member)
    value = data if key in ("", "-") else data.get(key)
    return output(value, arguments.text("format"))


def _application_data(context: Context, relation: dict, application: str) -> dict[str, str]:
    if application not in (relation["provider"], relation["requirer"]):
        raise CommandError("permission denied")
    own = application == context.application
    if own and not relation["peer"] and not context.leader:
        raise CommandError("permission denied")
    return context.application_data(relation["id"], application)


def _remote(context: Context) -> str:
    if context.hook and (remote := context.hook.remote_unit or context.hook.remote_app):
        return remote
    raise CommandError("no unit or application specified", 2)


@command("relation-set", "KEY=VALUE…", r=str, relation=str, app=bool, file=str, format=str)
def relation_set(context: Context, arguments: Arguments) -> None:
    """Writes into a relation when the hook commits; an empty value deletes."""
    relation = context.relation(_id(arguments))
    changes = pairs(arguments.stdin) if arguments.text("file") else {}
    for word in arguments.words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise CommandError(f'expected "key=value", got "{word}"', 2)
        changes[key] = value
    if arguments.on("app"):
        context.need_leader("cannot write relation settings")
        context.application_settings.setdefault(relation["id"], {}).update(changes)
    else:
        context.unit_settings.setdefault(relation["id"], {}).update(changes)


@command("relation-model-get", format=str, r=str, relation=str)
def relation_model_get(context: Context, arguments: Arguments) -> str:
    """Prints the uuid of the model at the other side of a relation."""
    relation = context.relation(_id(arguments))
    link = relations.link(context.db, context.model, relation["id"])
    model = link["other_model"] if link else context.model
    uuid = models.get(context.db, model)["uuid"]
    return output({"uuid": uuid}, arguments.text("format"))


def _id(arguments: Arguments) -> str | None:
    return arguments.text("r") or arguments.text("relation")
