"""The actions of MariaDB."""

from __future__ import annotations

from typing import Any

import ops
from accounts import Accounts, relation_user
from backups import Backups
from server import PORT, Server, new_password

from charmed_mlops import (
    ActionFailed,
    DatabaseProvider,
    S3Requirer,
    ServiceCharm,
    ServingCertificate,
)
from charmed_mlops.objects import Objects
from charmed_mlops.results import listing


class Actions(ServiceCharm):
    """What `juju run` offers; the charm itself derives from it."""

    server: Server
    accounts: Accounts
    database: DatabaseProvider
    object_store: S3Requirer
    certificate: ServingCertificate

    def action_create_backup(self, params: dict) -> dict[str, str]:
        """Dump all databases."""
        return self._backups().create(keep=int(params.get("keep", 0)))

    def action_list_backups(self, _: dict) -> dict[str, Any]:
        """The backups, oldest first."""
        return listing("backups", self._backups().listed())

    def action_delete_backup(self, params: dict) -> dict[str, str]:
        """Remove one backup."""
        self._backups().delete(params["backup"])
        return {"deleted": params["backup"]}

    def action_restore(self, params: dict) -> dict[str, str]:
        """Replace the databases by a backup's."""
        if not params.get("confirm"):
            raise ActionFailed("the present databases will be lost: add confirm=true")
        self._backups().restore(params["backup"])
        self.accounts.forget()
        self.converge()
        return {"restored": params["backup"]}

    def _backups(self) -> Backups:
        bucket = self.object_store.get_or_none()
        objects = Objects(bucket, f"backups/{self.app.name}") if bucket else None
        return Backups(self.workload, self.server, objects)

    def action_get_credentials(self, params: dict) -> dict[str, str]:
        """A user's name and password, and for an application's user how to log in."""
        application = params.get("application")
        if not application:
            return self._secret(params.get("username", "root")).get_content(refresh=True)
        relation = self._relation(application)
        host, database = self.unit_address(0), self.database.given(relation)
        found = self._secret(f"relation-{relation.id}").get_content(refresh=True)
        tls = "--ssl " if self.config["require-tls"] else ""
        return {
            **found,
            "host": host,
            "port": str(PORT),
            "database": database,
            "command": f"mariadb {tls}-h {host} -P {PORT} -u {found['username']} -p {database}",
        }

    def action_get_ca(self, _: dict) -> dict[str, str]:
        """The certificate that clients have to trust."""
        return {"ca": self.certificate.current().ca}

    def action_list_users(self, _: dict) -> dict[str, Any]:
        """The applications that have a user."""
        found = [
            {
                "application": each.app.name,
                "username": f"relation-{each.id}",
                "database": self.database.given(each),
            }
            for each in sorted(self.model.relations["database"], key=lambda each: each.id)
            if each.app
        ]
        return listing("users", found)

    def _relation(self, application: str) -> ops.Relation:
        for relation in self.model.relations["database"]:
            if relation.app and relation.app.name == application:
                return relation
        raise ActionFailed(f"{application} is not related: list-users names those that are")

    def action_rotate_password(self, params: dict) -> dict[str, str]:
        """A new password in the server and in the secret."""
        self.require_leader()
        user, password = params.get("username", "root"), new_password()
        secret = self._secret(user)
        if user == "root":
            self.accounts.keep_root(password)
        else:
            self.accounts.keep(user, password, self._database(user))
        secret.set_content({"username": user, "password": password})
        return {"rotated": user}

    def _database(self, user: str) -> str:
        for relation in self.model.relations["database"]:
            if user == f"relation-{relation.id}" and (database := self.database.given(relation)):
                return database
        raise ActionFailed(f"no user {user}: list-users names those that are")

    def _secret(self, username: str) -> ops.Secret:
        label = "root"
        if username != "root":
            label = f"database.{relation_user(username).removeprefix('relation-')}.user"
        try:
            return self.model.get_secret(label=label)
        except ops.SecretNotFoundError:
            raise ActionFailed(f"no user {username}: root, or relation-ID") from None
