"""What an administrator does wrong at the door is said in one line, and people still log in."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Iterator

import jubilant
import pytest
import yaml
from browsers import NewClient, login, settle
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from people import Account, Accounts

# .invalid is a name that nobody has: RFC 2606; nothing listens on a pod's port 1
SILENT = [
    {"type": "ldap", "id": "company", "name": "Company", "config": {
        "host": "127.0.0.1:1", "insecureNoSSL": True,
        "userSearch": {"baseDN": "dc=x", "username": "mail", "idAttr": "uid"},
    }},
    {"type": "oidc", "id": "other", "name": "Other", "config": {
        "issuer": "https://issuer.invalid", "clientID": "us",
    }},
]  # fmt: skip


def expired() -> dict[str, str]:
    """A certificate that was valid until yesterday, and its key, as PEM texts."""
    now = datetime.datetime.now(datetime.timezone.utc)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ml.example.com")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=9))
        .not_valid_after(now - datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return {
        "certificate": certificate.public_bytes(serialization.Encoding.PEM).decode(),
        "private-key": key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
    }


@pytest.fixture
def logs_in(new_client: NewClient, accounts: Accounts):
    """Whether somebody who was not logged in gets in."""

    def check(account: Account = accounts.ann) -> bool:
        answer = login(new_client(), account.email, account.password, "/mlflow/")
        return answer.url.path == "/mlflow/" and answer.status_code == 200

    return check


@pytest.fixture
def option(stack: jubilant.Juju) -> Iterator:
    """Sets an option until the test ends; the status of the application's first unit."""
    changed: list[tuple[str, str]] = []

    def change(application: str, name: str, value: str) -> str:
        changed.append((application, name))
        stack.config(application, {name: value})
        status = stack.wait(lambda status: jubilant.any_blocked(status, application), timeout=300)
        return status.apps[application].units[f"{application}/0"].workload_status.message

    yield change
    for application, name in changed:
        stack.config(application, reset=name)
    settle(stack)


def test_a_malformed_connector_is_named(option, logs_in):
    message = option("dex", "connectors", "[{type: ftp}]")
    assert message.startswith("config connectors: 0: Input tag 'ftp'"), message
    assert logs_in()


def test_a_directory_and_an_issuer_that_do_not_answer_are_named_and_keep_nobody_out(
    stack: jubilant.Juju, logs_in
):
    uri = stack.add_secret(f"logins-{secrets.token_hex(3)}", {"other-client-secret": "x"})
    stack.grant_secret(uri, "dex")
    stack.config("dex", {"connectors": yaml.safe_dump(SILENT), "connector-secrets": str(uri)})
    settle(stack)
    try:
        assert logs_in()
        said = stack.run("dex/leader", "check-connectors").results
        assert said["company"].startswith("does not answer: "), said
        assert said["other"].startswith("does not answer: "), said
    finally:
        stack.config("dex", reset=["connectors", "connector-secrets"])
        settle(stack)


def test_a_certificate_that_has_expired_is_named(stack: jubilant.Juju, option, logs_in):
    uri = stack.add_secret(f"expired-{secrets.token_hex(3)}", expired())
    stack.grant_secret(uri, "gateway")
    message = option("gateway", "tls-secret", str(uri))
    assert message.startswith("config tls-secret: the certificate expired on "), message
    assert logs_in()


@pytest.mark.parametrize(
    ("unit", "action", "parameters", "said"),
    [
        ("dex/leader", "add-user", {"email": "ANN"}, "there is a user ANN already"),
        ("profiles/leader", "create-profile", {"name": "default", "owner": "ann@example.com"},
         "there is a namespace default already"),
        ("profiles/leader", "apply-tenants",
         {"tenants": "profiles: {a: {owner: x, quotta: {}}}"},
         "tenants: profiles.a.quotta: is unknown"),
    ],
    ids=["a user who is there", "a namespace that is no profile", "tenants with a typo"],
)  # fmt: skip
def test_an_action_that_makes_no_sense_fails_with_the_reason(
    stack: jubilant.Juju, accounts: Accounts, logs_in, unit: str, action: str,
    parameters: dict[str, str], said: str,
):  # fmt: skip
    ann = accounts.ann.email
    with pytest.raises(jubilant.TaskError) as failed:
        stack.run(unit, action, {key: ann if value == "ANN" else value
                                 for key, value in parameters.items()})  # fmt: skip
    assert failed.value.task.message.startswith(said.replace("ANN", ann))
    assert logs_in()
