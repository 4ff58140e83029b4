"""Rights as the API server's audit log has them, from all tests before."""

from __future__ import annotations

import jubilant
import pytest
from audit import Right, asked, declared, refused
from browsers import namespace_of
from reach import EngineReach

pytestmark = [pytest.mark.last, pytest.mark.localjuju]
# Kinds that nothing in these tests needs, and what they are for.
UNUSED = {
    "argo-controller": {
        ("", "persistentvolumeclaims"): "volumeClaimTemplates of a workflow",
        ("", "secrets"): "certificates for steps that are HTTP calls",
        ("", "serviceaccounts"): "a step whose executor has an account of its own",
        ("argoproj.io", "workflowartifactgctasks"): "artifacts that go with their workflow",
        ("argoproj.io", "workflowtasksets"): "steps that are HTTP calls or plugins",
        ("policy", "poddisruptionbudgets"): "a workflow that asks for one",
    },
    "katib-controller": {
        ("", "persistentvolumes"): "a suggestion's volume of a given kind",
        ("apps", "statefulsets"): "whose a notebook's pod is",
    },
    "kserve-controller": {
        ("keda.sh", "scaledobjects"): "a cluster with KEDA",
        ("opentelemetry.io", "opentelemetrycollectors"): "a cluster with OpenTelemetry's operator",
        ("serving.knative.dev", "services"): "a cluster with Knative",
        ("serving.kserve.io", "inferencegraphs"): "graphs of models",
        ("serving.kserve.io", "trainedmodels"): "several models in one server",
    },
    "trainer": {
        ("", "limitranges"): "gang scheduling",
        ("", "nodes"): "gang scheduling",
        ("", "pods/log"): "the action logs",
        ("authentication.k8s.io", "tokenreviews"): "JobSet's metrics, for who may read them",
        ("authorization.k8s.io", "subjectaccessreviews"): "JobSet's metrics",
        ("node.k8s.io", "runtimeclasses"): "gang scheduling",
        ("scheduling.volcano.sh", "podgroups"): "gang scheduling by Volcano",
        ("scheduling.x-k8s.io", "podgroups"): "gang scheduling by the coscheduling plugin",
    },
    "training-operator": {
        ("", "pods/exec"): "the role that it makes for an MPIJob's launcher",
        ("", "pods/log"): "the action logs",
        ("autoscaling", "horizontalpodautoscalers"): "elastic PyTorchJobs",
        ("scheduling.volcano.sh", "podgroups"): "gang scheduling by Volcano",
        ("scheduling.x-k8s.io", "podgroups"): "gang scheduling by the coscheduling plugin",
    },
}


def test_no_application_is_refused_what_it_needs_of_kubernetes(
    stack: jubilant.Juju, reach: EngineReach
):
    assert refused(reach.audit_log, stack) == set()


@pytest.mark.parametrize("name", UNUSED)
def test_a_controller_that_runs_for_real_uses_every_kind_of_its_role(
    stack: jubilant.Juju, reach: EngineReach, name: str
):
    """Parts of a kind count as the kind: nobody asks for `finalizers` where none is enforced."""
    namespace = namespace_of(stack)
    used = {_kind(each) for each in asked(reach.audit_log, namespace)[name].allowed}
    given = {_kind(each) for each in declared(reach, namespace)[name]}
    assert given - used <= set(UNUSED[name])


def _kind(right: Right) -> tuple[str, str]:
    kind, _, part = right.resource.partition("/")
    return right.group, kind if part in ("status", "finalizers") else right.resource
