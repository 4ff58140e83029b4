#!/usr/bin/env python3
"""Tenants: https://www.kubeflow.org/docs/components/central-dash/profiles/"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import ops
import plan
import tenancy

from charmed_mlops import (
    Address,
    Blocked,
    ClusterResources,
    Http,
    Metrics,
    ServiceCharm,
    ServiceProvider,
)

VERSION = "1.10.0"
LABELS = "/tmp/namespace-labels.yaml"  # the image's user may not write to /etc
HEADER = "-userid-header=kubeflow-userid -userid-prefix="  # empty: what the login says is the name
MANAGEMENT = 8081  # fixed in the program
_NO_MESH = ("NOTEBOOK_CONTROLLER_PRINCIPAL", "ISTIO_INGRESS_GATEWAY_PRINCIPAL", "KFP_UI_PRINCIPAL")


class Options(msgspec.Struct, kw_only=True):
    """The charm's options."""

    pod_security: Literal["privileged", "baseline", "restricted"]
    namespace_labels: str
    isolate_namespaces: bool
    cluster_admin: Annotated[str, msgspec.Meta(pattern=r"^[^\s'\"]*\Z")]


class Profiles(ServiceCharm):
    """The controller that its peers elect makes namespaces; access management answers in all."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="profile-controller", ports=(8080, MANAGEMENT))
        self.management = self.add_workload("access-management")
        self.cluster = ClusterResources(self, "manifests")
        self.address_of_management = ServiceProvider(self, "access-management")
        self.metrics = Metrics(self, port=8080)

    def reconcile(self) -> None:
        options = self.options(Options)
        try:
            labels = tenancy.labels(options.pod_security, options.namespace_labels)
        except ValueError as error:
            raise Blocked(f"config namespace-labels: {error}") from None
        self.cluster.apply(isolate=options.isolate_namespaces)
        self.workload.run(
            command=(
                f"/manager {HEADER} -workload-identity= -namespace-labels-path={LABELS} "
                f"-leader-elect -leader-election-namespace={self.model.name}"
            ),
            files={LABELS: labels},
            # read for the AuthorizationPolicy of each profile, which nothing here enforces
            environment=dict.fromkeys(_NO_MESH, ""),
            check=Http(9876, "/readyz"),
            alive=Http(9876, "/healthz"),
            version=VERSION,
        )
        self.management.run(
            command=f"/access-management -cluster-admin={options.cluster_admin} {HEADER}",
            check=Http(MANAGEMENT, "/metrics"),
        )
        self.address_of_management.publish(Address(self.address, MANAGEMENT))
        self.metrics.publish()

    def action_create_profile(self, params: tenancy.Create) -> dict[str, str]:
        return tenancy.create(params)

    def action_delete_profile(self, params: tenancy.Delete) -> dict[str, str]:
        return tenancy.delete(params)

    def action_list_profiles(self, _: dict) -> dict[str, Any]:
        return tenancy.listed()

    def action_add_contributor(self, params: tenancy.Add) -> dict[str, str]:
        return tenancy.add(params)

    def action_remove_contributor(self, params: tenancy.Contributor) -> dict[str, str]:
        return tenancy.remove(params)

    def action_set_quota(self, params: tenancy.Quota) -> dict[str, str]:
        return tenancy.set_quota(params)

    def action_apply_tenants(self, params: plan.Apply) -> dict[str, str]:
        return plan.apply(params)


if __name__ == "__main__":
    ops.main(Profiles)
