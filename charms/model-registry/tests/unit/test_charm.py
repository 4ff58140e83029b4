"""The model registry: its command, its database, who reaches it, what pages find it by."""

from __future__ import annotations

import json
import shlex

from charmed_mlops.testing import DATABASE, database, relation

DSN = f"{DATABASE['username']}:{DATABASE['password']}@tcp(mariadb:3306)/db?charset=utf8mb4"


def test_it_runs_the_images_program_with_the_password_in_its_environment_only(charm):
    out = charm.settled()
    assert shlex.split(charm.service(out).command) == [
        "/model-registry",
        "proxy",
        "--hostname=0.0.0.0",
        "--port=8080",
        "--datastore-type=embedmd",
        "--embedmd-database-type=mysql",
    ]
    assert charm.environment(out) == {"HOME": "/tmp", "MR_EMBEDMD_DATABASE_DSN": DSN}


def test_it_checks_the_certificate_of_a_database_whose_ca_it_is_told(charm):
    given, user = database("database", ca="a CA")
    out = charm.settled(given, secrets=[user])
    flags = charm.service(out).command.split()
    assert "--embedmd-database-ssl-ca=/tmp/database-ca/ca.pem" in flags
    assert "--embedmd-database-ssl-verify-server-cert" in flags
    assert charm.file(out, "/tmp/database-ca/ca.pem") == "a CA"


def test_its_database_is_not_that_of_ml_metadata(charm):
    out = charm.run(relation("database", "mariadb"))
    assert charm.published(out, "database")["database"] == "model_registry"


def test_it_says_where_it_answers(charm):
    out = charm.settled(relation("model-registry", "model-registry-ui"))
    told = charm.published(out, "model-registry")
    assert (
        f"{told['scheme']}://{told['host']}:{told['port']}"
        == "http://model-registry--serving.shop.svc.cluster.local:8080"
    )


# who reaches it


def test_the_gateway_lets_those_in_who_have_logged_in(charm):
    out = charm.settled(relation("gateway"))
    (route,) = json.loads(charm.published(out, "gateway")["routes"])
    assert (route["prefix"], route["rewrite"]) == ("/api/model_registry/", None)
    assert (route["port"], route["access"]) == (8080, "user")


def test_pods_of_users_do_not_reach_it_unless_it_is_opened_to_them(charm):
    def users(out):
        rules = charm.manifest(out, "NetworkPolicy", "model-registry")["spec"]["ingress"]
        return [port["port"] for rule in rules for port in rule.get("ports", ())]

    assert users(charm.settled(relation("gateway"))) == []
    assert users(charm.settled(config={"open-to-pods": True})) == [8080]


# what pages find it by


def test_its_service_has_what_upstreams_page_looks_for(charm):
    config = {"display-name": "Team's: models", "description": "all of them"}
    service = charm.manifest(charm.settled(config=config), "Service", "model-registry-service")
    assert service["metadata"]["labels"] == {"component": "model-registry"}
    assert service["metadata"]["annotations"] == {
        "displayName": "Team's: models",
        "description": "all of them",
    }
    (port,) = service["spec"]["ports"]
    assert (port["name"], port["port"], port["appProtocol"]) == ("http-api", 8080, "http")


def test_a_related_page_finds_it_in_every_tenants_namespace_by_a_service_that_leads_nowhere(charm):
    page = relation("model-registry", "model-registry-ui")
    (service,) = charm.tenant_manifests(charm.settled(page, config={"display-name": "Models"}))
    assert (service["kind"], service["metadata"]["name"]) == ("Service", "model-registry")
    assert service["metadata"]["labels"] == {"component": "model-registry"}
    assert service["metadata"]["annotations"]["displayName"] == "Models"
    (port,) = service["spec"].pop("ports")
    assert (port["name"], port["port"]) == ("http-api", 8080)
    assert service["spec"] == {"clusterIP": "None"}
    assert charm.tenant_manifests(charm.settled()) == []


def test_its_service_leads_to_the_same_pods_as_the_one_that_clients_are_told(charm):
    out = charm.settled()
    mine, told = (
        charm.manifest(out, "Service", f"model-registry{end}")["spec"]["selector"]
        for end in ("-service", "--serving")
    )
    assert mine == told
