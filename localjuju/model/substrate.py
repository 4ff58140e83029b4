"""What the model needs of Kubernetes, so that tests can give it another body."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from localjuju.model.charm import Charm
from localjuju.streams import Message

Incoming = AsyncIterator[Message]
Tell = Callable[[int, bytes], Awaitable[None]]


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
class Claim:
    """A volume claim of a unit: its uid, and its volume's name once it has one."""

    uid: str
    volume: str


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

    def on_change(self, listener: Callable[[str, str], None]) -> None:
        """Calls `listener(model, application)` when a pod or Service of the application changed.

        "" in place of the application: any of them may have.
        """
        ...

    def pod(self, model: str, name: str) -> Pod | None: ...

    def address(self, model: str, application: str) -> str:
        """The application's cluster IP, "" while there is none."""
        ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def add_model(self, model: str, uuid: str) -> None: ...

    async def remove_model(self, model: str, uuid: str) -> None:
        """Removes what is labelled as the model's; returns when the namespace is gone."""
        ...

    async def apply(self, spec: ApplicationSpec) -> None: ...

    async def remove(self, model: str, uuid: str, application: str, destroy_storage: bool) -> None:
        """Removes the application's objects, and what it made; returns when its pods are gone."""
        ...

    async def remove_claim(self, model: str, name: str) -> None:
        """Removes a volume claim with its volume."""
        ...

    async def storage_classes(self) -> dict[str, str]:
        """The provisioners by the names of their StorageClasses."""
        ...

    async def add_storage_class(
        self, model: str, name: str, provisioner: str, parameters: Mapping[str, str]
    ) -> None:
        """A class that goes with the model."""
        ...

    async def claims(self, model: str) -> dict[str, Claim]:
        """The model's volume claims by their names."""
        ...

    async def pod_of(self, token: str) -> str:
        """The uid of the pod that a ServiceAccount's token is bound to.

        "" for a token that is not valid or not a pod's.
        """
        ...

    async def exec(
        self, model: str, pod: str, container: str, argv: Sequence[str], incoming: Incoming,
        tell: Tell, *, terminal: bool = False,
    ) -> int:  # fmt: skip
        """Runs a program in a container to its end; returns its exit code.

        Args:
            incoming: the program's input, and the sizes of its terminal.
            tell: is given what it prints as it comes.

        Raises:
            OSError: the container does not run, or the program cannot be started.
        """
        ...
