"""The fields of an application's objects that the policy reads, with their types.

What has another type is malformed, and refused before any rule looks at it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field


class _Shape(pydantic.BaseModel):
    # built at first use: most hooks check no request, and building takes a third of their time
    model_config = pydantic.ConfigDict(
        strict=True, extra="ignore", populate_by_name=True, defer_build=True
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if value is not None}
        return data


Texts = list[str]
Labels = dict[str, str]


class Metadata(_Shape):
    name: str
    namespace: str | None = None
    labels: Labels = {}
    annotations: Labels = {}
    ownerReferences: list[Any] = []  # noqa: N815 (Kubernetes' names)
    finalizers: Texts = []


class Requirement(_Shape):
    key: str
    operator: str
    values: Texts = []


class Selector(_Shape):
    match_labels: Labels = Field({}, alias="matchLabels")
    match_expressions: list[Requirement] = Field([], alias="matchExpressions")


class Rule(_Shape):
    groups: Texts = Field([], alias="apiGroups")
    resources: Texts = []
    verbs: Texts = []
    urls: Texts = Field([], alias="nonResourceURLs")
    names: Texts = Field([], alias="resourceNames")


class Aggregation(_Shape):
    selectors: list[Selector] = Field([], alias="clusterRoleSelectors")


class _Object(_Shape):
    metadata: Metadata


class Plain(_Object):
    pass


class Role(_Object):
    rules: list[Rule] = []
    aggregation: Aggregation | None = Field(None, alias="aggregationRule")


class Reference(_Shape):
    kind: str
    name: str
    group: str = Field("rbac.authorization.k8s.io", alias="apiGroup")


class Subject(_Shape):
    kind: str
    name: str
    namespace: str | None = None


class Binding(_Object):
    role: Reference = Field(alias="roleRef")
    subjects: list[Subject] = []


class ServiceReference(_Shape):
    name: str
    namespace: str


class Client(_Shape):
    url: str | None = None
    service: ServiceReference | None = None


class WebhookRule(_Shape):
    groups: Texts = Field([], alias="apiGroups")
    resources: Texts = []


class Webhook(_Shape):
    client: Client = Field(alias="clientConfig")
    rules: list[WebhookRule] = []
    object_selector: Selector = Field(Selector(), alias="objectSelector")  # type: ignore
    namespace_selector: Selector = Field(Selector(), alias="namespaceSelector")  # type: ignore


class Webhooks(_Object):
    webhooks: list[Webhook] = []


class Names(_Shape):
    kind: str
    plural: str


class Version(_Shape):
    name: str
    storage: bool = False


class ConversionWebhook(_Shape):
    client: Client = Field(alias="clientConfig")


class Conversion(_Shape):
    webhook: ConversionWebhook | None = None


class DefinitionSpec(_Shape):
    group: Annotated[str, Field(min_length=1)]
    names: Names
    scope: Literal["Namespaced", "Cluster"]
    versions: Annotated[list[Version], Field(min_length=1)]
    conversion: Conversion | None = None


class Definition(_Object):
    spec: DefinitionSpec


class ServiceSpec(_Shape):
    type: str = "ClusterIP"
    selector: Labels = {}
    external_ips: Texts = Field([], alias="externalIPs")
    cluster_ip: str = Field("", alias="clusterIP")

    @property
    def unselective(self) -> bool:
        """Whether it leads nowhere by itself, and nobody outside the cluster to anywhere."""
        return not self.selector and self.type == "ClusterIP" and self.cluster_ip != "None"


class Service(_Object):
    spec: ServiceSpec = ServiceSpec()  # type: ignore


class NetworkPolicySpec(_Shape):
    pod_selector: Selector = Field(Selector(), alias="podSelector")  # type: ignore


class NetworkPolicy(_Object):
    spec: NetworkPolicySpec = NetworkPolicySpec()  # type: ignore


class Secret(_Object):
    type: str = "Opaque"
