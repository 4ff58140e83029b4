"""What the unit tests of every charm share; not packed into charms.

    def test_it_runs(charm):                      # fixture `charm` of charms/conftest.py
        out = charm.settled()                     # required relations answered, broker too
        assert out.unit_status == testing.ActiveStatus()
        assert charm.service(out).command == "…"

A `Charm` is the folder that a test file lies in. Doubles answer for the other side of a relation
in the wire format of its interface.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ops
import yaml
from ops import testing

from charmed_mlops.errors import STATUS_WIDTH
from charmed_mlops.interfaces import manifests as resources
from charmed_mlops.workload import DIGEST

ROOT = Path(__file__).parents[2]
MODEL = testing.Model("shop", uuid="9f2c6e2f-6c2b-4a4e-8f2e-0f7d1e6a2b3c")
"""The model that the tests run in; not called kubeflow, as nothing may rely on that."""
DATABASE = {"username": "relation-7", "password": "open-sesame"}
KEYS = {"access-key": "relation-3", "secret-key": "open-sesame"}


def merged(folder: Path) -> dict[str, Any]:
    """A charm's charmcraft.yaml laid over the one that all share, as the packer does it."""
    shared = yaml.safe_load((ROOT / "charmcraft.yaml").read_text())
    own = yaml.safe_load((folder / "charmcraft.yaml").read_text())
    for key, value in own.items():
        if isinstance(value, dict) and isinstance(shared.get(key), dict):
            shared[key] = {**shared[key], **value}
        else:
            shared[key] = [*shared[key], *value] if key == "assumes" else value
    return shared


@contextlib.contextmanager
def loaded(folder: Path) -> Iterator[Charm]:
    """The charm, its modules importable by their bare names as in its own dispatch.

    Several charms have a module `server` or `actions`: they are forgotten afterwards.
    """
    source = folder / "src"
    names = {path.stem for path in source.glob("*.py")}
    names |= {path.name for path in source.iterdir() if (path / "__init__.py").exists()}

    def forget() -> None:
        for name in list(sys.modules):
            if name.partition(".")[0] in names:
                del sys.modules[name]

    forget()
    sys.path.insert(0, str(source))
    try:
        module = importlib.import_module("charm")
        charm_type = next(
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, ops.CharmBase)
            and value.__module__ == "charm"
        )
        # ops.testing writes into the charm's folder: tests that run side by side must not meet
        with tempfile.TemporaryDirectory() as root:
            (Path(root) / "src").symlink_to(source)
            yield Charm(folder, charm_type, Path(root))
    finally:
        sys.path.remove(str(source))
        forget()


# doubles: the other side of a relation


def relation(endpoint: str, app: str = "other", **data: str) -> testing.Relation:
    """A relation whose other application wrote `data`; `_` in a key is `-`."""
    fields = {key.replace("_", "-"): value for key, value in data.items()}
    return testing.Relation(endpoint, remote_app_name=app, remote_app_data=fields)


def broker(endpoint: str = "manifests", **answer: Any) -> testing.Relation:
    """The resource broker, which answers what it is given: hash, problems, tenants."""
    data = {key: json.dumps(value) for key, value in answer.items()}
    return testing.Relation(endpoint, remote_app_name="resource-broker", remote_app_data=data)


def database(
    endpoint: str, name: str = "db", ca: str = ""
) -> tuple[testing.Relation, testing.Secret]:
    """A database that is given, and the secret of its user; with a CA its server speaks TLS."""
    user = testing.Secret(DATABASE)
    data = {"database": name, "endpoints": "mariadb:3306", "secret-user": user.id}
    if ca:
        data |= {"tls": "True", "tls-ca": ca}
    return testing.Relation(endpoint, remote_app_name="mariadb", remote_app_data=data), user


def bucket(endpoint: str, name: str = "b") -> tuple[testing.Relation, testing.Secret]:
    """A bucket that is given, and the secret of its keys."""
    keys = testing.Secret(KEYS)
    data = {
        "bucket": name,
        "endpoint": "http://object-store:7070",
        "region": "us-east-1",
        "secret-extra": keys.id,
    }
    return testing.Relation(endpoint, remote_app_name="object-store", remote_app_data=data), keys


def address(endpoint: str, port: int = 80, scheme: str = "http") -> testing.Relation:
    """A service that says where it answers: `ENDPOINT.shop`."""
    return relation(endpoint, endpoint, version="1", host=f"{endpoint}.shop", port=str(port),
                    scheme=scheme)  # fmt: skip


def client(endpoint: str) -> tuple[testing.Relation, testing.Secret]:
    """A client of an OIDC issuer at `dex.shop`, and the secret of its password."""
    secret = testing.Secret({"client-secret": "open-sesame-client"})
    fields = {
        "version": "1",
        "issuer": "http://dex.shop:5556/dex",
        "authorization-url": "/dex/auth",
        "token-url": "http://dex.shop:5556/dex/token",
        "jwks-url": "http://dex.shop:5556/dex/keys",
        "client-id": "oauth2-proxy-1",
        "secret-client": secret.id,
    }
    return testing.Relation(endpoint, remote_app_name="dex", remote_app_data=fields), secret


class Charm:
    """One charm under test.

    Attributes:
        folder: its folder in charms/.
        meta: its merged charmcraft.yaml.
        type: its class, while `loaded`.
    """

    def __init__(self, folder: Path, charm_type: type[ops.CharmBase], root: Path):
        self.folder = folder
        self._root = root
        self.meta = merged(folder)
        self.name: str = self.meta["name"]
        self.type = charm_type
        self._contexts: dict[int, testing.Context] = {}

    def context(self, unit: int = 0) -> testing.Context:
        """A context for a unit; the same one each time, so that filesystems stay."""
        if unit not in self._contexts:
            keys = ("name", "containers", "resources", "requires", "provides", "peers", "storage")
            self._contexts[unit] = testing.Context(
                self.type,
                meta={key: self.meta[key] for key in keys if key in self.meta},
                config=self.meta.get("config") or {},
                actions=self.meta.get("actions") or {},
                charm_root=self._root,
                unit_id=unit,
            )
        return self._contexts[unit]

    def containers(self) -> list[testing.Container]:
        """Every container, with a Pebble that answers."""
        return [testing.Container(name, can_connect=True) for name in self.meta["containers"]]

    def state(self, *relations: testing.RelationBase, **changes: Any) -> testing.State:
        """A leader with all containers, these relations, the peers and no secret but `secrets`."""
        given: dict[str, Any] = {"leader": True, "model": MODEL, "planned_units": 1}
        if "containers" not in changes and self.meta.get("containers"):
            given["containers"] = self.containers()
        peers = [
            testing.PeerRelation(name)
            for name in self.meta.get("peers") or {}
            if name not in [each.endpoint for each in relations]
        ]
        return testing.State(**{**given, "relations": [*relations, *peers], **changes})

    def run(
        self, *relations: testing.RelationBase, event: str = "config_changed", unit: int = 0,
        **changes: Any,
    ) -> testing.State:  # fmt: skip
        """The state after one event on `state(…)`."""
        context = self.context(unit)
        changes.setdefault("planned_units", unit + 1)
        return context.run(getattr(context.on, event)(), self.state(*relations, **changes))

    def act(self, action: str, state: testing.State, unit: int = 0, **params: Any) -> dict:
        """The results of an action; raises ops.testing.ActionFailed. `_` in a name is `-`."""
        context = self.context(unit)
        named = {key.replace("_", "-"): value for key, value in params.items()}
        context.run(context.on.action(action, params=named), state)
        return context.action_results or {}

    def again(self, out: testing.State, event: str = "update_status", **changes: Any):
        """The state after one more event on a state; changes replace its parts."""
        context = self.context()
        return context.run(
            getattr(context.on, event)(), dataclasses.replace(out, **changes) if changes else out
        )

    def refusal(self, config: dict[str, Any]) -> str:
        """What the status says to wrong options, which must leave the service as it runs."""
        before = self.settled()
        out = self.again(before, event="config_changed", config=config)
        assert out.unit_status.name == "blocked"
        assert self.service(out) == self.service(before)
        assert len(out.unit_status.message) <= STATUS_WIDTH
        return out.unit_status.message

    def required(self) -> tuple[list[testing.RelationBase], list[testing.Secret]]:
        """A double for each relation that is not optional, and the secrets they grant.

        Raises:
            KeyError: the interface has no double here.
        """
        relations: list[testing.RelationBase] = []
        secrets: list[testing.Secret] = []
        for endpoint, spec in (self.meta.get("requires") or {}).items():
            if spec.get("optional"):
                continue
            made = _DOUBLES[spec["interface"]](endpoint)
            if isinstance(made, tuple):
                relations.append(made[0])
                secrets.append(made[1])
            else:
                relations.append(made)
        return relations, secrets

    def settled(
        self, *more: testing.RelationBase, secrets: Iterable[testing.Secret] = (), **changes: Any
    ) -> testing.State:
        """The state once required relations, `more` ones and the broker have answered.

        Args:
            more: further relations; one takes the place of a required one of its endpoint.
            secrets: what the further relations grant.
            changes: parts of the first state, such as config.
        """
        relations, given = self.required()
        endpoints = [each.endpoint for each in more]
        relations = [each for each in relations if each.endpoint not in endpoints]
        return self.applied(self.run(*relations, *more, secrets=[*given, *secrets], **changes))

    def applied(self, out: testing.State) -> testing.State:
        """The state once the broker has applied what the charm asked for, if it asked."""
        for each in self._broker_relations(out):
            if asked := each.local_app_data.get("hash"):
                answer = {**each.remote_app_data, "hash": asked, "problems": json.dumps([])}
                answered = dataclasses.replace(each, remote_app_data=answer)
                kept = [other for other in out.relations if other.id != each.id]
                out = self.again(out, event="config_changed", relations=[*kept, answered])
        return out

    def _broker_relations(self, out: testing.State) -> list[testing.Relation]:
        endpoints = {
            endpoint
            for endpoint, spec in (self.meta.get("requires") or {}).items()
            if spec["interface"] == "cluster_resources"
        }
        return [
            each
            for each in out.relations
            if isinstance(each, testing.Relation) and each.endpoint in endpoints
        ]

    # what came of it

    def manifests(self, out: testing.State) -> list[dict[str, Any]]:
        """The objects that the charm asks the broker for."""
        return self._asked(out, "manifests")

    def tenant_manifests(self, out: testing.State) -> list[dict[str, Any]]:
        """The objects that the charm asks for in every tenant's namespace."""
        return self._asked(out, "tenants")

    def manifest(self, out: testing.State, kind: str, name: str = "") -> dict[str, Any]:
        """The one such object; raises ValueError unless there is just one."""
        (found,) = [
            each
            for each in self.manifests(out)
            if each["kind"] == kind and name in ("", each["metadata"]["name"])
        ]
        return found

    def kubernetes_secret(self, out: testing.State, name: str) -> dict[str, str]:
        """The content of a Secret that the charm asks for; it travels in a Juju secret alone."""
        declared = self.manifest(out, "Secret", name)
        assert not {"data", "stringData"} & set(declared)
        (kept,) = [each for each in out.secrets if each.id == declared[resources.SECRET_FIELD]]
        return json.loads((kept.latest_content or {})[resources.CONTENT_KEY])

    def _asked(self, out: testing.State, field: str) -> list[dict[str, Any]]:
        found = []
        for each in self._broker_relations(out):
            text = json.loads(each.local_app_data.get(field, "null"))
            found += resources.unpack(text) if text else []
        return found

    def service(
        self, out: testing.State, container: str = "", name: str = ""
    ) -> ops.pebble.Service:
        """A service's part of the plan; the first container's own unless named."""
        container = container or next(iter(self.meta["containers"]))
        return out.get_container(container).plan.services[name or container]

    def environment(self, out: testing.State, container: str = "") -> dict[str, str]:
        """A service's environment without what the library keeps in it."""
        found = self.service(out, container).environment
        return {key: value for key, value in found.items() if not key.startswith("CHARMED_MLOPS")}

    def digest(self, out: testing.State, container: str = "") -> str:
        """What changes when a service's files do."""
        return self.service(out, container).environment.get(DIGEST, "")

    def file(self, out: testing.State, path: str, container: str = "") -> str:
        """The text of a file in a container."""
        container = container or next(iter(self.meta["containers"]))
        root = out.get_container(container).get_filesystem(self.context())
        return (root / path.lstrip("/")).read_text()

    def published(self, out: testing.State, endpoint: str) -> Mapping[str, str]:
        """What the charm's application wrote on its one relation of an endpoint."""
        (found,) = out.get_relations(endpoint)
        return found.local_app_data


_DOUBLES: dict[str, Any] = {
    "cluster_resources": broker,
    "mysql_client": database,
    "oidc_client": client,
    "s3": bucket,
    "service_address": address,
}
