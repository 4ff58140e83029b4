"""What Knative's programs read: their ConfigMaps.

Source of the names and keys: knative.dev/serving v0.48.1, pkg/*/config*, and
knative.dev/networking, pkg/config.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

_REGISTRIES = r"^([a-z0-9][a-z0-9.:-]*(,[a-z0-9][a-z0-9.:-]*)*)?\Z"
# What KServe's pods, and users' own, have in them. What reaches the node's own files, network or
# processes stays off.
_FEATURES = (
    "multi-container",
    "kubernetes.podspec-affinity",
    "kubernetes.podspec-fieldref",
    "kubernetes.podspec-init-containers",
    "kubernetes.podspec-nodeselector",
    "kubernetes.podspec-persistent-volume-claim",
    "kubernetes.podspec-persistent-volume-write",
    "kubernetes.podspec-priorityclassname",
    "kubernetes.podspec-runtimeclassname",
    "kubernetes.podspec-schedulername",
    "kubernetes.podspec-securitycontext",
    "kubernetes.podspec-shareprocessnamespace",
    "kubernetes.podspec-tolerations",
    "kubernetes.podspec-topologyspreadconstraints",
    "kubernetes.podspec-volumes-emptydir",
)
_PROGRAMS = ("activator", "autoscaler", "controller", "queueproxy", "webhook")


class Options(msgspec.Struct, kw_only=True):
    """The charm's options; times are in seconds."""

    ingress_class: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9.-]+\Z")]
    scale_to_zero: bool
    stable_window: Annotated[int, msgspec.Meta(ge=6, le=3600)]
    scale_to_zero_grace_period: Annotated[int, msgspec.Meta(ge=1, le=3600)]
    target_concurrency: Annotated[int, msgspec.Meta(ge=1, le=10000)]
    max_scale_limit: Annotated[int, msgspec.Meta(ge=0, le=1000)]
    initial_scale: Annotated[int, msgspec.Meta(ge=0, le=100)]
    progress_deadline: Annotated[int, msgspec.Meta(ge=10, le=86400)]
    skip_tag_resolving: Annotated[str, msgspec.Meta(pattern=_REGISTRIES)]
    log_level: Literal["debug", "info", "warn", "error"]


def config_maps(options: Options, queue_image: str) -> dict[str, dict[str, str]]:
    """The content of each ConfigMap by its name; the programs end where one is missing."""
    return {
        "config-autoscaler": {
            "enable-scale-to-zero": str(options.scale_to_zero).lower(),
            "stable-window": f"{options.stable_window}s",
            "scale-to-zero-grace-period": f"{options.scale_to_zero_grace_period}s",
            "container-concurrency-target-default": str(options.target_concurrency),
            "initial-scale": str(options.initial_scale),
            "allow-zero-initial-scale": "true",
            "max-scale-limit": str(options.max_scale_limit),
            # no default may be above the limit, and 0 is none
            "max-scale": str(options.max_scale_limit),
        },
        "config-certmanager": {},
        "config-defaults": {},
        "config-deployment": {
            "queue-sidecar-image": queue_image,
            "progress-deadline": f"{options.progress_deadline}s",
            "registries-skipping-tag-resolving": options.skip_tag_resolving,
        },
        # of the cluster's own domain no route leads outside: people come by the gateway
        "config-domain": {"svc.cluster.local": ""},
        "config-features": dict.fromkeys(_FEATURES, "enabled"),
        "config-gc": {},
        "config-leader-election": {},
        "config-logging": {f"loglevel.{each}": options.log_level for each in _PROGRAMS},
        "config-network": {
            "ingress-class": options.ingress_class,
            "mesh-compatibility-mode": "disabled",
        },
        "config-observability": {"metrics-protocol": "prometheus"},
    }
