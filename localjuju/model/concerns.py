"""Whom a changed row concerns: what a commit wakes.

Triggers of the connection tell of every row that is written, whoever writes it. Without them every
commit would wake every agent of its model, and a hook would cost the more the larger the model is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

Concern = tuple[str, str]
"""A model and one of its applications; "" in place of an application: everything in the model."""

# Per table: queries of models and units or applications, with {row} for the row. What an agent
# reads is in localjuju/agent/view.py, what a worker reads in localjuju/model/workers.py.
_OWNER = "SELECT {tell}(model, owner) FROM secrets WHERE id = {secret} AND owner_kind != 'model'"
_CONSUMER = "SELECT {tell}(s.model, {unit}) FROM secrets s WHERE s.id = {secret}"
# Units of other models have another name where the secret is.
_FAR_CONSUMER = (
    "SELECT {tell}(l.other_model, l.other_application) FROM secrets s JOIN relation_links l "
    "ON l.model = s.model AND l.remote = substr({unit}, 1, instr({unit}, '/') - 1) "
    "WHERE s.id = {secret}"
)
_IN_RELATION = (
    "SELECT {tell}(model, provider), {tell}(model, requirer) FROM relations "
    "WHERE model = {row}.model AND id = {row}.relation",
    "SELECT {tell}(other_model, other_application) FROM relation_links "
    "WHERE model = {row}.model AND relation = {row}.relation",
)
_CONCERNS: dict[str, tuple[str, ...]] = {
    "models": ("SELECT {tell}({row}.name, '')",),
    "applications": ("SELECT {tell}({row}.model, {row}.name)",),
    "units": ("SELECT {tell}({row}.model, {row}.application)",),
    "relations": (
        "SELECT {tell}({row}.model, {row}.provider), {tell}({row}.model, {row}.requirer)",
    ),
    "unit_databags": _IN_RELATION,
    "application_databags": _IN_RELATION,
    "storage": ("SELECT {tell}({row}.model, {row}.unit) WHERE {row}.unit != ''",),
    "tasks": ("SELECT {tell}({row}.model, {row}.unit)",),
    "secrets": (
        "SELECT {tell}({row}.model, {row}.owner) WHERE {row}.owner_kind != 'model'",
        "SELECT {tell}({row}.model, unit) FROM secret_consumers WHERE secret = {row}.id",
        "SELECT {tell}(l.other_model, l.other_application) FROM secret_consumers c "
        "JOIN relation_links l ON l.model = {row}.model "
        "AND l.remote = substr(c.unit, 1, instr(c.unit, '/') - 1) WHERE c.secret = {row}.id",
    ),
    "secret_revisions": (_OWNER.replace("{secret}", "{row}.secret"),),
    "secret_consumers": tuple(
        query.replace("{secret}", "{row}.secret").replace("{unit}", "{row}.unit")
        for query in (_CONSUMER, _FAR_CONSUMER)
    ),
    "clock": ("SELECT {tell}(name, '') FROM models",),
}  # fmt: skip
# Counters of a model are nobody's concern.
_COLUMNS = {"models": "OF life, config, constraints"}
_TELL = "concerns"


def watch(connection: sqlite3.Connection, tell: Callable[[Concern], None]) -> None:
    """Calls `tell` for whatever a written row concerns, also where that is undone later."""

    def concerns(model: str, name: str) -> None:
        tell((model, name.partition("/")[0]))

    connection.create_function(_TELL, 2, concerns)
    for table, queries in _CONCERNS.items():
        for event, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
            columns = _COLUMNS.get(table, "") if event == "UPDATE" else ""
            body = " ".join(f"{query.format(tell=_TELL, row=row)};" for query in queries)
            connection.execute(
                f"CREATE TEMP TRIGGER {table}_{event.lower()} AFTER {event} {columns} "
                f"ON main.{table} BEGIN {body} END"
            )
