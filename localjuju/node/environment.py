"""A container's environment variables, as the pod's specification describes them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from localjuju.node.values import field_value, resource_value

Lookup = Callable[[str, str], Awaitable[Mapping[str, str] | None]]
"""`lookup("ConfigMap" or "Secret", name)`: the data as text, None where there is no object."""

_REFERENCE = re.compile(r"\$(\$|\(([^)]*)\))")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ConfigError(Exception):
    """The container cannot be made as it is described; the text is one line."""


def expand(text: str, known: Mapping[str, str]) -> str:
    """Replaces $(NAME) by the variable's value, $$ by $; what is no name stays as it is.

    Source: the Kubernetes documentation, "Define Dependent Environment Variables".
    """

    def replace(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return known.get(match[2], match[0])

    return _REFERENCE.sub(replace, text)


async def build(
    pod: Any, container: Any, image_env: Mapping[str, str], lookup: Lookup, pod_ip: str
) -> dict[str, str]:
    """The environment of a container.

    Args:
        pod: the lightkube Pod.
        container: one of its containers.
        image_env: the image's own variables; the pod's come on top.
        lookup: reads a ConfigMap or a Secret of the pod's namespace.
        pod_ip: the pod's address.

    Raises:
        ConfigError: a required ConfigMap, Secret or key is not there.
    """
    found = {"PATH": _PATH, "HOSTNAME": pod.spec.hostname or pod.metadata.name}
    found.update(image_env)
    found.update(
        KUBERNETES_SERVICE_HOST="10.152.183.1",
        KUBERNETES_SERVICE_PORT="443",
        KUBERNETES_SERVICE_PORT_HTTPS="443",
        KUBERNETES_PORT="tcp://10.152.183.1:443",
    )
    for source in container.envFrom or []:
        for kind, reference in (("ConfigMap", source.configMapRef), ("Secret", source.secretRef)):
            if reference is not None:
                data = await lookup(kind, reference.name)
                if data is None and not reference.optional:
                    raise ConfigError(f'{kind.lower()} "{reference.name}" not found')
                found.update(
                    {f"{source.prefix or ''}{key}": value for key, value in (data or {}).items()}
                )
    for variable in container.env or []:
        if variable.valueFrom is None:
            found[variable.name] = expand(variable.value or "", found)
            continue
        value = await _value(pod, container, variable.valueFrom, lookup, pod_ip)
        if value is not None:
            found[variable.name] = value
    return found


async def _value(pod: Any, container: Any, source: Any, lookup: Lookup, pod_ip: str) -> str | None:
    if source.fieldRef is not None:
        return field_value(pod, source.fieldRef.fieldPath, pod_ip)
    if source.resourceFieldRef is not None:
        return resource_value(pod, container, source.resourceFieldRef)
    for kind, reference in (
        ("ConfigMap", source.configMapKeyRef),
        ("Secret", source.secretKeyRef),
    ):
        if reference is None:
            continue
        data = await lookup(kind, reference.name)
        if data is not None and reference.key in data:
            return data[reference.key]
        if not reference.optional:
            what = "not found" if data is None else f"has no key {reference.key}"
            raise ConfigError(f'{kind.lower()} "{reference.name}" {what}')
    return None
