"""What KServe's manager reads: its ConfigMap and storage settings.

Source of the keys: pkg/apis/serving/v1beta1/configmap.go and pkg/credentials of KServe v0.16.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from charmed_mlops import Blocked
from charmed_mlops.interfaces.s3 import Bucket

# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?")


def resources(config: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What a predictor's container requests and is limited to, unless it says otherwise.

    Raises:
        Blocked: an option is not a Kubernetes quantity.
    """
    found: dict[str, dict[str, str]] = {"requests": {}, "limits": {}}
    for resource in ("cpu", "memory"):
        for option, part in (("request", "requests"), ("limit", "limits")):
            name = f"predictor-{resource}-{option}"
            value = str(config[name])
            if not _QUANTITY.fullmatch(value):
                raise Blocked(f"config {name}={value}: must be a quantity such as 500m or 2Gi")
            found[part][resource] = value
    return found


def settings(
    images: Mapping[str, str], resources: Mapping[str, Mapping[str, str]], domain: str
) -> dict[str, Any]:
    """The sections of ConfigMap inferenceservice-config: no Knative, no Istio, no Ingress."""
    sidecar = {
        "memoryRequest": "100Mi",
        "memoryLimit": "1Gi",
        "cpuRequest": "50m",
        "cpuLimit": "1",
    }
    return {
        "deploy": {"defaultDeploymentMode": "Standard"},
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


def storage(bucket: Bucket) -> dict[str, str]:
    """Environment of the storage initializer for a bucket's service, keys included."""
    variables = {
        "AWS_ACCESS_KEY_ID": bucket.access_key,
        "AWS_SECRET_ACCESS_KEY": bucket.secret_key,
        "AWS_DEFAULT_REGION": bucket.region,
        "S3_USER_VIRTUAL_BUCKET": "0" if bucket.path_style else "1",
    }
    if bucket.endpoint:
        variables["AWS_ENDPOINT_URL"] = bucket.endpoint
        variables["S3_ENDPOINT"] = urlsplit(bucket.endpoint).netloc
        variables["S3_USE_HTTPS"] = "1" if bucket.endpoint.startswith("https:") else "0"
    return variables
