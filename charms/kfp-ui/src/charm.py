#!/usr/bin/env python3
"""Kubeflow Pipelines' interface: https://www.kubeflow.org/docs/components/pipelines/interfaces/"""

from __future__ import annotations

import json

import ops

from charmed_mlops import (
    Address,
    Blocked,
    ClusterResources,
    DashboardLinks,
    GatewayRoute,
    Http,
    Link,
    Route,
    S3Requirer,
    ServiceCharm,
    ServiceProvider,
    ServiceRequirer,
    pipelines,
)
from charmed_mlops.interfaces.s3 import CA_FILE

PORT = 3000
VIEWER = "/tmp/viewer-pod-template.json"
PAGES = {
    "Pipelines": ("pipelines", "flow:pipeline"),
    "Experiments": ("experiments", "done-all"),
    "Runs": ("runs", "maps:directions-run"),
    "Recurring runs": ("recurringruns", "device:access-alarm"),
    "Artifacts": ("artifacts", "editor:bubble-chart"),
    "Executions": ("executions", "av:play-arrow"),
}


class KfpUi(ServiceCharm):
    """No state: every unit serves."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="kfp-ui", ports=(PORT,))
        self.api = ServiceRequirer(self, "kfp-api")
        self.metadata = ServiceRequirer(self, "metadata-envoy")
        self.store = S3Requirer(self, "object-store")
        self.cluster = ClusterResources(self, "manifests")
        self.gateway = GatewayRoute(self, "gateway")
        self.links = DashboardLinks(self, "dashboard-links")
        self.address_provider = ServiceProvider(self, "kfp-ui")

    def reconcile(self) -> None:
        api, metadata = self.api.get(), self.metadata.get()
        bucket = self.store.get()
        at = pipelines.endpoint(bucket)
        self.cluster.apply(
            secret=pipelines.ARTIFACT_SECRET,
            pod_defaults=bool(self.config["pod-defaults"]),
            entrance=self.gateway.entrance(),
            bucket=bucket,
            folder=pipelines.folder(bucket, "$(tenant)"),
        )
        self.workload.run(
            command=f"node dist/server.js ../client/ {PORT}",
            working_dir="/server",
            files={
                VIEWER: json.dumps({"spec": {"serviceAccountName": "default-editor"}}),
                **bucket.files,
            },
            environment={
                **pipelines.USER,
                "DEPLOYMENT": "KUBEFLOW",
                "ENABLE_AUTHZ": "true",
                "FRONTEND_SERVER_NAMESPACE": self.model.name,
                "CLUSTER_DOMAIN": ".svc.cluster.local",
                # service links have upstream's names only
                "ML_PIPELINE_SERVICE_HOST": api.host,
                "ML_PIPELINE_SERVICE_PORT": str(api.port),
                "METADATA_ENVOY_SERVICE_SERVICE_HOST": metadata.host,
                "METADATA_ENVOY_SERVICE_SERVICE_PORT": str(metadata.port),
                # the host is put together with the namespace unless that is empty
                "MINIO_HOST": at.host,
                "MINIO_NAMESPACE": "",
                "MINIO_PORT": str(at.port),
                "MINIO_SSL": str(at.secure).lower(),
                "MINIO_ACCESS_KEY": bucket.access_key,
                "MINIO_SECRET_KEY": bucket.secret_key,
                # beside Node's own roots
                **({"NODE_EXTRA_CA_CERTS": CA_FILE} if bucket.ca else {}),
                "ARGO_ARCHIVE_LOGS": "true",
                "ARGO_ARCHIVE_ARTIFACTORY": "minio",
                "ARGO_ARCHIVE_BUCKETNAME": bucket.bucket,
                "ARGO_KEYFORMAT": pipelines.key_format(bucket),
                "ARTIFACTS_SERVICE_PROXY_ENABLED": "false",
                "ALLOW_CUSTOM_VISUALIZATIONS": self._on("custom-visualizations"),
                "HIDE_SIDENAV": self._on("hide-side-navigation"),
                "DISABLE_GKE_METADATA": "true",
                "VIEWER_TENSORBOARD_POD_TEMPLATE_SPEC_PATH": VIEWER,
                "VIEWER_TENSORBOARD_TF_IMAGE_NAME": self.images()["tensorboard"].rpartition(":")[
                    0
                ],
            },
            check=Http(PORT, "/apis/v1beta1/healthz"),
            version=pipelines.VERSION,
        )
        self.address_provider.publish(Address(self.address, PORT))
        self.gateway.publish(Route("pipeline", "/pipeline/", self.address, PORT))
        self.links.publish(
            *(
                Link(text, f"/pipeline/#/{page}", icon=icon)
                for text, (page, icon) in PAGES.items()
            ),
            Link(
                "Upload a pipeline",
                "/pipeline/#/pipelines",
                location="quick",
                desc="Pipelines",
            ),
        )
        # the rest of the page works: isAllowedResourceName in upstream's frontend/server/utils.ts
        if "." in bucket.bucket:
            raise Blocked(
                f"bucket {bucket.bucket}: the page shows no artifacts of one with a dot: "
                "use another"
            )

    def _on(self, option: str) -> str:
        return str(bool(self.config[option])).lower()


if __name__ == "__main__":
    ops.main(KfpUi)
