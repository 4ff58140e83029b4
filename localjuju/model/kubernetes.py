"""The model's Kubernetes side over the API server: applies objects, watches pods and Services."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2
from lightkube import ApiError, AsyncClient, KubeConfig, codecs, operators
from lightkube.models.authentication_v1 import TokenReviewSpec
from lightkube.resources import apps_v1, core_v1, storage_v1
from lightkube.resources import rbac_authorization_v1 as rbac
from lightkube.resources.authentication_v1 import TokenReview

from localjuju.model import created, podexec, provision
from localjuju.model.admission import Admission
from localjuju.model.changes import Changes, end
from localjuju.model.substrate import ApplicationSpec, Claim, Incoming, Pod, Tell
from localkube.controlplane.pki import Authority

_log = logging.getLogger(__name__)
logging.getLogger("httpx2").setLevel(logging.WARNING)  # else a line per request
_MANAGER = "localjuju"
_MODEL, _NAME = "model.juju.is/name", "app.kubernetes.io/name"
_SELECTOR: dict[str, Any] = {"app.kubernetes.io/managed-by": provision.MANAGER}
_NAMED: dict[str, Any] = {_NAME: operators.exists()}
_POD_UID = "authentication.kubernetes.io/pod-uid"  # of a token that is bound to a pod
_POLL_SECONDS = 0.2
_RETRY_SECONDS = 1.0


class KubernetesCluster:
    """The `Cluster` of `localjuju.model.substrate` on a real API server."""

    def __init__(self, kubeconfig: Path, agent_folder: Path, pki: Path):
        """Prepares; asks nothing.

        Args:
            kubeconfig: cluster administrator's access to the API server.
            agent_folder: the host's folder with the socket of the hook commands.
            pki: the folder of the cluster's certificates.
        """
        self._kubeconfig, self._agent_folder, self._pki = kubeconfig, agent_folder, pki
        self._listeners: list[Callable[[str, str], None]] = []
        self._pods: dict[tuple[str, str], Pod] = {}
        self._addresses: dict[tuple[str, str], str] = {}
        self._accounts: dict[tuple[str, str], tuple[str, str]] = {}  # uid and application
        self._tasks: list[asyncio.Task[None]] = []
        self._changes = Changes()

    def on_change(self, listener: Callable[[str, str], None]) -> None:
        self._listeners.append(listener)

    def pod(self, model: str, name: str) -> Pod | None:
        return self._pods.get((model, name))

    def address(self, model: str, application: str) -> str:
        return self._addresses.get((model, application), "")

    async def start(self) -> None:
        config = self._config = KubeConfig.from_file(str(self._kubeconfig))
        # No proxy of the user's: the API server is in the engine's own network.
        self._client = AsyncClient(config, field_manager=_MANAGER, trust_env=False)
        self._admission = Admission(Authority(self._pki), self._application_of)
        await self._admission.start()
        watches = (
            self._watch(core_v1.Pod, self._see_pod, self._pods),
            self._watch(core_v1.Service, self._see_service, self._addresses),
            self._watch(core_v1.ServiceAccount, self._see_account, self._accounts, _NAMED),
        )
        self._tasks = [asyncio.create_task(watch) for watch in watches]

    async def stop(self) -> None:
        await end(self._tasks)
        if self._tasks:
            await self._admission.stop()
            await self._client.close()

    # Watching --------------------------------------------------------------------------------

    async def _watch(
        self, kind: Any, see: Callable[[Any], Any], seen: dict[tuple[str, str], Any],
        selector: dict[str, Any] = _SELECTOR,
    ) -> None:  # fmt: skip
        """Keeps `seen` true: lists, follows, and lists again when the connection breaks."""
        while True:
            try:
                found = self._client.list(kind, namespace="*", labels=selector)
                fresh = {_key(item): see(item) async for item in found}
                models = {key[0] for key in (*seen, *fresh)}
                seen.clear()
                seen.update(fresh)
                for model in models:
                    self._tell(model, "")
                events = self._client.watch(
                    kind, namespace="*", labels=selector, resource_version=found.resourceVersion
                )
                async for change, item in events:
                    if change == "DELETED":
                        seen.pop(_key(item), None)
                    else:
                        seen[_key(item)] = see(item)
                    labels = item.metadata.labels or {}
                    self._tell(item.metadata.namespace, labels.get(_NAME, ""))
            except (httpx2.HTTPError, OSError, ValueError) as error:
                _log.info("watch of %s: %s; again", kind.__name__, error)
                await asyncio.sleep(_RETRY_SECONDS)

    def _tell(self, model: str, application: str) -> None:
        self._changes.tell()
        for listener in self._listeners:
            listener(model, application)

    def _see_pod(self, pod: core_v1.Pod) -> Pod:
        assert pod.metadata is not None
        status = pod.status
        statuses = list((status.containerStatuses if status else None) or [])
        running = {s.name for s in statuses if s.state and s.state.running}
        problem = ""
        for container in statuses:
            waiting = container.state.waiting if container.state else None
            if waiting and waiting.reason not in (None, "ContainerCreating", "PodInitializing"):
                problem = f"{waiting.reason}: {waiting.message or container.name}"
        conditions = (status.conditions if status else None) or []
        return Pod(
            uid=pod.metadata.uid or "",
            ip=(status.podIP if status else None) or "",
            modified=provision.made_for(pod.metadata.annotations or {}),
            charm_running="charm" in running,
            terminating=pod.metadata.deletionTimestamp is not None,
            ready=any(c.type == "Ready" and c.status == "True" for c in conditions),
            problem=problem,
        )

    def _see_service(self, service: core_v1.Service) -> str:
        address = (service.spec.clusterIP if service.spec else None) or ""
        return "" if address == "None" else address

    def _see_account(self, account: core_v1.ServiceAccount) -> tuple[str, str]:
        assert account.metadata is not None
        return account.metadata.uid or "", (account.metadata.labels or {}).get(_NAME, "")

    def _application_of(self, model: str, account: str, uid: str) -> str:
        found = self._accounts.get((model, account))
        return found[1] if found is not None and found[0] == uid else ""

    # Writing ---------------------------------------------------------------------------------

    async def add_model(self, model: str, uuid: str) -> None:
        await self._apply(provision.namespace(model, uuid))
        await self._apply(self._admission.configuration(model, uuid))

    async def remove_model(self, model: str, uuid: str) -> None:
        await self._delete(core_v1.Namespace, model, None)
        await created.remove_with_model(self._client, model, uuid)
        labels: dict[str, Any] = {**_SELECTOR, _MODEL: model}
        async for item in self._client.list(storage_v1.StorageClass, labels=labels):
            await self._delete(storage_v1.StorageClass, _name(item), None)
        while await _present(self._client.get(core_v1.Namespace, model)):
            await asyncio.sleep(_POLL_SECONDS)

    async def apply(self, spec: ApplicationSpec) -> None:
        for manifest in provision.objects(spec, str(self._agent_folder)):
            await self._apply(manifest)

    async def _apply(self, manifest: dict[str, Any]) -> None:
        item = codecs.from_dict(manifest)
        await self._client.apply(item, force=True)

    async def remove(self, model: str, uuid: str, application: str, destroy_storage: bool) -> None:
        await self._delete(apps_v1.StatefulSet, application, model)
        while any(key[0] == model and self._is_pod_of(key[1], application) for key in self._pods):
            await self._changes.after(self._changes.count, 5)
        for kind in (core_v1.Service, rbac.RoleBinding, rbac.Role, core_v1.ServiceAccount):
            await self._delete(kind, application, model)
        await self._delete(core_v1.Service, f"{application}-endpoints", model)
        name = provision.cluster_name(model, application)
        await self._delete(rbac.ClusterRoleBinding, name, None)
        await self._delete(rbac.ClusterRole, name, None)
        await created.remove_with_application(self._client, model, uuid, application)
        if destroy_storage:
            labels: dict[str, Any] = {_NAME: application, _MODEL: model}
            claims = self._client.list(
                core_v1.PersistentVolumeClaim, namespace=model, labels=labels
            )
            async for claim in claims:
                assert claim.metadata is not None
                assert claim.metadata.name is not None
                await self._delete(core_v1.PersistentVolumeClaim, claim.metadata.name, model)

    async def remove_claim(self, model: str, name: str) -> None:
        await self._delete(core_v1.PersistentVolumeClaim, name, model)

    async def storage_classes(self) -> dict[str, str]:
        found: dict[str, str] = {}
        async for item in self._client.list(storage_v1.StorageClass):
            if item.metadata and item.metadata.name:
                found[item.metadata.name] = item.provisioner
        return found

    async def add_storage_class(
        self, model: str, name: str, provisioner: str, parameters: Mapping[str, str]
    ) -> None:
        await self._apply(provision.storage_class(model, name, provisioner, parameters))

    async def claims(self, model: str) -> dict[str, Claim]:
        found: dict[str, Claim] = {}
        items = self._client.list(core_v1.PersistentVolumeClaim, namespace=model, labels=_SELECTOR)
        async for item in items:
            assert item.metadata is not None
            assert item.spec is not None
            found[_name(item)] = Claim(item.metadata.uid or "", item.spec.volumeName or "")
        return found

    @staticmethod
    def _is_pod_of(pod: str, application: str) -> bool:
        name, _, number = pod.rpartition("-")
        return name == application and number.isdigit()

    async def _delete(self, kind: Any, name: str, namespace: str | None) -> None:
        where: dict[str, Any] = {"namespace": namespace} if namespace else {}
        await _present(self._client.delete(kind, name, **where))

    async def pod_of(self, token: str) -> str:
        review = TokenReview(spec=TokenReviewSpec(token=token))
        status = (await self._client.create(review)).status
        if status is None or not status.authenticated or status.user is None:
            return ""
        return ((status.user.extra or {}).get(_POD_UID) or [""])[0]

    async def exec(
        self, model: str, pod: str, container: str, argv: Sequence[str], incoming: Incoming,
        tell: Tell, *, terminal: bool = False,
    ) -> int:  # fmt: skip
        return await podexec.run(
            self._config, model, pod, container, argv, incoming, tell, terminal=terminal
        )


def _name(item: Any) -> str:
    return item.metadata.name


def _key(item: Any) -> tuple[str, str]:
    return item.metadata.namespace, item.metadata.name


async def _present(call: Awaitable[Any]) -> bool:
    """Awaits a call; False where the object is not there (any more)."""
    try:
        await call
    except ApiError as error:
        if error.status.code != 404:
            raise
        return False
    return True
