#!/usr/bin/env python3
"""Katib's controller: tunes hyperparameters. https://www.kubeflow.org/docs/components/katib/"""

from __future__ import annotations

from typing import Annotated, Any

import experiments
import msgspec
import ops

from charmed_mlops import (
    ClusterResources,
    File,
    Http,
    Metrics,
    Quantity,
    Reach,
    ServiceCharm,
    ServiceRequirer,
    WebhookCertificate,
    Where,
    katib,
)

VERSION = "0.19.0"
CONFIG = "/tmp/katib-config.yaml"  # the image's user may not write to /
CERTIFICATES = "/tmp/cert"  # fixed in Katib
_KIND = r"[A-Z]\w*\.v\w+\.[a-z0-9.-]+"
# the trials that its role has anyway: 20-roles.yaml.j2
_USUAL = {
    ("batch", "jobs"), ("trainer.kubeflow.org", "trainjobs"), ("argoproj.io", "workflows"),
    ("kubeflow.org", "tfjobs"), ("kubeflow.org", "pytorchjobs"), ("kubeflow.org", "mpijobs"),
    ("kubeflow.org", "xgboostjobs"),
}  # fmt: skip


class Options(msgspec.Struct, kw_only=True):
    """The charm's options."""

    trial_resources: Annotated[str, msgspec.Meta(pattern=rf"^\s*{_KIND}(\s+{_KIND})*\s*\Z")]
    suggestion_cpu_limit: Quantity
    suggestion_memory_limit: Quantity


def unusual(kinds: list[str]) -> list[tuple[str, str]]:
    """Group and plural of the trials whose rights its role does not have anyway."""
    parts = [each.split(".", 2) for each in kinds]
    return sorted({(group, _plural(kind.lower())) for kind, _, group in parts} - _USUAL)


def _plural(kind: str) -> str:
    """As Kubernetes guesses it: UnsafeGuessKindToResource in apimachinery."""
    if kind.endswith("s"):
        return f"{kind}es"
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"


class KatibController(ServiceCharm):
    """All units answer webhooks; the one that Katib elects runs experiments."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="katib-controller")
        self.db_manager = ServiceRequirer(self, "db-manager")
        self.certificate = WebhookCertificate(self)
        self.cluster = ClusterResources(self, "manifests")
        self.metrics = Metrics(self, port=8080)

    def reconcile(self) -> None:
        options = self.options(Options)
        images = self.images()
        database = self.db_manager.get()
        certificate = self.certificate.current()
        kinds = options.trial_resources.split()
        config = self.render(
            "katib-config.yaml.j2",
            images=images,
            kinds=kinds,
            cpu=options.suggestion_cpu_limit,
            memory=options.suggestion_memory_limit,
        )
        self.cluster.apply(
            Reach(anyone=(8443,)),
            ca=certificate.ca,
            images=images,
            config=config,
            trials=unusual(kinds),
        )
        self.workload.run(
            command=f"./katib-controller --katib-config={CONFIG}",
            working_dir="/app",
            files={
                CONFIG: config,
                f"{CERTIFICATES}/tls.crt": certificate.chain,
                f"{CERTIFICATES}/tls.key": File(certificate.key, mode=0o600),
            },
            environment=katib.environment(self.model.name, database),
            check=Http(18080, "/readyz"),
            alive=Http(18080, "/healthz"),
            version=VERSION,
        )
        self.set_ports(8080, 8443)
        self.metrics.publish()

    def action_list_experiments(self, params: Where) -> dict[str, Any]:
        """What runs, what has ended, with what result."""
        return experiments.listed(params)

    def action_resume(self, params: experiments.Resume) -> dict[str, str]:
        """Give an experiment further trials."""
        return experiments.resume(params)

    def action_purge(self, params: experiments.Purge) -> dict[str, str]:
        """Delete old experiments, or list them."""
        return experiments.purge(params)


if __name__ == "__main__":
    ops.main(KatibController)
