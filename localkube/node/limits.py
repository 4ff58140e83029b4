"""What no pod may have of the host: an admission policy, whoever asks.

kubelet and containerd act with their user's rights, root's as a rule: whoever may make a pod would
have the host's files by a hostPath volume, and by a privileged container all that root has.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

from lightkube import ApiError, AsyncClient
from lightkube.models.admissionregistration_v1 import (
    MatchResources,
    NamedRuleWithOperations,
    ValidatingAdmissionPolicyBindingSpec,
    ValidatingAdmissionPolicySpec,
    Validation,
    Variable,
)
from lightkube.models.core_v1 import HostPathVolumeSource, PersistentVolumeSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.admissionregistration_v1 import (
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
)
from lightkube.resources.core_v1 import PersistentVolume

from localkube.host.errors import EngineError
from localkube.node.client import UNREACHABLE, until_done

VARIABLE = "LOCALJUJU_HOST_PATHS"
NAME = "localkube-host"
# containerd's own (oci.defaultUnixCaps); more may be asked for on other clusters.
CAPABILITIES = (
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD",
    "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
)  # fmt: skip
_NAMESPACES = ("hostNetwork", "hostPID", "hostIPC")
_SECONDS = 30.0
_POLL_SECONDS = 0.05


def named() -> tuple[Path, ...]:
    """The folders that $LOCALJUJU_HOST_PATHS lists."""
    return tuple(Path(name) for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name)


async def apply(api: AsyncClient, allowed: Iterable[Path], volumes: Path) -> None:
    """Makes the policy, or brings it up to date; returns when it is in force.

    Args:
        api: the cluster's, as an administrator.
        allowed: the folders that hostPath volumes may lie in.
        volumes: the folder where a PersistentVolume may have one of its own name.

    Raises:
        EngineError: it is not in force after some time.
    """
    policy = ValidatingAdmissionPolicy(
        metadata=ObjectMeta(name=NAME), spec=_policy(allowed, volumes)
    )
    binding = ValidatingAdmissionPolicyBinding(
        metadata=ObjectMeta(name=NAME),
        spec=ValidatingAdmissionPolicyBindingSpec(policyName=NAME, validationActions=["Deny"]),
    )
    for made in (policy, binding):
        await until_done(lambda made=made: api.apply(made, force=True), f"policy {NAME}")
    deadline = time.monotonic() + _SECONDS
    while not await _is_in_force(api):
        if time.monotonic() > deadline:
            raise EngineError(f"the admission policy {NAME} is not in force")
        await asyncio.sleep(_POLL_SECONDS)


async def _is_in_force(api: AsyncClient) -> bool:
    """Whether the API server refuses what the policy does; nothing is made."""
    probe = PersistentVolume(
        metadata=ObjectMeta(name=f"{NAME}-probe"),
        spec=PersistentVolumeSpec(
            capacity={"storage": "1Gi"},
            accessModes=["ReadWriteOnce"],
            hostPath=HostPathVolumeSource(path=f"/{NAME}/probe"),
        ),
    )
    try:
        await api.create(probe, dry_run=True)
    except ApiError as error:
        return NAME in str(error.status.message)
    except UNREACHABLE:
        return False
    return False


def _policy(allowed: Iterable[Path], volumes: Path) -> ValidatingAdmissionPolicySpec:
    # With the slash, so that /a allows /a and /a/b, and not /ab. A link is named as it is, too.
    folders = sorted(
        {f"{str(place).rstrip('/')}/" for one in allowed for place in (one, one.resolve())}
    )
    own = _text(f"{volumes.resolve()}/")
    volume = "object.kind == 'PersistentVolume'"
    variables = {
        "pod": "object.kind == 'Pod' ? object.spec : {}",
        "containers": " + ".join(
            f"(has(variables.pod.{kind}) ? variables.pod.{kind} : [])"
            for kind in ("containers", "initContainers", "ephemeralContainers")
        ),
        "paths": (
            "(has(variables.pod.volumes) ? variables.pod.volumes : [])"
            ".filter(one, has(one.hostPath)).map(one, one.hostPath.path)"
            f" + ({volume} && has(object.spec.hostPath) ? [object.spec.hostPath.path] : [])"
            f" + ({volume} && has(object.spec.local) ? [object.spec.local.path] : [])"
        ),
        "outside": (
            "variables.paths.filter(path,"
            f" !{_text(folders)}.exists(folder, (path + '/').startsWith(folder))"
            f" && !({volume} && path == {own} + object.metadata.name))"
        ),
    }
    secured = "has(one.securityContext) && has(one.securityContext"
    refused = [
        Validation(
            expression="size(variables.outside) == 0",
            messageExpression=(
                "'hostPath ' + variables.outside[0] + ' is not one of the engine\\'s folders: "
                f"start the engine with {VARIABLE}=' + variables.outside[0] + ' to allow it'"
            ),
        ),
        *(
            Validation(
                expression=f"!has(variables.pod.{name}) || !variables.pod.{name}",
                message=f"{name} is not supported by localkube",
            )
            for name in _NAMESPACES
        ),
        Validation(
            expression=(
                f"!variables.containers.exists(one, {secured}.privileged)"
                " && one.securityContext.privileged)"
            ),
            message="privileged containers are not supported by localkube",
        ),
        Validation(
            expression=(
                f"!variables.containers.exists(one, {secured}.capabilities)"
                " && has(one.securityContext.capabilities.add)"
                " && one.securityContext.capabilities.add.exists(added,"
                f" !(added in {_text(CAPABILITIES)})))"
            ),
            message=f"a container may add no capabilities but {', '.join(CAPABILITIES)}",
        ),
    ]
    for one in refused:
        one.reason = "Forbidden"
    return ValidatingAdmissionPolicySpec(
        failurePolicy="Fail",
        matchConstraints=MatchResources(
            resourceRules=[
                _rule("CREATE", "pods", "persistentvolumes"),
                _rule("UPDATE", "pods/ephemeralcontainers"),
            ]
        ),
        variables=[Variable(name=name, expression=text) for name, text in variables.items()],
        validations=refused,
    )


def _rule(operation: str, *resources: str) -> NamedRuleWithOperations:
    return NamedRuleWithOperations(
        apiGroups=[""], apiVersions=["v1"], operations=[operation], resources=list(resources)
    )


def _text(value: object) -> str:
    """A string or a list of them as CEL has it, whose escapes are JSON's."""
    return json.dumps(value, ensure_ascii=False)
