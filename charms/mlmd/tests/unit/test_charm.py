"""ML Metadata's store: its flags, its config file, and that the password is in no argument."""

from __future__ import annotations

import dataclasses
import shlex

from ops import testing

from charmed_mlops.testing import DATABASE, database, relation

CONFIG = "/tmp/store.pbtxt"
MYSQL = f"""
  mysql {{
    host: "mariadb"
    port: 3306
    database: "db"
    user: "{DATABASE["username"]}"
    password: "{DATABASE["password"]}"
  }}
"""


def test_it_runs_with_upstreams_flags(charm):
    assert shlex.split(charm.service(charm.settled()).command) == [
        "/bin/metadata_store_server",
        "--grpc_port=8080",
        "--metadata_source_config_type=config_file",
        f"--metadata_store_server_config_file={CONFIG}",
        "--grpc_channel_arguments=grpc.max_metadata_size=16384,"
        "grpc.max_receive_message_length=104857600,grpc.max_send_message_length=104857600",
    ]


def test_the_database_is_in_a_file_that_only_its_user_reads(charm):
    out = charm.settled()
    text = charm.file(out, CONFIG)
    assert MYSQL in text
    assert "enable_upgrade_migration: true" in text
    root = out.get_container("mlmd").get_filesystem(charm.context())
    assert (root / CONFIG.lstrip("/")).stat().st_mode & 0o777 == 0o600
    assert charm.environment(out) == {}


def test_a_password_with_quotes_stays_one_string(charm):
    given, _ = database("database")
    user = testing.Secret({"username": "me", "password": "a \"b\\c' d"})
    data = {**given.remote_app_data, "secret-user": user.id}
    given = dataclasses.replace(given, remote_app_data=data)
    out = charm.settled(given, secrets=[user])
    assert r'''password: "a \"b\\c' d"''' in charm.file(out, CONFIG)


def test_it_encrypts_to_a_database_whose_ca_it_is_told(charm):
    assert "ssl_options" not in charm.file(charm.settled(), CONFIG)
    given, user = database("database", ca="a CA")
    out = charm.settled(given, secrets=[user])
    assert 'ssl_options { ca: "/tmp/database-ca/ca.pem" }' in charm.file(out, CONFIG)
    assert charm.file(out, "/tmp/database-ca/ca.pem") == "a CA"


def test_it_asks_for_a_database_of_its_own(charm):
    out = charm.run(relation("database", "mariadb"))
    assert charm.published(out, "database")["database"] == "metadb"


def test_it_says_where_it_answers(charm):
    out = charm.settled(relation("metadata", "kfp-api"))
    told = charm.published(out, "metadata")
    assert (
        f"{told['scheme']}://{told['host']}:{told['port']}"
        == "grpc://mlmd.shop.svc.cluster.local:8080"
    )
