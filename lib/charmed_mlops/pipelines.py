"""What the charms of Kubeflow Pipelines 2.16 share: names, ports, artifacts, identity."""

from __future__ import annotations

import json
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charmed_mlops.errors import Blocked

if TYPE_CHECKING:
    from charmed_mlops.interfaces.s3 import Bucket
    from charmed_mlops.interfaces.service import Address

VERSION = "2.16.0"
HTTP_PORT, GRPC_PORT = 8888, 8887
"""Of the API server; the driver in a run's pods has the second one compiled in."""
METADATA_PORT = 8080
"""Of ML Metadata; the driver has it compiled in, too."""

# The door sets this header once it knows who somebody is. The prefix has to be there, empty:
# without it the API server takes the one of Google's proxy.
USER = {"KUBEFLOW_USERID_HEADER": "kubeflow-userid", "KUBEFLOW_USERID_PREFIX": ""}

ONE_UNIT = "Kubernetes starts it again"
"""What stands for high availability of controllers that elect no leader."""

ARTIFACT_SECRET = "mlpipeline-minio-artifact"
"""Secret with `accesskey` and `secretkey` in a tenant's namespace; its name is upstream's."""
ARTIFACTS = "private-artifacts"
"""Below it each tenant has a folder of its namespace's name."""


@dataclass(frozen=True)
class Endpoint:
    """Where a bucket is, as the pipelines' programs want it: host and port apart.

    Attributes:
        host: DNS name, without scheme.
        port: TCP port.
        secure: whether TLS is spoken.
        default_port: whether the port is the scheme's own.
    """

    host: str
    port: int
    secure: bool
    default_port: bool

    @property
    def authority(self) -> str:
        """`HOST`, or `HOST:PORT` where the port is not the scheme's own."""
        return self.host if self.default_port else f"{self.host}:{self.port}"


def endpoint(bucket: Bucket) -> Endpoint:
    """The bucket's endpoint; AWS's own where it names none."""
    url = urllib.parse.urlsplit(bucket.endpoint or "https://s3.amazonaws.com")
    secure = url.scheme == "https"
    port = url.port or (443 if secure else 80)
    return Endpoint(url.hostname or "", port, secure, port == (443 if secure else 80))


def folder(bucket: Bucket, *parts: str) -> str:
    """A path in the bucket, below the prefix that the provider gave."""
    return "/".join([part for part in (bucket.path, ARTIFACTS, *parts) if part])


def key_format(bucket: Bucket) -> str:
    """Where Argo puts a step's artifacts and log, and where the interface looks for them."""
    day = "/".join(f"{{{{workflow.creationTimestamp.{unit}}}}}" for unit in "Ymd")
    return folder(bucket, "{{workflow.namespace}}", "{{workflow.name}}", day, "{{pod.name}}")


def artifact_repository(bucket: Bucket) -> dict[str, Any]:
    """Argo's artifact repository; the keys are those of the workflow's own namespace.

    Source: https://argo-workflows.readthedocs.io/en/latest/configure-artifact-repository/
    """
    at = endpoint(bucket)
    return {
        "archiveLogs": True,
        "s3": {
            "endpoint": at.authority,
            "bucket": bucket.bucket,
            "region": bucket.region,
            "insecure": not at.secure,
            "keyFormat": key_format(bucket),
            "accessKeySecret": {"name": ARTIFACT_SECRET, "key": "accesskey"},
            "secretKeySecret": {"name": ARTIFACT_SECRET, "key": "secretkey"},
        },
    }


def launcher(bucket: Bucket, tenant: str) -> dict[str, str]:
    """Content of ConfigMap kfp-launcher: where a tenant's artifacts go and whose key is used.

    Source: https://www.kubeflow.org/docs/components/pipelines/operator-guides/configure-object-store/
    """
    at = endpoint(bucket)
    provider = {
        "endpoint": at.authority,
        "region": bucket.region,
        "disableSSL": not at.secure,
        "credentials": {
            "fromEnv": False,
            "secretRef": {
                "secretName": ARTIFACT_SECRET,
                "accessKeyKey": "accesskey",
                "secretKeyKey": "secretkey",
            },
        },
    }
    return {
        "defaultPipelineRoot": f"minio://{bucket.bucket}/{folder(bucket, tenant, 'v2/artifacts')}",
        "providers": json.dumps({"minio": {"default": provider}}, sort_keys=True),
    }


def neighbour(address: Address, model: str) -> str:
    """The name of a Service that the API server looks for in its own namespace only.

    Raises:
        Blocked: it is in another one.
    """
    name, _, rest = address.host.partition(".")
    if rest.partition(".")[0] != model:
        raise Blocked(f"{address.host} is not in model {model}: deploy it beside the API server")
    return name


def with_token(name: str, program: str) -> str:
    """A command that runs `program` with the pod's own token where upstream's code looks for it.

    Upstream mounts a token for an audience of its own at a path that is compiled in. A charm
    cannot declare such a volume. The kubelet renews the pod's token behind the link. The container
    has to run as root: /var/run/secrets is root's.
    """
    link = f"/var/run/secrets/kubeflow/tokens/{name}"
    return (
        f"/bin/sh -c 'mkdir -p {link.rpartition('/')[0]}"
        f" && ln -sfn /var/run/secrets/kubernetes.io/serviceaccount/token {link}"
        f" && exec {program}'"
    )
