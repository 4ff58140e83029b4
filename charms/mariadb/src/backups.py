"""Backups: a compressed dump and a manifest with its checksum each, in their own storage."""

from __future__ import annotations

import datetime
import json
import re
import shlex

import ops
from server import Server

from charmed_mlops import ActionFailed, Workload

FOLDER = "/var/backups/mariadb"
_LIMIT = 6 * 3600.0  # seconds


class Backups:
    """Made, listed and restored by actions."""

    def __init__(self, workload: Workload, server: Server):
        self._workload = workload
        self._server = server

    def create(self) -> dict[str, str]:
        """Dump all databases; return the manifest."""
        databases = self._server.databases()
        if not databases:
            raise ActionFailed("there is no database to back up yet")
        now = datetime.datetime.now(datetime.timezone.utc)
        name = now.strftime("%Y%m%dT%H%M%SZ")
        file = f"{FOLDER}/{name}.sql.gz"
        dump = ["/usr/bin/mariadb-dump", f"--defaults-file={self._server.config}"]
        dump += ["--single-transaction", "--routines", "--events", "--triggers"]
        dump += ["--add-drop-database", "--databases", *databases]
        self._shell(f"umask 077; {shlex.join(dump)} | gzip >{file}.partial")
        digest, size = self._shell(
            f"sha256sum {file}.partial | cut -d ' ' -f 1; stat -c %s {file}.partial"
        ).split()
        manifest = {
            "backup": name,
            "created": now.isoformat(timespec="seconds"),
            "databases": ",".join(databases),
            "server-version": self._server.version(),
            "sha256": digest,
            "size": size,
        }
        self._shell(f"mv {file}.partial {file}")
        self._workload.push({f"{FOLDER}/{name}.json": json.dumps(manifest, indent=1)})
        return manifest

    def manifests(self) -> list[dict[str, str]]:
        """The manifests of all complete backups, oldest first."""
        try:
            files = self._workload.container.list_files(FOLDER, pattern="*.json")
        except ops.pebble.APIError as error:
            if error.code == 404:
                return []
            raise
        return [
            json.loads(self._workload.read(file.path) or "{}")
            for file in sorted(files, key=lambda file: file.name)
        ]

    def table(self) -> str:
        """The backups as lines: name, bytes, databases."""
        lines = [f"{m['backup']}  {m['size']:>12}  {m['databases']}" for m in self.manifests()]
        return "\n".join(lines) or "none"

    def restore(self, name: str) -> None:
        """Replace the databases by the backup's, after its checksum was compared."""
        if not re.fullmatch(r"\d{8}T\d{6}Z", name):
            raise ActionFailed(f"no backup {name}: see list-backups")
        text = self._workload.read(f"{FOLDER}/{name}.json")
        if text is None:
            raise ActionFailed(f"no backup {name}: see list-backups")
        file = f"{FOLDER}/{name}.sql.gz"
        digest = self._shell(f"sha256sum {file} | cut -d ' ' -f 1").strip()
        if digest != json.loads(text)["sha256"]:
            raise ActionFailed(f"backup {name} is damaged: its checksum differs; nothing was done")
        self._shell(f"gzip -dc {file} | {shlex.join(self._server.client)}")

    def _shell(self, script: str) -> str:
        return self._workload.exec(["/bin/bash", "-euo", "pipefail", "-c", script], timeout=_LIMIT)
