"""secret-add, -get, -info-get, -set, -grant, -revoke, -remove, -ids."""

from __future__ import annotations

import datetime
import re

from localjuju.agent.commands.arguments import Arguments, output
from localjuju.agent.commands.registry import command
from localjuju.agent.context import CommandError, Context, PendingSecret
from localjuju.model import clock, models, relations, secrets
from localjuju.model.db import Row
from localjuju.model.errors import ModelError

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_FLAGS = {
    "label": str, "description": str, "expire": str, "rotate": str, "owner": str, "file": str,
}  # fmt: skip


def _content(arguments: Arguments, words: list[str]) -> dict[str, str] | None:
    """The tool has put the content of `KEY#file=PATH` in its place already."""
    if not words:
        return None
    values = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise CommandError(f'key value "{key}" not valid', 2)
        values[key] = value
    secrets.check_content(values)
    return values


def _options(arguments: Arguments) -> tuple[str | None, str | None]:
    """(rotate policy, expiry), checked."""
    rotate, expire = arguments.text("rotate"), arguments.text("expire")
    if rotate is not None and rotate not in secrets.ROTATE_SECONDS:
        raise CommandError(f'rotate policy "{rotate}" not valid', 2)
    return rotate, _time(expire) if expire else None


def _time(text: str) -> str:
    """RFC 3339 or a duration from now."""
    match = _DURATION.fullmatch(text)
    if match:
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        delay = datetime.timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        return clock.text(clock.now() + delay)
    try:
        return clock.text(clock.parse(text))
    except ValueError:
        raise CommandError(f'expire time or duration "{text}" not valid', 2) from None


@command("secret-add", "KEY[#file]=VALUE…", **_FLAGS)
def secret_add(context: Context, arguments: Arguments) -> str:
    """Adds a secret and prints its id; it is stored when the hook commits."""
    content = _content(arguments, arguments.words)
    if content is None:
        raise CommandError("missing secret value or filename", 2)
    kind = arguments.text("owner") or "application"
    if kind not in ("application", "unit"):
        raise CommandError(f'secret owner "{kind}" not valid', 2)
    if kind == "application":
        context.need_leader()
    rotate, expire = _options(arguments)
    owner = context.application if kind == "application" else context.unit
    label, description = arguments.text("label"), arguments.text("description")
    if label and _owned_by_label(context, label):
        raise CommandError(f'secret with label "{label}" already exists')
    identity = secrets.new_id()
    context.secrets[identity] = PendingSecret(
        True, kind, owner, label, description, rotate, expire, content
    )

    def create() -> None:
        if not context.secrets[identity].removed:
            new = context.secrets[identity]
            secrets.create(
                context.db, context.model, identity, kind, owner, new.content or content,
                label=new.label, description=new.description or "", rotate=new.rotate or "never",
                expire=new.expire,
            )  # fmt: skip

    context.later(create)
    # Where it is, too: Juju's CreateSecretURIs (apiserver/facades/agent/secretsmanager).
    uuid = models.get(context.db, context.model)["uuid"]
    return f"secret://{uuid}/{identity}\n"


def _owned_by_label(context: Context, label: str) -> str | None:
    """The id of the unit's or its application's secret with this label."""
    for identity, pending in context.secrets.items():
        if pending.label == label and not pending.removed:
            return identity
    for kind, owner in (("unit", context.unit), ("application", context.application)):
        row = secrets.by_label(context.db, context.model, kind, owner, label)
        if row and not _removed(context, row["id"]):
            return row["id"]
    return None


def _removed(context: Context, identity: str) -> bool:
    return identity in context.secrets and context.secrets[identity].removed


def _bare(text: str) -> str:
    try:
        return secrets.bare(text)
    except ModelError as error:
        raise CommandError(str(error), 2) from None


@command("secret-get", "[ID] [KEY]", format=str, label=str, refresh=bool, peek=bool)
def secret_get(context: Context, arguments: Arguments) -> str:
    """Prints a secret's content."""
    label = arguments.text("label")
    refresh, peek = arguments.on("refresh"), arguments.on("peek")
    if refresh and peek:
        raise CommandError("specify one of --refresh or --peek but not both", 2)
    if arguments.words:
        identity = _bare(arguments.words[0])
        key = arguments.words[1] if len(arguments.words) > 1 else None
    elif label:
        identity, key = _by_label(context, label), None
    else:
        raise CommandError("require either a secret URI or label", 2)
    values = _read(context, identity, label if arguments.words else None, refresh, peek)
    return output(values if key is None else values.get(key), arguments.text("format"))


def _by_label(context: Context, label: str) -> str:
    found = _owned_by_label(context, label)
    if found is None:
        row = secrets.consumer_by_label(context.db, context.model, context.unit, label)
        found = row["secret"] if row else None
    if found is None:
        raise CommandError(f'consumer label "{label}" not found')
    return found


def _read(
    context: Context, identity: str, label: str | None, refresh: bool, peek: bool
) -> dict[str, str]:
    pending = context.secrets.get(identity)
    new = pending.content if pending and not pending.removed else None
    if pending and new is not None and (pending.created or refresh or peek):
        return new
    found = secrets.find(context.db, context.model, context.unit, identity)
    if found is None or _removed(context, identity):
        raise CommandError(f'secret "{identity}" not found')
    secret, unit = found
    if not secrets.may_read(context.db, secret, unit):
        raise CommandError("permission denied")
    db, latest = context.db, secret["latest"]
    followed = secrets.consumer(db, identity, unit)
    if followed and label is None and not refresh and not peek:
        return secrets.content(db, identity, followed["revision"])
    owner = _owns(context, secret)
    if peek and followed and label is None:
        return secrets.content(db, identity, latest)
    # Who peeks at what it did not follow yet follows it from then on.
    revision = latest if refresh or followed is None else followed["revision"]
    # Consumers' tracking is not undone by a failed hook; the owner's is part of the hook.
    consumer_label = None if owner else label

    def follow() -> None:
        secrets.follow(db, identity, unit, revision, latest, consumer_label)

    if owner:
        context.later(follow)
    else:
        with db.transaction():
            follow()
    return secrets.content(db, identity, latest if peek else revision)


def _owns(context: Context, secret: Row) -> bool:
    kinds = {"unit": context.unit, "application": context.application}
    mine = kinds.get(secret["owner_kind"]) == secret["owner"]
    return mine and secret["model"] == context.model


def _managed(context: Context, text: str) -> Row | None:
    """A stored secret that this unit may change; None where there is none it owns.

    Raises:
        CommandError: it is the application's and another unit leads.
    """
    row = secrets.get(context.db, context.model, _bare(text))
    if row is None or _removed(context, row["id"]) or not _owns(context, row):
        return None
    if row["owner_kind"] == "application":
        context.need_leader()
    return row


@command("secret-info-get", "[ID]", format=str, label=str)
def secret_info_get(context: Context, arguments: Arguments) -> str:
    """Prints what is known of an own secret, without its content."""
    label = arguments.text("label")
    if label and not arguments.words:
        identity = _owned_by_label(context, label)
        missing = CommandError(f'secret "{label}" not found')
    elif arguments.words:
        identity = _bare(arguments.words[0])
        missing = CommandError(f'secret "{identity}" not found')
    else:
        raise CommandError("require either a secret URI or label to fetch metadata", 2)
    if identity is None or _removed(context, identity):
        raise missing
    pending = context.secrets.get(identity)
    row = secrets.get(context.db, context.model, identity)
    if row is None and (pending is None or not pending.created):
        raise missing
    follower = row is not None and row["owner_kind"] == "application" and not context.leader
    if row is not None and (follower or not _owns(context, row)):
        raise missing
    return output({identity: _info(context, identity, row, pending)}, arguments.text("format"))


def _info(context: Context, identity: str, row: Row | None, pending: PendingSecret | None) -> dict:
    revision, expire, rotates = 1, None, None
    found = {"label": "", "owner": "", "description": "", "rotation": "never"}
    if row is not None:
        revision, rotates = row["latest"], row["next_rotate"]
        found = {"label": row["label"] or "", "owner": row["owner_kind"],
                 "description": row["description"], "rotation": row["rotate"]}  # fmt: skip
        stored = context.db.one("SELECT expire FROM secret_revisions WHERE secret = ? "
                                "AND revision = ?", identity, revision)  # fmt: skip
        expire = stored["expire"] if stored else None
    if pending is not None:
        found["owner"] = pending.owner_kind or found["owner"]
        for name, value in (("label", pending.label), ("description", pending.description),
                            ("rotation", pending.rotate)):  # fmt: skip
            found[name] = found[name] if value is None else value
        expire = pending.expire or expire
    info = {"revision": revision, **found}
    if expire:
        info["expiry"] = clock.seconds_text(expire)
    if rotates:
        info["rotates"] = clock.seconds_text(rotates)
    access = [
        _access(context, grant)
        for grant in context.db.all("SELECT * FROM secret_grants WHERE secret = ?", identity)
    ]
    return info | ({"access": access} if access else {})


def _access(context: Context, grant: Row) -> dict[str, str]:
    target = grant["target"]
    kind = "unit" if "/" in target else "application"
    shown = {"target": f"{kind}-{target.replace('/', '-')}", "role": "view"}
    row = None
    if grant["relation"] is not None:
        row = relations.get(context.db, context.model, grant["relation"])
    if row:
        shown["scope"] = relations.tag(row)
    return shown


@command("secret-set", "ID [KEY[#file]=VALUE…]", **_FLAGS)
def secret_set(context: Context, arguments: Arguments) -> None:
    """Changes an own secret when the hook commits; content makes a revision."""
    if not arguments.words:
        raise CommandError("missing secret URI", 2)
    identity = _bare(arguments.words[0])
    content = _content(arguments, arguments.words[1:])
    rotate, expire = _options(arguments)
    label, description = arguments.text("label"), arguments.text("description")
    new = context.secrets.get(identity)
    if new is None or not new.created:
        if _managed(context, identity) is None:
            raise CommandError(f'secret "{identity}" not found')
        new = context.secrets.setdefault(identity, PendingSecret())
        # ops changes parts in several calls: the last word on each counts, and one revision comes.
        if new == PendingSecret():
            context.later(lambda: _update(context, identity))
    for name, value in (("content", content), ("label", label), ("description", description),
                        ("rotate", rotate), ("expire", expire)):  # fmt: skip
        if value is not None:
            setattr(new, name, value)


def _update(context: Context, identity: str) -> None:
    new = context.secrets[identity]
    if not new.removed and secrets.get(context.db, context.model, identity):
        secrets.update(
            context.db, identity, values=new.content, label=new.label,
            description=new.description, rotate=new.rotate, expire=new.expire,
        )  # fmt: skip


@command("secret-grant", "ID", relation=str, r=str, unit=str)
def secret_grant(context: Context, arguments: Arguments) -> None:
    """Lets the other side of a relation read a secret."""
    if not arguments.words:
        raise CommandError("missing secret URI", 2)
    identity = _bare(arguments.words[0])
    relation = context.relation(arguments.text("relation") or arguments.text("r"))
    target = relations.other(relation, context.application)
    unit = arguments.text("unit")
    if unit:
        if unit.rpartition("/")[0] != target:
            raise CommandError(
                f'cannot specify unit "{unit}" in relation to application "{target}"'
            )
        target = unit
    pending = context.secrets.get(identity)
    if (pending is None or not pending.created) and _managed(context, identity) is None:
        raise CommandError(f'secret "{identity}" not found')

    def give() -> None:
        if secrets.get(context.db, context.model, identity):
            secrets.grant(context.db, identity, target, relation["id"])

    context.later(give)


@command("secret-revoke", "ID", relation=str, r=str, app=str, application=str, unit=str)
def secret_revoke(context: Context, arguments: Arguments) -> None:
    """Takes back a grant."""
    if not arguments.words:
        raise CommandError("missing secret URI", 2)
    identity = _bare(arguments.words[0])
    target = arguments.text("unit") or arguments.text("app") or arguments.text("application")
    relation = arguments.text("relation") or arguments.text("r")
    if target is None:
        target = relations.other(context.relation(relation), context.application)
    if _managed(context, identity) is not None:
        context.later(lambda: secrets.revoke(context.db, identity, target))


@command("secret-remove", "ID", revision=str)
def secret_remove(context: Context, arguments: Arguments) -> None:
    """Removes a secret or one revision of it when the hook commits."""
    if not arguments.words:
        raise CommandError("missing secret URI", 2)
    identity = _bare(arguments.words[0])
    text = arguments.text("revision")
    if text is not None and not text.isdigit():
        raise CommandError(f'invalid value "{text}" for option --revision', 2)
    pending = context.secrets.get(identity)
    if pending and pending.created:
        pending.removed = True
        return
    if _managed(context, identity) is None:
        return
    if text is None:
        context.secrets.setdefault(identity, PendingSecret()).removed = True
    revision = int(text) if text is not None else None
    context.later(lambda: secrets.remove(context.db, identity, revision))


@command("secret-ids", format=str)
def secret_ids(context: Context, arguments: Arguments) -> str:
    """Prints the ids of the secrets that the unit manages."""
    rows = context.db.all(
        "SELECT id FROM secrets WHERE model = ? AND ((owner_kind = 'unit' AND owner = ?) OR "
        "(owner_kind = 'application' AND owner = ? AND ?)) ORDER BY created",
        context.model, context.unit, context.application, context.leader,
    )  # fmt: skip
    names = [row["id"] for row in rows] + [k for k, p in context.secrets.items() if p.created]
    names = [name for name in names if not _removed(context, name)]
    return output(names or None, arguments.text("format"))
