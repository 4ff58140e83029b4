"""The tenants as one YAML text: what would change, and the change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec
import tenancy
import yaml

from charmed_mlops import ActionFailed, fields, kubernetes

_NAMESPACE_SECONDS = 30  # the controller makes a namespace within a second or two


class Apply(msgspec.Struct, kw_only=True):
    """The text, and whether to leave it at the plan."""

    tenants: str
    dry_run: bool = False


class Tenant(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One profile."""

    owner: tenancy.User
    quota: tenancy.Hard = {}
    contributors: dict[tenancy.User, tenancy.Role] = {}


class Tenants(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The text. `users`, where given, are all names that may stand in it: typing errors show."""

    users: list[tenancy.User] | None = None
    profiles: dict[tenancy.Name, Tenant] = {}

    def __post_init__(self) -> None:
        for name, tenant in self.profiles.items():
            if tenant.owner in tenant.contributors:
                raise ValueError(f"profiles.{name}: {tenant.owner} owns it, so is no contributor")
            for user in (tenant.owner, *tenant.contributors):
                if self.users is not None and user not in self.users:
                    raise ValueError(f"profiles.{name}: {user} is not among users")


@dataclass(frozen=True)
class Step:
    """One change: `+` makes, `~` changes, `-` removes."""

    text: str
    act: Callable[[], object]


def apply(params: Apply) -> dict[str, str]:
    """Bring everything to what the text says, or say what that would change."""
    steps = list(steps_to(parsed(params.tenants)))
    if not params.dry_run:
        for step in steps:
            step.act()
    done = "would-change" if params.dry_run else "changed"
    return {done: str(len(steps)), "plan": "\n".join(each.text for each in steps)}


def parsed(text: str) -> Tenants:
    """The text as a model.

    Raises:
        ActionFailed: it is wrong; the first error is named with where it is.
    """
    try:
        return fields.converted(yaml.load(text, _Loader), Tenants)
    except yaml.YAMLError as error:
        raise ActionFailed("tenants: " + " ".join(str(error).split())) from None
    except fields.WrongFields as error:
        raise ActionFailed(f"tenants: {error}") from None


class _Loader(yaml.SafeLoader):
    """Takes a key that is there twice for the error that it is."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"{key} is there twice, {node.start_mark}")
        return super().construct_mapping(node, deep)


def steps_to(wanted: Tenants) -> Iterator[Step]:
    """What has to change; nothing is changed unless all of the text can be had."""
    current = tenancy.current()
    for name, tenant in wanted.profiles.items():
        found = current.get(name)
        if found and tenancy.owner(found) != tenant.owner:
            raise ActionFailed(
                f"profile {name} belongs to {tenancy.owner(found)}: its owner cannot be changed"
            )
        if not found and tenancy.exists(f"/api/v1/namespaces/{name}"):
            raise ActionFailed(f"there is a namespace {name} already: choose another name")
    for name, tenant in wanted.profiles.items():
        yield from _steps(name, tenant, current.get(name))


def _steps(name: str, tenant: Tenant, found: dict | None) -> Iterator[Step]:
    have = tenancy.contributors(name) if found else {}
    if found is None:
        yield Step(f"+ profile {name} of {tenant.owner}", lambda: _create(name, tenant))
    elif (was := tenancy.hard(found)) != tenant.quota:
        yield Step(
            f"~ quota of {name}: {was or 'none'} becomes {tenant.quota or 'none'}",
            lambda: tenancy.set_quota(tenancy.Quota(profile=name, quota=tenant.quota)),
        )
    for user, role in tenant.contributors.items():
        if have.get(user) != role:
            mark = "~" if user in have else "+"
            added = tenancy.Add(profile=name, user=user, role=role)
            yield Step(f"{mark} {user} {role} in {name}", lambda added=added: tenancy.add(added))
    for user in sorted(set(have) - set(tenant.contributors)):
        gone = tenancy.Contributor(profile=name, user=user)
        yield Step(f"- {user} in {name}", lambda gone=gone: tenancy.remove(gone))


def _create(name: str, tenant: Tenant) -> None:
    tenancy.create(tenancy.Create(name=name, owner=tenant.owner, quota=tenant.quota))
    if tenant.contributors and not kubernetes.appears("namespaces", name, _NAMESPACE_SECONDS):
        raise ActionFailed(f"profile {name} has no namespace yet: apply again when it has")
