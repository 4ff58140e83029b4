"""status and the show commands."""

from __future__ import annotations

import argparse
import fnmatch
import time
from typing import Any

from localjuju.cli.context import Context, UsageError, say, seconds
from localjuju.cli.output import format_option, show, table
from localjuju.cli.registry import command


def _status_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("selectors", nargs="*", metavar="SELECTOR")
    parser.add_argument("--relations", "--integrations", action="store_true")
    parser.add_argument("--storage", action="store_true")
    parser.add_argument("--watch", type=seconds)
    for flag in ("--color", "--no-color", "--utc"):
        parser.add_argument(flag, action="store_true", help="ignored")
    format_option(parser, "tabular", "json", "yaml", "short", "line")


@command("status", "Shows applications, units and how they are.", _status_arguments)
def status(options: argparse.Namespace, context: Context) -> None:
    """SELECTOR is an application or a unit, with * if wanted."""
    while True:
        found = context.call("status")
        selected = _selected(found, options.selectors)
        if found["applications"] and not selected["applications"]:
            filters = "filter" if len(options.selectors) == 1 else "filters"
            say(f"Nothing matched specified {filters}.")
            if options.format == "tabular" and not options.watch:
                return
        _show_once(options, selected)
        if not options.watch:
            return
        time.sleep(options.watch)


def _show_once(options: argparse.Namespace, found: dict[str, Any]) -> None:
    if options.format in ("short", "line"):
        show(options, found, lambda: _short(found))
    else:
        show(options, found, lambda: _tabular(found, options.relations, options.storage))


def _selected(found: dict[str, Any], selectors: list[str]) -> dict[str, Any]:
    if not selectors:
        return found

    def wanted(name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, selector) for selector in selectors)

    kept = {}
    for name, application in found["applications"].items():
        units = {u: unit for u, unit in (application.get("units") or {}).items() if wanted(u)}
        if wanted(name):
            kept[name] = application
        elif units:
            kept[name] = {**application, "units": units}
    return {**found, "applications": kept}


def _tabular(found: dict[str, Any], relations: bool, storage: bool) -> str:
    model = found["model"]
    rows: list[tuple[Any, ...]] = [
        ("Model", "Controller", "Cloud/Region", "Version", "SLA", "Timestamp"),
        (
            model["name"], model["controller"], f"{model['cloud']}/{model['region']}",
            model["version"], model.get("sla", "unsupported"),
            found.get("controller", {}).get("timestamp", ""),
        ),
    ]  # fmt: skip
    parts = [table(rows)]
    applications = found["applications"]
    if text := _consumed(found.get("application-endpoints") or {}):
        parts.append(text)
    elif not applications:
        return f'{parts[0]}\n\nModel "admin/{model["name"]}" is empty.'
    if applications:
        parts += [_applications(applications), _units(applications)]
    parts.append(_offers(found.get("offers") or {}))
    if relations and (text := _relations(applications | as_applications(found))):
        parts.append(text)
    if storage and (text := storage_table(found.get("storage") or {}, mounts=True)):
        parts.append(text)
    return "\n\n".join(part for part in parts if part)


def _applications(applications: dict[str, Any]) -> str:
    header = ("App", "Version", "Status", "Scale", "Charm", "Channel", "Rev", "Address",
              "Exposed", "Message")  # fmt: skip
    rows: list[tuple[Any, ...]] = [header]
    for name, application in sorted(applications.items()):
        units = application.get("units") or {}
        state = application["application-status"]
        up = sum(u["juju-status"]["current"] in ("idle", "executing") for u in units.values())
        wanted = application.get("scale", len(units))
        rows.append(
            (
                name, application.get("version", ""), state["current"],
                str(wanted) if up == wanted else f"{up}/{wanted}", application["charm-name"], "",
                application["charm-rev"], application.get("address", ""),
                "yes" if application.get("exposed") else "no", state.get("message", ""),
            )
        )  # fmt: skip
    return table(rows, right=(3, 6))


def _units(applications: dict[str, Any]) -> str:
    rows: list[tuple[Any, ...]] = [("Unit", "Workload", "Agent", "Address", "Ports", "Message")]
    for _, application in sorted(applications.items()):
        units = application.get("units") or {}
        for name in sorted(units, key=lambda unit: int(unit.rpartition("/")[2])):
            unit = units[name]
            workload, agent = unit["workload-status"], unit["juju-status"]
            rows.append(
                (
                    name + ("*" if unit.get("leader") else ""), workload["current"],
                    agent["current"], unit.get("address", ""),
                    ",".join(unit.get("open-ports") or []), workload.get("message", ""),
                )
            )  # fmt: skip
    return table(rows) if len(rows) > 1 else ""


def _consumed(found: dict[str, Any]) -> str:
    rows = [("SAAS", "Status", "Store", "URL")]
    for name, consumed in sorted(found.items()):
        store, _, url = consumed["url"].partition(":")
        rows.append((name, consumed["application-status"]["current"], store, url))
    return table(rows) if len(rows) > 1 else ""


def _offers(found: dict[str, Any]) -> str:
    header = ("Offer", "Application", "Charm", "Rev", "Connected", "Endpoint", "Interface", "Role")
    rows: list[tuple[str, ...]] = [header]
    for name, offer in sorted(found.items()):
        charm, _, revision = offer["charm"].removeprefix("local:").rpartition("-")
        used = f"{offer['active-connected-count']}/{offer['total-connected-count']}"
        first = (name, offer["application"], charm, revision, used)
        for endpoint, spec in sorted(offer["endpoints"].items()):
            rows.append((*first, endpoint, spec["interface"], spec["role"]))
            first = ("",) * len(first)
    return table(rows) if len(rows) > 1 else ""


def as_applications(found: dict[str, Any]) -> dict[str, Any]:
    """What is consumed of other models, with relations as applications have them."""
    return {
        name: {
            "relations": {
                endpoint: [
                    {
                        "related-application": other,
                        "interface": consumed["endpoints"].get(endpoint, {}).get("interface", ""),
                    }
                    for other in others
                ]
                for endpoint, others in consumed["relations"].items()
            }
        }
        for name, consumed in (found.get("application-endpoints") or {}).items()
    }


def _relations(applications: dict[str, Any]) -> str:
    rows: set[tuple[str, ...]] = set()
    for name, application in applications.items():
        for endpoint, others in (application.get("relations") or {}).items():
            for other in others:
                partner = other["related-application"]
                theirs = (applications.get(partner) or {}).get("relations") or {}
                for their_endpoint, backs in theirs.items():
                    if any(
                        b["related-application"] == name and b["interface"] == other["interface"]
                        for b in backs
                    ):
                        kind = "peer" if partner == name else "regular"
                        ends = sorted([f"{name}:{endpoint}", f"{partner}:{their_endpoint}"])
                        rows.add((*ends, other["interface"], kind))
    if not rows:
        return ""
    return table([("Integration provider", "Requirer", "Interface", "Type"), *sorted(rows)])


def storage_table(found: dict[str, Any], mounts: bool) -> str:
    """Instances by unit; those that no unit has come first, as on Juju.

    Args:
        mounts: also where they are mounted, as `juju status` has it.
    """
    systems = {entry["storage"]: entry for entry in (found.get("filesystems") or {}).values()}
    rows: list[tuple[str, ...]] = []
    for name, instance in (found.get("storage") or {}).items():
        system = systems.get(name, {})
        units = (instance.get("attachments") or {}).get("units") or {"": {}}
        for unit, attachment in units.items():
            rows.append(
                (
                    unit, name, instance["kind"], system.get("pool", ""),
                    *([attachment.get("location", "")] if mounts else []),
                    size(system.get("size", 0)), instance["status"]["current"], "",
                )
            )  # fmt: skip
    if not rows:
        return ""
    header = ("Storage Unit" if mounts else "Unit", "Storage ID", "Type", "Pool",
              *(["Mountpoint"] if mounts else []), "Size", "Status", "Message")  # fmt: skip
    rows.sort(key=lambda row: (by_number(row[0]), by_number(row[1])))
    return table([header, *rows])


def by_number(name: str) -> tuple[str, int]:
    """Sorts `data/9` before `data/10`, and nothing before all."""
    text, _, number = name.rpartition("/")
    return text, int(number or 0)


def size(mib: int) -> str:
    """As Juju tells sizes: `512 MiB`, `1.0 GiB`, `10 GiB`."""
    value, units = float(mib), ["MiB", "GiB", "TiB", "PiB", "EiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.1f} {units[0]}" if value < 10 else f"{value:.0f} {units[0]}"


def _short(found: dict[str, Any]) -> str:
    lines = []
    for _, application in sorted(found["applications"].items()):
        for name, unit in sorted((application.get("units") or {}).items()):
            agent, workload = unit["juju-status"]["current"], unit["workload-status"]["current"]
            lines.append(
                f"- {name}: {unit.get('address', '')} (agent:{agent}, workload:{workload})"
            )
    return "\n".join(lines)


def _unit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="UNIT")
    parser.add_argument("--app", action="store_true", help="of relations only applications' data")
    parser.add_argument("--endpoint", help="only relations of this endpoint")
    parser.add_argument("--related-unit", help="of relations only this unit's data")
    format_option(parser, "yaml", "json")


@command("show-unit", "Shows a unit with its relations' data.", _unit_arguments)
def show_unit(options: argparse.Namespace, context: Context) -> None:
    """One or several."""
    found: dict[str, Any] = {}
    for name in options.names:
        found |= context.call("show_unit", unit=name)
    for unit in found.values():
        unit["relation-info"] = [
            _of_interest(relation, options)
            for relation in unit["relation-info"]
            if options.endpoint in (None, relation["endpoint"])
        ]
    show(options, found)


def _of_interest(relation: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """What the options ask for of a relation of a unit."""
    left_out = {"local-unit", "related-units"} if options.app else set()
    if options.related_unit:
        left_out.add("local-unit")
        units = relation.get("related-units", {})
        units = {name: data for name, data in units.items() if name == options.related_unit}
        relation = relation | {"related-units": units}
    return {key: value for key, value in relation.items() if key not in left_out}


def _application_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="APPLICATION")
    format_option(parser, "yaml", "json")


@command("show-application", "Shows an application.", _application_arguments)
def show_application(options: argparse.Namespace, context: Context) -> None:
    """One or several."""
    found: dict[str, Any] = {}
    for name in options.names:
        found |= context.call("show_application", application=name)
    show(options, found)


def _log_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("entity", metavar="UNIT or APPLICATION")
    parser.add_argument("-n", type=int, default=20, dest="count")
    parser.add_argument("--type", choices=["unit", "juju-unit", "workload", "application"])
    parser.add_argument("--days", help="ignored")
    parser.add_argument("--utc", action="store_true", help="ignored: times are")
    format_option(parser, "tabular", "json", "yaml")


@command("show-status-log", "Shows the statuses that an entity had.", _log_arguments)
def show_status_log(options: argparse.Namespace, context: Context) -> None:
    """Oldest first."""
    found = context.call("status_log", entity=options.entity)
    kinds = {"juju-unit": ("juju-unit",), "workload": ("workload",)}.get(options.type or "")
    if kinds:
        found = [entry for entry in found if entry.get("type") in kinds]
    found = found[-options.count :]
    rows = [("Time", "Type", "Status", "Message")]
    rows += [
        (e.get("since", e.get("time", "")), e.get("type", ""), e.get("status", ""),
         e.get("message", ""))
        for e in found
    ]  # fmt: skip
    show(options, found, lambda: table(rows))


def _wait_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=["application", "unit", "model"])
    parser.add_argument("name")
    parser.add_argument("--query")
    parser.add_argument("--timeout", type=seconds, default=600.0)
    parser.add_argument("--summary", action="store_true", help="ignored")


@command("wait-for", "Waits for an application, a unit or a model.", _wait_arguments)
def wait_for(options: argparse.Namespace, context: Context) -> None:
    """QUERY is terms FIELD==VALUE or FIELD!=VALUE joined by &&, on fields that Juju names.

    Of an application and a model: name, life, status; of a unit: name, application, life,
    workload-status, workload-message, agent-status.
    """
    options.query = options.query or _QUERIES[options.kind]
    terms = [_term(text.strip()) for text in options.query.split("&&")]

    def done() -> bool:
        fields = _fields(context.call("status"), options.kind, options.name)
        return all((fields.get(name) == value) == equal for name, equal, value in terms)

    context.wait(done, options.timeout, f"{options.kind} {options.name}: {options.query}")


_QUERIES = {
    "application": 'life=="alive" && status=="active"',
    "unit": 'life=="alive" && workload-status=="active"',
    "model": 'life=="alive" && status=="available"',
}


def _term(text: str) -> tuple[str, bool, str]:
    for sign, equal in (("==", True), ("!=", False)):
        name, found, value = text.partition(sign)
        if found:
            return name.strip(), equal, value.strip().strip("\"'")
    raise UsageError(f'query "{text}": only == and != joined by && are supported by localjuju')


def _fields(found: dict[str, Any], kind: str, name: str) -> dict[str, str]:
    if kind == "model":
        current = found["model"]["model-status"]["current"]
        life = "alive" if current == "available" else "dying"
        return {"status": current, "name": name, "life": life}
    application = found["applications"].get(name.partition("/")[0])
    if application is None:
        return {"life": "dead"}
    if kind == "application":
        unit = {}
        state = application["application-status"]
        life = application.get("life", "alive")
    else:
        unit = (application.get("units") or {}).get(name)
        if unit is None:
            return {"life": "dead"}
        state, life = unit["workload-status"], unit["juju-status"].get("life", "alive")
    fields = {"status": state["current"], "message": state.get("message", ""), "life": life}
    if kind == "unit":
        fields |= {
            "application": name.partition("/")[0],
            "workload-status": fields["status"],
            "workload-message": fields["message"],
            "agent-status": unit["juju-status"]["current"],
        }
    return fields | {"name": name}
