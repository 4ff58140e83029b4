"""Whose the objects of applications are, and what goes with whom, on a real API server."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from lightkube import AsyncClient, KubeConfig

from charms import kubernetes_server
from localjuju.model import created
from localjuju.model.charm import Charm
from localjuju.model.kubernetes import KubernetesCluster
from localjuju.model.substrate import ApplicationSpec

CREATED_BY, MANAGED = "app.juju.is/created-by", "app.kubernetes.io/managed-by"
MAPS, ROLES = "configmaps", "/apis/rbac.authorization.k8s.io/v1/clusterroles"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class Model:
    """A model of the engine with applications `tea` and `cups`, which may do everything."""

    def __init__(self, kubeconfig: Path):
        self.name, self.uuid = f"m-{uuid.uuid4().hex[:8]}", str(uuid.uuid4())
        self.cluster = KubernetesCluster(kubeconfig, Path("/agent"), kubeconfig.parent / "pki")
        self._kubeconfig = kubeconfig
        self._call = kubernetes_server.Client(kubeconfig)

    @property
    def labels(self) -> dict[str, str]:
        """What Juju puts on what its applications make, but for whose it is."""
        return {
            "model.juju.is/name": self.name, "model.juju.is/id": self.uuid,
            MANAGED: "juju",
        }  # fmt: skip

    async def start(self) -> None:
        await self.cluster.start()
        await self.cluster.add_model(self.name, self.uuid)
        for application in ("tea", "cups"):
            charm = Charm("0" * 64, application, {}, {}, {}, {})
            await self.cluster.apply(
                ApplicationSpec(
                    model=self.name, model_uuid=self.uuid, name=application, charm=charm, scale=1,
                    modified=0, trust=True, resources={}, storage={}, constraints={}, ports=(),
                    shared_venv="",
                )
            )  # fmt: skip
        await self.until_labelled()

    async def until_labelled(self) -> None:
        """The API server learns of a webhook within a second or so."""
        for _ in range(100):
            code, made = await self.write("tea", self.path("secrets"), name="", dry=True)
            assert code == 201, made
            if CREATED_BY in self.of(made):
                return
            await asyncio.sleep(0.1)
        pytest.fail("nothing is labelled")

    def path(self, plural: str, group: str = "", namespace: str = "") -> str:
        root = f"/apis/{group}" if group else "/api/v1"
        return f"{root}/namespaces/{namespace or self.name}/{plural}"

    @staticmethod
    def of(found: dict[str, Any]) -> dict[str, str]:
        return found["metadata"].get("labels") or {}

    async def call(self, method: str, path: str, body: Any = None, as_: str = "") -> Any:
        """As the administrator, or as an account; in a thread, as the answer may need the loop."""
        headers = {}
        if as_:
            _, account = await self.call("GET", f"{self.path('serviceaccounts')}/{as_}")
            user = f"system:serviceaccount:{self.name}:{as_}"
            headers = {"Impersonate-User": user, "Impersonate-Uid": account["metadata"]["uid"]}
        return await asyncio.to_thread(self._call, method, path, body, headers=headers)

    async def write(
        self, as_: str, path: str, name: str = "thing", dry: bool = False, **more: Any
    ) -> tuple[int, dict[str, Any]]:
        """Creates an object; `labels` are its labels."""
        metadata = {"name": name} if name else {"generateName": "any-"}
        body = {"metadata": {**metadata, "labels": more.pop("labels", {})}, **more}
        return await self.call("POST", f"{path}?dryRun=All" if dry else path, body, as_=as_)

    async def labelled(self, as_: str, path: str, name: str = "thing", **more: Any) -> Any:
        """The labels of an object that an account creates."""
        code, made = await self.write(as_, path, name, **more)
        assert code == 201, made
        return self.of(made)

    async def names(self, path: str) -> set[str]:
        found = (await self.call("GET", path))[1]["items"]
        return {item["metadata"]["name"] for item in found}

    async def add_account(self, as_: str, name: str, **labels: str) -> None:
        """A ServiceAccount that may write in the model."""
        await self.labelled(as_, self.path("serviceaccounts"), name, labels=labels)
        subject = {"kind": "ServiceAccount", "name": name, "namespace": self.name}
        group = "rbac.authorization.k8s.io"
        role = {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"}
        bindings = self.path("rolebindings", f"{group}/v1")
        await self.labelled("", bindings, name, subjects=[subject], roleRef=role)

    async def define(self, as_: str, group: str, **labels: str) -> str:
        """A kind `Pot` of the cluster; returns the path of its objects in this model."""
        version = {
            "name": "v1", "served": True, "storage": True,
            "schema": {"openAPIV3Schema": {"type": "object"}},
        }  # fmt: skip
        names = {"kind": "Pot", "plural": "pots"}
        spec = {"group": group, "names": names, "scope": "Namespaced", "versions": [version]}
        code, made = await self.write(as_, DEFINITIONS, f"pots.{group}", labels=labels, spec=spec)
        assert code == 201, made
        path = self.path("pots", f"{group}/v1")
        while (await self.call("GET", path))[0] != 200:
            await asyncio.sleep(0.1)
        return path

    async def remove_what_it_made(self) -> None:
        """But for its namespace, which nothing here would make go."""
        client = AsyncClient(KubeConfig.from_file(str(self._kubeconfig)), trust_env=False)
        await created.remove_with_model(client, self.name, self.uuid)
        await client.close()


def pot(path: str) -> dict[str, str]:
    """What an object of `Model.define` says besides its name."""
    return {"apiVersion": "/".join(path.split("/")[2:4]), "kind": "Pot"}


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with kubernetes_server.started(tmp_path_factory.mktemp("api")) as found:
        yield found


@pytest.fixture
async def model(kubeconfig: Path) -> AsyncIterator[Model]:
    made = Model(kubeconfig)
    await made.start()
    yield made
    await made.remove_what_it_made()
    await made.cluster.stop()


async def test_what_an_application_makes_is_labelled_as_made_by_it_in_the_model(model: Model):
    made = await model.labelled("tea", model.path(MAPS))
    assert made == {CREATED_BY: "tea", **model.labels}


async def test_what_an_application_changes_is_its_own_from_then_on(model: Model):
    await model.labelled("tea", model.path(MAPS))
    path = f"{model.path(MAPS)}/thing"
    _, found = await model.call("GET", path)
    _, changed = await model.call("PUT", path, {**found, "data": {"a": "b"}}, as_="cups")
    assert model.of(changed)[CREATED_BY] == "cups"


async def test_a_label_that_is_there_stays_but_for_whose_the_object_is(model: Model):
    given = {MANAGED: "me", "model.juju.is/id": "other", CREATED_BY: "me"}
    made = await model.labelled("tea", model.path(MAPS), labels=given)
    assert made == {**model.labels, **given, CREATED_BY: "tea"}


async def test_what_others_make_is_not_labelled(model: Model):
    assert await model.labelled("", model.path(MAPS), "of-the-administrator") == {}
    await model.add_account("", "stranger")
    assert await model.labelled("stranger", model.path(MAPS)) == {}


async def test_an_account_is_whose_its_label_says(model: Model):
    """Of one that an application makes, too."""
    await model.add_account("tea", "spout", **{"app.kubernetes.io/name": "pot"})
    made: dict[str, str] = {}
    for number in range(50):  # the engine sees the account a moment later
        made = await model.labelled("spout", model.path(MAPS), f"thing-{number}")
        if made:
            break
        await asyncio.sleep(0.1)
    assert made[CREATED_BY] == "pot"


async def test_the_label_that_turns_the_webhook_off_is_honoured(model: Model):
    off = {"model.juju.is/disable-webhook": "true"}
    assert await model.labelled("tea", model.path(MAPS), labels=off) == off


async def test_in_other_namespaces_nothing_is_labelled(model: Model):
    path = model.path(MAPS, namespace="default")
    assert await model.labelled("tea", path, f"{model.name}-thing") == {}


async def test_what_is_in_no_namespace_is_labelled(model: Model):
    """The namespaces' selector asks nothing of it."""
    made = await model.labelled("tea", ROLES, f"{model.name}-thing", rules=[])
    assert made == {CREATED_BY: "tea", **model.labels}


async def test_objects_of_a_kind_that_has_just_come_are_labelled(model: Model):
    path = await model.define("tea", f"{model.name}.example.com")
    assert (await model.labelled("tea", path, **pot(path)))[CREATED_BY] == "tea"


async def test_while_the_engine_is_stopped_applications_go_on_writing(model: Model):
    await model.cluster.stop()
    assert await model.labelled("tea", model.path(MAPS)) == {}
    await model.cluster.start()
    await model.cluster.add_model(model.name, model.uuid)
    await model.until_labelled()


async def test_what_an_application_made_goes_with_it_and_nothing_else(model: Model):
    pods = model.path("pods")
    container = {"name": "a", "image": "a"}
    for name, as_ in (("own", "tea"), ("others", "cups"), ("nobody-s", "")):
        await model.labelled(as_, model.path(MAPS), name)
        await model.labelled(as_, ROLES, f"{model.name}-{name}", rules=[])
        await model.labelled(as_, pods, name, spec={"containers": [container]})
    # As what resource-broker applies for others: Juju looks for what it manages itself.
    await model.labelled("tea", model.path(MAPS), "managed", labels={MANAGED: "me"})
    for name in ("own", "tea-web-secret"):
        await model.labelled("tea", model.path("secrets"), name)
    pots = await model.define("tea", f"{model.name}.example.com")
    await model.labelled("tea", pots, **pot(pots))

    await model.cluster.remove(model.name, model.uuid, "tea", destroy_storage=False)

    assert await model.names(model.path(MAPS)) >= {"others", "nobody-s", "managed"}
    assert "own" not in await model.names(model.path(MAPS))
    left = {f"{model.name}-{name}" for name in ("others", "nobody-s", "cups")}
    assert {each for each in await model.names(ROLES) if each.startswith(model.name)} == left
    assert f"pots.{model.name}.example.com" not in await model.names(DEFINITIONS)
    assert await model.names(pods) == {"own", "others", "nobody-s"}
    assert await model.names(model.path("secrets")) == {"own"}
    assert await model.names(model.path("serviceaccounts")) == {"cups"}


async def test_what_applications_made_in_no_namespace_goes_with_the_model(model: Model):
    """And objects of their definitions everywhere, whatever waits for their end."""
    going, staying = (f"{each}.{model.name}.example.com" for each in ("going", "staying"))
    await model.define("tea", going)
    await model.define("tea", staying, **{"juju-resource-lifecycle": "persistent"})
    pots = model.path("pots", f"{going}/v1", namespace="default")
    metadata = {"name": "thing", "finalizers": ["example.com/waits"]}
    code, _ = await model.call("POST", pots, {**pot(pots), "metadata": metadata})
    assert code == 201
    await model.labelled("", ROLES, f"{model.name}-nobody-s", rules=[])
    await model.labelled("tea", ROLES, f"{model.name}-own", rules=[])

    await model.remove_what_it_made()

    left = {f"{model.name}-{name}" for name in ("nobody-s", "tea", "cups")}
    assert {each for each in await model.names(ROLES) if each.startswith(model.name)} == left
    for _ in range(100):
        if f"pots.{going}" not in await model.names(DEFINITIONS):
            break
        await asyncio.sleep(0.1)
    assert f"pots.{staying}" in await model.names(DEFINITIONS)
    assert f"pots.{going}" not in await model.names(DEFINITIONS)
    await model.call("DELETE", f"{DEFINITIONS}/pots.{staying}")
