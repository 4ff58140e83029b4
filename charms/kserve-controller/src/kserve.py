"""What KServe's manager reads: its ConfigMap and storage settings.

Source of the keys: pkg/apis/serving/v1beta1/configmap.go and pkg/credentials of KServe v0.16.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from charmed_mlops import Quantity


class Options(msgspec.Struct, kw_only=True):
    """The charm's options; what a predictor gets unless its InferenceService says otherwise."""

    log_level: Literal["debug", "info", "error"]
    deployment_mode: Literal["Standard", "Knative"]
    domain: str
    http_proxy: str
    https_proxy: str
    no_proxy: str
    predictor_cpu_request: Quantity
    predictor_cpu_limit: Quantity
    predictor_memory_request: Quantity
    predictor_memory_limit: Quantity

    @property
    def resources(self) -> dict[str, dict[str, str]]:
        """As a container has them."""
        return {
            "requests": {
                "cpu": self.predictor_cpu_request,
                "memory": self.predictor_memory_request,
            },
            "limits": {"cpu": self.predictor_cpu_limit, "memory": self.predictor_memory_limit},
        }


def settings(
    images: Mapping[str, str],
    resources: Mapping[str, Mapping[str, str]],
    domain: str,
    mode: Literal["Standard", "Knative"],
) -> dict[str, Any]:
    """The sections of ConfigMap inferenceservice-config: no Istio, no Ingress.

    Args:
        images: by the name that the charm's option `images` has for them.
        resources: of a predictor that names none.
        domain: of the URLs in the status of what is no Knative Service.
        mode: of an InferenceService that names none.
    """
    sidecar = {
        "memoryRequest": "100Mi",
        "memoryLimit": "1Gi",
        "cpuRequest": "50m",
        "cpuLimit": "1",
    }
    return {
        "deploy": {"defaultDeploymentMode": mode},
        "ingress": {
            # the manager insists on these names; nothing uses them while no ingress is made
            "ingressGateway": "none/none",
            "localGateway": "none/none",
            "localGatewayService": "none",
            "ingressDomain": domain,
            "domainTemplate": "{{ .Name }}.{{ .Namespace }}.{{ .IngressDomain }}",
            "urlScheme": "http",
            "disableIstioVirtualHost": True,
            "disableIngressCreation": True,
            "enableGatewayApi": False,
        },
        "inferenceService": {
            "resource": {
                "cpuRequest": resources["requests"]["cpu"],
                "memoryRequest": resources["requests"]["memory"],
                "cpuLimit": resources["limits"]["cpu"],
                "memoryLimit": resources["limits"]["memory"],
            }
        },
        "storageInitializer": {
            "image": images["storage-initializer"],
            **sidecar,
            "caBundleConfigMapName": "",
            "caBundleVolumeMountPath": "/etc/ssl/custom-certs",
            "enableModelcar": True,
            "cpuModelcar": "10m",
            "memoryModelcar": "15Mi",
        },
        "credentials": {
            "storageSpecSecretName": "storage-config",
            "storageSecretNameAnnotation": "serving.kserve.io/storageSecretName",
        },
        "agent": {"image": images["agent"], **sidecar},
        "logger": {"image": images["agent"], **sidecar, "defaultUrl": "http://default-broker"},
        "batcher": {
            "image": images["agent"],
            **sidecar,
            "maxBatchSize": "32",
            "maxLatency": "5000",
        },
        "router": {"image": images["router"], **sidecar, "imagePullPolicy": "IfNotPresent"},
        "autoscaler": {
            "scaleUpStabilizationWindowSeconds": "0",
            "scaleDownStabilizationWindowSeconds": "300",
        },
        "metricsAggregator": {
            "enableMetricAggregation": "false",
            "enablePrometheusScraping": "false",
        },
        "localModel": {"enabled": False, "jobNamespace": "none"},
        "security": {"autoMountServiceAccountToken": False},
    }
