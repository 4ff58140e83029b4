"""A hook that finds all settled reads each secret once.

With ops a reading is two calls of the hook command secret-get: one finds the secret by its label,
one has the unit follow its newest revision. Each is a process of its own in the pod.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import ops
import pytest
from ops import testing

from charmed_mlops.testing import ROOT, Charm, loaded, relation

ONCE = 2
SQL = ["/usr/bin/mariadb", "--defaults-file=/etc/mysql/charm.cnf", "--batch"]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each secret was asked for since it was cleared."""
    found: Counter[str] = Counter()
    get_secret, get_content = ops.Model.get_secret, ops.Secret.get_content

    def find(self, *, id: str | None = None, label: str | None = None) -> ops.Secret:
        found[label or id or ""] += 1
        return get_secret(self, id=id, label=label)

    def read(self, *, refresh: bool = False) -> dict[str, str]:
        found[self.label or self.id or ""] += refresh
        return get_content(self, refresh=refresh)

    monkeypatch.setattr(ops.Model, "get_secret", find)
    monkeypatch.setattr(ops.Secret, "get_content", read)
    return found


def mariadb(charm: Charm, folder: Path) -> testing.State:
    """With two clients, whose server has started."""
    for name in ("data", "etc"):
        (folder / name).mkdir()
    (folder / "data" / ".charmed-mlops-version").write_text("10.11.19\n")
    box = testing.Container(
        "mariadb",
        can_connect=True,
        execs={testing.Exec(SQL), testing.Exec(["/usr/bin/chown"])},
        mounts={
            "data": testing.Mount(location="/var/lib/mysql", source=folder / "data"),
            "etc": testing.Mount(location="/etc/mysql", source=folder / "etc"),
        },
    )
    asked = '["username", "password", "tls", "tls-ca"]'
    clients = [
        relation("database", name, database=name, requested_secrets=asked)
        for name in ("mlflow", "mlmd")
    ]
    storages = [testing.Storage("database"), testing.Storage("backups")]
    return charm.again(charm.run(*clients, containers=[box], storages=storages))


def test_mariadb_reads_its_clients_passwords_and_certificates_once(calls, tmp_path):
    with loaded(ROOT / "charms" / "mariadb") as charm:
        out = mariadb(charm, tmp_path)
        calls.clear()
        assert charm.again(out).unit_status == testing.ActiveStatus()
    labels = {"root", "serving-certificate", "certificate-in-use"}
    for each in out.get_relations("database"):
        labels |= {f"database.{each.id}.user", f"database.{each.id}.tls"}
    assert calls == dict.fromkeys(labels, ONCE)


def test_the_gateway_reads_its_certificates_once(calls):
    with loaded(ROOT / "charms" / "gateway") as charm:
        out = charm.settled()
        calls.clear()
        assert charm.again(out).unit_status == testing.ActiveStatus()
    assert calls == dict.fromkeys(["serving-certificate", "certificate-in-use"], ONCE)


def test_dex_reads_a_client_s_secret_once(calls):
    with loaded(ROOT / "charms" / "dex") as charm:
        asking = relation("oidc", "oauth2-proxy", redirect_uris='["/oauth2/callback"]')
        out = charm.settled(asking)
        calls.clear()
        assert charm.again(out).unit_status == testing.ActiveStatus()
    assert calls == dict.fromkeys(["admin", "users", f"oidc.{asking.id}.client"], ONCE)
