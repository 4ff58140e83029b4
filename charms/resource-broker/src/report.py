"""What the policy says to a request, as the results of an action: nested, a text at each leaf."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from policy import Grant, Manifest, Policy, Refusal, Right

from charmed_mlops.interfaces.manifests import Problem, name_of

Report = dict[str, Any]

_OUT_OF_SCOPE = (
    "not related, so the broker gives it nothing; what it may do in the cluster by its own "
    "ServiceAccount (Juju's Role for it, or juju trust) is out of the broker's scope"
)


def explain(
    policy: Policy, manifests: Collection[Manifest], tenants: Collection[Manifest]
) -> Report:
    """What the rules give, what each exception, and what is refused."""
    bare = replace(policy, granted=())
    by_rules = list(bare.refusals(manifests, tenants))
    refused = list(policy.refusals(manifests, tenants))
    report: Report = {"verdict": _verdict(refused)}
    if objects := _objects(bare, manifests, tenants, by_rules):
        report["by-the-rules"] = objects
    used, idle = _exceptions(policy, manifests, tenants, by_rules)
    if used:
        report["by-exception"] = used
    if idle:
        report["idle-exceptions"] = idle
    if refused:
        report["refused"] = _numbered(refused)
    return report


def unrelated(granted: Sequence[Grant]) -> Report:
    """An application that has asked for nothing."""
    report: Report = {"verdict": _OUT_OF_SCOPE}
    if granted:
        report["idle-exceptions"] = "\n".join(map(_form, granted))
    return report


def unreadable(reason: str) -> Report:
    """A request that no rule can be held against."""
    first = reason.splitlines()[0]
    return {"verdict": f"refused, as its request cannot be read: {first}"}


def add_problems(report: Report, problems: Iterable[Problem]) -> None:
    """Add what the cluster says to objects that the policy has nothing against."""
    if "refused" in report:  # nothing was tried
        return
    lines = [f"{each.object}: {each.outcome}: {each.reason}" for each in problems]
    if lines:
        report["verdict"] = "allowed, but not all is applied"
        report["not-applied"] = "\n".join(lines)


def _verdict(refused: Sequence[tuple[Manifest, Refusal]]) -> str:
    if not refused:
        return "allowed"
    names = {name_of(manifest) for manifest, _ in refused}
    return f"refused as a whole, for {', '.join(sorted(names))}"


def _objects(
    bare: Policy,
    manifests: Collection[Manifest],
    tenants: Collection[Manifest],
    by_rules: Sequence[tuple[Manifest, Refusal]],
) -> Report:
    """The objects by kind, and the rights by scope: a line for each set of verbs."""
    report: Report = {}
    beyond = {id(manifest) for manifest, _ in by_rules}
    for key, found in (("objects", manifests), ("objects-for-each-tenant", tenants)):
        kinds = Counter(each["kind"] for each in found if id(each) not in beyond)
        if kinds:
            report[key] = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    scopes: dict[str, list[Right]] = defaultdict(list)
    for right in bare.rights(manifests, tenants):
        scopes[right.scope].append(right)
    if scopes:
        report["rights"] = {scope: _lines(found) for scope, found in sorted(scopes.items())}
    return report


def _lines(rights: Iterable[Right]) -> str:
    resources: dict[str, set[str]] = defaultdict(set)
    for right in rights:
        resources[right.on].add(right.verb)
    verbs: dict[str, list[str]] = defaultdict(list)
    for resource, found in sorted(resources.items()):
        verbs[", ".join(sorted(found))].append(resource)
    return "\n".join(f"{each}: {', '.join(found)}" for each, found in sorted(verbs.items()))


def _exceptions(
    policy: Policy,
    manifests: Collection[Manifest],
    tenants: Collection[Manifest],
    by_rules: Sequence[tuple[Manifest, Refusal]],
) -> tuple[dict[str, Any], str]:
    """Each exception with what it lifts; and those that lift nothing, a line each."""
    used: list[Report] = []
    idle: list[str] = []
    for grant in policy.granted:
        alone = replace(policy, granted=(grant,))
        left = {_key(each) for each in alone.refusals(manifests, tenants)}
        lifted = [each for each in by_rules if _key(each) not in left]
        if lifted:
            objects = sorted({name_of(manifest) for manifest, _ in lifted})
            reasons = _reasons(refusal for _, refusal in lifted)
            used.append({
                "allow": _form(grant),
                "for": ", ".join(objects),
                "rule": ", ".join(sorted({refusal.rule for _, refusal in lifted})),
                "reason": "\n".join(reasons),
            })  # fmt: skip
        else:
            idle.append(_form(grant))
    return {str(number): entry for number, entry in enumerate(used, 1)}, "\n".join(idle)


def _numbered(refused: Sequence[tuple[Manifest, Refusal]]) -> dict[str, Report]:
    """An entry for each object and rule."""
    entries: dict[tuple[str, str], list[Refusal]] = defaultdict(list)
    for manifest, refusal in refused:
        entries[name_of(manifest), refusal.rule].append(refusal)
    return {
        str(number): {"object": name, "rule": rule, "reason": "\n".join(_reasons(found))}
        for number, ((name, rule), found) in enumerate(entries.items(), 1)
    }


def _reasons(refusals: Iterable[Refusal]) -> list[str]:
    """Distinct reasons; rights on the same resource are one."""
    texts: dict[str, None] = {}
    verbs: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for refusal in refusals:
        if refusal.right is None:
            texts[refusal.reason] = None
        else:
            verbs[refusal.right.scope, refusal.right.on][refusal.right.verb] = None
    rights = [f"{', '.join(each)} on {on} ({scope})" for (scope, on), each in verbs.items()]
    return [*texts, *(f"{each}: more than the rules give" for each in rights)]


def _key(found: tuple[Manifest, Refusal]) -> tuple[int, Refusal]:
    return id(found[0]), found[1]


def _form(grant: Grant) -> str:
    """The exception as the option `allow` has it."""
    entry: Mapping[str, Any] = grant.model_dump(by_alias=True, exclude_unset=True)
    return json.dumps(entry).replace('"', "")
