#!/usr/bin/env python3
"""MariaDB: a database and a user for each related application. https://mariadb.org"""

from __future__ import annotations

import ops
from accounts import Accounts
from actions import Actions
from server import PORT, Server, new_password

from charmed_mlops import (
    Blocked,
    ClusterResources,
    DatabaseProvider,
    Exec,
    S3Requirer,
    ServingCertificate,
)
from charmed_mlops.interfaces.mysql import NAME


class MariaDB(Actions):
    """One server; the second unit of the application says so and does nothing."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework, container="mariadb")
        self.database = DatabaseProvider(self, "database")
        self.object_store = S3Requirer(self, "s3", private=True)
        self.cluster = ClusterResources(self, "manifests")
        # clients are given the pod's own name: `require_single_unit`
        self.certificate = ServingCertificate(self, [self.unit_address(0)])
        self.server = Server(self.workload)
        self.accounts = Accounts(self.workload, self.server)

    def reconcile(self) -> None:
        self.require_single_unit("use mysql-k8s")
        settings = {
            "max_connections": self.number("max-connections", 10, 10_000),
            "buffer_pool": self.number("buffer-pool-size", 16, 65_536),
            "require_tls": bool(self.config["require-tls"]),
            "certificate": self.server.certificate,
        }
        root = self.app_secret("root", lambda: {"username": "root", "password": new_password()})
        certificate = self.certificate.current()
        self.workload.require()
        # not as one of the service's files, which would restart it
        self.server.keep_certificate(certificate)
        self.workload.run(
            command=self.server.command,
            files={
                self.server.config: self.render("my.cnf.j2", **settings),
                self.server.script: self.render("start.sh"),
            },
            check=Exec(self.server.ping),
            kill_delay=60,  # InnoDB writes its cache back first
        )
        self.set_ports(PORT)
        version = self.server.version()
        self.accounts.keep_root(root["password"])
        self.unit.set_workload_version(version)
        self.server.load_certificate(certificate)
        self._serve_relations(version, certificate.ca)
        self.object_store.get_or_none()  # asks for the bucket; the databases do not wait for it
        self.cluster.protect()
        self.certificate.require_given()
        if settings["require_tls"]:
            self._name_those_kept_out()

    def _serve_relations(self, version: str, ca: str) -> None:
        for request in self.database.requests(self._shared()):
            password = self.database.password(request) or new_password()
            self.accounts.keep(request.username, password, request.database)
            user = {"username": request.username, "password": password}
            self.database.answer(request, user, f"{self.unit_address(0)}:{PORT}", version, ca)
        for user in self.database.gone(self.accounts.users()):
            self.accounts.drop(user, databases=bool(self.config["delete-databases"]))
            self.database.forget(user)
        if self.unit.is_leader():  # only the leader has told them
            self.certificate.told()
        self.database.require_valid()

    def _name_those_kept_out(self) -> None:
        requests = self.database.requests(self._shared())
        names = sorted({each.application for each in requests if not each.can_encrypt})
        if names:
            raise Blocked(
                f"config require-tls=true keeps out {', '.join(names)}, which cannot encrypt: "
                f"juju config {self.app.name} require-tls=false, or another server for it"
            )

    def _shared(self) -> list[str]:
        names = str(self.config["shared-databases"]).replace(",", " ").split()
        for name in names:
            if not NAME.fullmatch(name):
                raise Blocked(f"config shared-databases: no database can be named {name[:64]!r}")
        return names


if __name__ == "__main__":
    ops.main(MariaDB)
