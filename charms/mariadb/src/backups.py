"""Backups: a compressed dump and a manifest with its checksum each.

They lie in the bucket of the relation `s3` where there is one, else in their own storage. A dump
on its way to or from the bucket passes through the storage.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import shlex
from typing import Any

import ops
from server import Server

from charmed_mlops import ActionFailed, Workload
from charmed_mlops.objects import Objects
from charmed_mlops.results import size

FOLDER = "/var/backups/mariadb"
_LIMIT = 6 * 3600.0  # seconds
_NAME = re.compile(r"\d{8}T\d{6}Z")


class Backups:
    """Made, listed, restored and deleted by actions."""

    def __init__(self, workload: Workload, server: Server, objects: Objects | None = None):
        """`objects` is where they go; the storage unless given."""
        self._workload = workload
        self._server = server
        self._objects = objects

    def create(self, keep: int = 0) -> dict[str, str]:
        """Dump all databases; return the manifest.

        Args:
            keep: how many backups stay, this one with them; 0 for all.
        """
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
        digest, length = self._shell(
            f"sha256sum {file}.partial | cut -d ' ' -f 1; stat -c %s {file}.partial"
        ).split()
        manifest = {
            "backup": name,
            "created": now.isoformat(timespec="seconds"),
            "databases": ",".join(databases),
            "server-version": self._server.version(),
            "sha256": digest,
            "size": length,
        }
        text = json.dumps(manifest, indent=1)
        if self._objects:
            self._upload(name, f"{file}.partial", manifest, text)
        else:
            self._shell(f"mv {file}.partial {file}")
            self._workload.push({f"{FOLDER}/{name}.json": text})
        if keep:
            place = self._in_bucket() if self._objects else self._in_storage()
            for old in sorted(place)[:-keep]:
                self.delete(old)
        shown = manifest | size("size", int(manifest["size"]))
        return {**shown, "place": "bucket" if self._objects else "storage"}

    def _upload(self, name: str, file: str, manifest: dict[str, str], text: str) -> None:
        assert self._objects
        try:
            with self._workload.container.pull(file, encoding=None) as dump:
                size, digest = int(manifest["size"]), manifest["sha256"]
                self._objects.put(f"{name}.sql.gz", dump, size, digest)
            data = text.encode()
            # the manifest comes last: it says that the backup is complete
            self._objects.put(f"{name}.json", data, len(data), hashlib.sha256(data).hexdigest())
        finally:
            self._workload.container.remove_path(file, recursive=True)

    def listed(self) -> list[dict[str, str]]:
        """The complete backups, oldest first, each with size, databases and place."""
        found = {name: (each, "storage") for name, each in self._in_storage().items()}
        found |= {name: (each, "bucket") for name, each in self._in_bucket().items()}
        return [
            {
                "backup": name,
                **size("size", int(each["size"])),
                "databases": each["databases"],
                "place": place,
            }
            for name, (each, place) in sorted(found.items())
        ]

    def restore(self, name: str) -> None:
        """Replace the databases by the backup's, after its checksum was compared."""
        manifest, remote = self._find(name)
        file = f"{FOLDER}/{name}.sql.gz" + (".partial" if remote else "")
        try:
            if self._objects and remote:
                with self._objects.get(f"{name}.sql.gz") as dump:
                    self._workload.container.push(file, dump, make_dirs=True, permissions=0o600)
            digest = self._shell(f"sha256sum {file} | cut -d ' ' -f 1").strip()
            if digest != manifest["sha256"]:
                raise ActionFailed(
                    f"backup {name} is damaged: its checksum differs; nothing was done"
                )
            self._shell(f"gzip -dc {file} | {shlex.join(self._server.client)}")
        finally:
            if remote:
                self._workload.container.remove_path(file, recursive=True)

    def delete(self, name: str) -> None:
        """Remove a backup, its manifest first: what has none is no backup."""
        _, remote = self._find(name)
        for ending in ("json", "sql.gz"):
            if self._objects and remote:
                self._objects.delete(f"{name}.{ending}")
            else:
                self._workload.container.remove_path(f"{FOLDER}/{name}.{ending}", recursive=True)

    def _find(self, name: str) -> tuple[dict[str, Any], bool]:
        """The manifest, and whether the backup is in the bucket."""
        if _NAME.fullmatch(name):
            if found := self._manifest(self._workload.read(f"{FOLDER}/{name}.json")):
                return found, False
            if self._objects and f"{name}.json" in set(self._objects.keys()):
                with self._objects.get(f"{name}.json") as answer:
                    if found := self._manifest(answer.read()):
                        return found, True
        raise ActionFailed(f"no backup {name}: see list-backups")

    def _in_bucket(self) -> dict[str, dict[str, Any]]:
        found = {}
        for key in self._objects.keys() if self._objects else ():
            name = key.removesuffix(".json")
            if self._objects and name != key and _NAME.fullmatch(name):
                with self._objects.get(key) as answer:
                    found[name] = self._manifest(answer.read())
        return {name: each for name, each in found.items() if each}

    def _in_storage(self) -> dict[str, dict[str, Any]]:
        try:
            files = self._workload.container.list_files(FOLDER, pattern="*.json")
        except ops.pebble.APIError as error:
            if error.code == 404:
                return {}
            raise
        found = {
            file.name.removesuffix(".json"): self._manifest(self._workload.read(file.path))
            for file in files
        }
        return {name: each for name, each in found.items() if each}

    @staticmethod
    def _manifest(text: bytes | None) -> dict[str, Any]:
        try:
            found = json.loads(text or b"{}")
        except ValueError:
            return {}
        complete = isinstance(found, dict) and {"sha256", "size", "databases"} <= set(found)
        return found if complete else {}

    def _shell(self, script: str) -> str:
        return self._workload.exec(["/bin/bash", "-euo", "pipefail", "-c", script], timeout=_LIMIT)
