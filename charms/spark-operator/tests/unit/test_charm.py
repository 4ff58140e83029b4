"""The Spark operator: two services, the webhook's certificate, rights, actions."""

from __future__ import annotations

import shlex

import pytest
from ops import testing

SECRET = "spark-operator-webhook-certificate"


def flags(charm, out, service: str) -> list[str]:
    return shlex.split(charm.service(out, name=service).command)


def rules(charm, out) -> dict[str, list[str]]:
    """Verbs by resource, of the operator's cluster role."""
    return {
        resource: rule["verbs"]
        for rule in charm.manifest(out, "ClusterRole", "shop-spark-operator-controller")["rules"]
        for resource in rule["resources"]
    }


def test_the_two_services_ask_at_ports_of_their_own(charm):
    plan = charm.settled().get_container("spark-operator").plan
    asked = {name: check.http["url"] for name, check in plan.checks.items() if check.http}
    assert asked["spark-operator"] == "http://localhost:8081/readyz"
    assert asked["webhook"] == "http://localhost:8082/readyz"
    assert "--health-probe-bind-address=:8082" in plan.services["webhook"].command


def test_the_webhook_reads_the_charm_s_certificate_from_the_secret(charm):
    out = charm.settled()
    content = charm.kubernetes_secret(out, SECRET)
    assert set(content) == {"ca.crt", "tls.crt", "tls.key"}
    assert content["tls.key"].startswith("-----BEGIN RSA PRIVATE KEY-----")
    given = flags(charm, out, "webhook")
    assert f"--webhook-secret-name={SECRET}" in given
    # so it makes none of its own, and needs no right to change webhook configurations
    assert "--enable-cert-manager=true" in given


def test_a_renewed_certificate_is_in_the_secret_before_the_webhook_restarts(charm):
    out = charm.settled()
    context = charm.context()
    renewed = context.run(context.on.action("renew-certificate"), out)
    before, after = (charm.kubernetes_secret(each, SECRET) for each in (out, renewed))
    assert after["tls.key"] != before["tls.key"]
    # it reads the Secret when it starts, so it waits for the broker
    assert charm.service(renewed, name="webhook") == charm.service(out, name="webhook")
    applied = charm.applied(renewed)
    service = charm.service(applied, name="webhook")
    assert service.environment != charm.service(out, name="webhook").environment
    assert charm.service(applied) == charm.service(out)


def test_it_reads_its_own_secret_alone(charm):
    (rule,) = charm.manifest(charm.settled(), "Role", "spark-operator-certificate")["rules"]
    assert (rule["resourceNames"], rule["verbs"]) == ([SECRET], ["get"])
    assert "secrets" not in rules(charm, charm.settled())


def test_webhooks_carry_the_charm_s_ca_and_see_spark_s_pods_alone(charm):
    out = charm.settled()
    mutating = charm.manifest(out, "MutatingWebhookConfiguration")["webhooks"]
    validating = charm.manifest(out, "ValidatingWebhookConfiguration")["webhooks"]
    assert len({each["clientConfig"]["caBundle"] for each in [*mutating, *validating]}) == 1
    (pods,) = [each for each in mutating if each["rules"][0]["resources"] == ["pods"]]
    label = "sparkoperator.k8s.io/launched-by-spark-operator"
    assert pods["objectSelector"] == {"matchLabels": {label: "true"}}
    assert {each["clientConfig"]["service"]["path"] for each in validating} == {
        "/validate-sparkoperator-k8s-io-v1beta2-sparkapplication",
        "/validate-sparkoperator-k8s-io-v1beta2-scheduledsparkapplication",
        "/validate-sparkoperator-k8s-io-v1alpha1-sparkconnect",
    }


def test_drivers_and_executors_of_a_tenant_answer_no_other(charm):
    (policy,) = charm.tenant_manifests(charm.settled())
    (rule,) = policy["spec"]["ingress"]
    own, operator = rule["from"]
    assert own == {"podSelector": {}}
    assert operator["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "spark-operator"}


def test_only_volcano_needs_rights_on_its_groups_of_pods(charm):
    plain = charm.settled()
    assert "--enable-batch-scheduler=true" not in flags(charm, plain, "spark-operator")
    assert "podgroups" not in rules(charm, plain)
    out = charm.settled(config={"gang-scheduler": "volcano"})
    assert "--default-batch-scheduler=volcano" in flags(charm, out, "spark-operator")
    assert "podgroups" in rules(charm, out)
    assert "podgroups" not in rules(charm, charm.settled(config={"gang-scheduler": "yunikorn"}))


def test_options_reach_the_program(charm):
    out = charm.settled(config={"threads": 2, "ui-service": True, "log-level": "debug"})
    given = flags(charm, out, "spark-operator")
    assert {"--controller-threads=2", "--enable-ui-service=true"} <= set(given)
    assert "--zap-log-level=debug" in given
    assert "--zap-log-level=debug" in flags(charm, out, "webhook")


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"threads": 0}, "config threads=0: "),
        ({"gang-scheduler": "kueue"}, "config gang-scheduler=kueue: must be one of "),
        ({"log-level": "loud"}, "config log-level=loud: must be one of debug, info or error"),
    ],
)
def test_a_wrong_option_is_named(charm, config, text):
    assert charm.refusal(config).startswith(text)


PATH = "/apis/sparkoperator.k8s.io/v1beta2/namespaces/a/sparkapplications"


def application(name: str, state: str = "", message: str = "", **status: object) -> dict:
    found = {"state": state, **({"errorMessage": message} if message else {})}
    return {
        "metadata": {"namespace": "a", "name": name},
        "spec": {"type": "Python"},
        "status": {"applicationState": found, **status},
    }


def test_applications_are_listed_with_state_and_reason(charm, api):
    api.add(
        PATH, application("bad", "FAILED", "driver container failed\n with 1", executionAttempts=2)
    )
    api.add(PATH, {**application("new"), "status": None})
    found = charm.act("list-applications", charm.settled(), namespace="a")["applications"]
    assert found["1"] == {
        "namespace": "a",
        "name": "bad",
        "type": "Python",
        "state": "FAILED",
        "attempts": "2",
        "reason": "driver container failed with 1",
    }
    assert (found["2"]["state"], found["2"]["attempts"]) == ("NEW", "0")


def test_an_application_is_suspended_and_resumed_but_not_when_it_has_ended(charm, api):
    api.add(PATH, application("runs", "RUNNING"))
    api.add(PATH, application("ended", "COMPLETED"))
    out = charm.settled()
    assert charm.act("suspend", out, namespace="a", name="runs") == {"suspended": "true"}
    assert api.get(PATH, "runs")["spec"]["suspend"] is True
    assert charm.act("resume", out, namespace="a", name="runs") == {"suspended": "false"}
    with pytest.raises(testing.ActionFailed, match="a/ended is COMPLETED"):
        charm.act("suspend", out, namespace="a", name="ended")


def test_the_log_of_an_application_without_a_driver_says_so(charm, api):
    api.add(PATH, application("new"))
    with pytest.raises(testing.ActionFailed, match="a/new has no driver yet"):
        charm.act("driver-log", charm.settled(), namespace="a", name="new")


def test_the_driver_s_log_is_that_of_the_pod_that_the_operator_names(charm, api):
    api.add(PATH, application("bad", "FAILED", driverInfo={"podName": "bad-driver"}))
    charm.act("driver-log", charm.settled(), namespace="a", name="bad", lines=5)
    assert api.calls[-1] == "GET /api/v1/namespaces/a/pods/bad-driver/log"
