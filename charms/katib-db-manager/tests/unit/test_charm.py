"""Katib's database manager: what it is told of the database, and where it says it answers."""

from __future__ import annotations

from charmed_mlops.testing import DATABASE, relation


def test_it_gets_the_database_by_its_environment(charm):
    out = charm.settled()
    assert charm.service(out).command == "./katib-db-manager"
    assert charm.environment(out) == {
        "DB_NAME": "mysql",
        "DB_USER": DATABASE["username"],
        "DB_PASSWORD": DATABASE["password"],
        "KATIB_MYSQL_DB_HOST": "mariadb",
        "KATIB_MYSQL_DB_PORT": "3306",
        "KATIB_MYSQL_DB_DATABASE": "db",
    }


def test_it_asks_for_a_database_of_its_own(charm):
    out = charm.run(relation("database", "mariadb"))
    asked = charm.published(out, "database")
    assert asked["database"] == "katib"
    assert "tls-ca" not in asked["requested-secrets"]  # which says that it cannot encrypt
    assert out.unit_status.message == "waiting for mariadb to give a database"


def test_it_says_where_it_answers(charm):
    out = charm.settled(relation("db-manager", "katib-controller"))
    assert charm.published(out, "db-manager") == {
        "version": "1",
        "host": "katib-db-manager.shop.svc.cluster.local",
        "port": "6789",
        "scheme": "grpc",
    }
