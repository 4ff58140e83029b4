"""What the model needs of Kubernetes and of the node, so that tests can give them another body."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from localjuju.model.charm import Charm


@dataclass(frozen=True)
class Pod:
    """A unit's pod as last seen. `modified` is the application's counter it was made for."""

    uid: str
    ip: str
    modified: int
    charm_running: bool
    terminating: bool = False
    ready: bool = False
    problem: str = ""


@dataclass(frozen=True)
class ApplicationSpec:
    """All that an application's Kubernetes objects depend on."""

    model: str
    model_uuid: str
    name: str
    charm: Charm
    scale: int
    modified: int
    trust: bool
    resources: Mapping[str, str]
    storage: Mapping[str, Any]
    constraints: Mapping[str, str]
    ports: tuple[str, ...]
    shared_venv: str | None


class Cluster(Protocol):
    """Kubernetes, as far as the model writes and watches it."""

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Calls `listener(model)` when a pod or Service of the model changed."""
        ...

    def pod(self, model: str, name: str) -> Pod | None: ...

    def address(self, model: str, application: str) -> str:
        """The application's cluster IP, "" while there is none."""
        ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def add_model(self, model: str, uuid: str) -> None: ...

    async def remove_model(self, model: str) -> None:
        """Returns when the namespace is gone."""
        ...

    async def apply(self, spec: ApplicationSpec) -> None: ...

    async def remove(self, model: str, application: str, destroy_storage: bool) -> None:
        """Removes the application's objects; returns when its pods are gone."""
        ...

    async def remove_claim(self, model: str, name: str) -> None:
        """Removes a volume claim with its volume."""
        ...

    async def storage_classes(self) -> dict[str, str]:
        """The provisioners by the names of their StorageClasses."""
        ...

    async def replace_pod(self, model: str, name: str, uid: str) -> None: ...


class ExecResult(Protocol):
    """How a program in a container ended."""

    @property
    def code(self) -> int: ...
    @property
    def stdout(self) -> Any: ...
    @property
    def stderr(self) -> Any: ...
    @property
    def cpu_seconds(self) -> float: ...


class Node(Protocol):
    """The node that runs the pods."""

    def volume_path(self, namespace: str, pod: str, volume: str) -> Path: ...

    async def exec(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], *,
        env: Mapping[str, str] | None = None, cwd: str | None = None,
        stdin: bytes | None = None, on_line: Callable[[str, str], None] | None = None,
    ) -> ExecResult: ...  # fmt: skip
