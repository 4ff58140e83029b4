"""ML Metadata's store: its flags, and that the password is in none of them."""

from __future__ import annotations

import shlex
import string

from charmed_mlops.testing import DATABASE, relation


def flags(charm, out) -> list[str]:
    """The words that the program gets once the shell has put the environment in."""
    shell, option, text = shlex.split(charm.service(out).command)
    assert (shell, option) == ("/bin/sh", "-c")
    return shlex.split(string.Template(text).substitute(charm.environment(out)))


def test_it_runs_with_upstreams_flags(charm):
    assert flags(charm, charm.settled()) == [
        "exec",
        "/bin/metadata_store_server",
        "--grpc_port=8080",
        "--mysql_config_database=db",
        "--mysql_config_host=mariadb",
        "--mysql_config_port=3306",
        f"--mysql_config_user={DATABASE['username']}",
        f"--mysql_config_password={DATABASE['password']}",
        "--enable_database_upgrade=true",
        "--grpc_channel_arguments=grpc.max_metadata_size=16384,"
        "grpc.max_receive_message_length=104857600,grpc.max_send_message_length=104857600",
    ]


def test_a_password_with_blanks_and_quotes_stays_one_word(charm):
    # the shell splits no variable that stands in double quotes
    command = charm.service(charm.settled()).command
    assert '"--mysql_config_password=$DBCONFIG_PASSWORD"' in command


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
