"""Whom the programs of a container run as: user, group, and the groups they have besides."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localjuju.images import Image
from localjuju.node.environment import ConfigError
from localkube.host import system


@dataclass(frozen=True)
class Identity:
    """A user by number.

    Attributes:
        user: the user's id.
        group: the group's id; None is the user's own in the container's /etc/passwd, else root's.
        groups: what the pod adds, for its volumes.
    """

    user: int = 0
    group: int | None = None
    groups: tuple[int, ...] = ()


ROOT = Identity()


def of_container(pod: Any, spec: Any, image: Image) -> Identity:
    """Whom a container runs as: what its spec says, else its pod's, else the image's own user.

    Source: verifyRunAsNonRoot in pkg/kubelet/kuberuntime/security_context.go of Kubernetes.

    Raises:
        ConfigError: it must not be root and would be, or nobody can tell.
    """
    shared = pod.spec.securityContext

    def chosen(name: str) -> Any:
        for context in (spec.securityContext, shared):
            value = getattr(context, name, None)
            if value is not None:
                return value
        return None

    user, group = chosen("runAsUser"), chosen("runAsGroup")
    if chosen("runAsNonRoot"):
        problem = ""
        if user == 0:
            problem = "container's runAsUser breaks non-root policy"
        elif user is None and image.has_named_user:
            problem = (
                f"container has runAsNonRoot and image has non-numeric user "
                f"({image.user.partition(':')[0]}), cannot verify user is non-root"
            )
        elif user is None and image.uid == 0:
            problem = "container has runAsNonRoot and image will run as root"
        if problem:
            meta = pod.metadata
            raise ConfigError(
                f'{problem} (pod: "{meta.name}_{meta.namespace}({meta.uid})", '
                f"container: {spec.name})"
            )
    if user is None:
        user = image.uid
        group = image.gid if group is None else group
    groups = list(getattr(shared, "supplementalGroups", None) or [])
    if (own := getattr(shared, "fsGroup", None)) is not None:
        groups.append(own)
    return Identity(user, group, tuple(sorted(set(groups))))


@dataclass(frozen=True)
class Account:
    """What /etc/passwd and /etc/group say of a user; for one they do not know, root's group."""

    name: str = ""
    group: int = 0
    home: str = "/"
    groups: tuple[int, ...] = ()


def account(user: int, root: Path = Path("/")) -> Account:
    """The account of a user id in the file system at `root`."""
    for name, _, number, group, _, home, *_ in _rows(root / "etc/passwd", 7):
        if number == str(user):
            others = tuple(
                int(row[2])
                for row in _rows(root / "etc/group", 4)
                if name in row[3].split(",") and row[2].isdigit()
            )
            return Account(name, int(group) if group.isdigit() else 0, home or "/", others)
    return Account()


def _rows(file: Path, columns: int) -> list[list[str]]:
    with contextlib.suppress(OSError):
        lines = file.read_text(errors="replace").splitlines()
        return [row for line in lines if len(row := line.split(":")) >= columns]
    return []


def become(identity: Identity, *, executes: bool) -> None:
    """Turns this process, which is in the container's file system, into the user's.

    Where one user is mapped only, as in a user namespace, everything runs as that one.

    Args:
        executes: whether another program follows; it is its own to be looked at, this one is not.

    Raises:
        OSError: the kernel refuses.
    """
    if system.in_user_namespace():
        return
    known = account(identity.user)
    group = known.group if identity.group is None else identity.group
    for stream in range(3):
        # As the runtime does: /dev/stdout has to be the user's to be opened.
        with contextlib.suppress(OSError):
            if stat.S_ISFIFO(os.fstat(stream).st_mode):
                os.fchown(stream, identity.user, -1)
    os.setgroups(sorted({group, *identity.groups, *known.groups}))
    os.setresgid(group, group, group)
    os.setresuid(identity.user, identity.user, identity.user)
    if not executes:
        system.be_readable()
