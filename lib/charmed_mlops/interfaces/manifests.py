"""Interface `kubernetes_manifests`: an application asks for cluster objects, the broker answers.

Both sides write only their application databag. KServe's objects are some 100 kB of YAML, so
they travel as gzip of JSON. The content of a Kubernetes Secret never does: the object carries
the id of a Juju secret, granted to the relation, in its place.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import pydantic

Manifest = dict[str, Any]

# Top-level field of a v1 Secret in the databag: the id of a Juju secret whose key CONTENT_KEY
# holds the Secret's data as a JSON object of strings.
SECRET_FIELD = "jujuSecret"
CONTENT_KEY = "content"
_MAX_BYTES = 8 * 1024 * 1024


class InvalidManifests(ValueError):  # noqa: N818
    """The databag does not hold what this interface says; str() says what is wrong."""


class Request(pydantic.BaseModel):
    """What the requirer writes.

    Attributes:
        manifests: the objects, see `pack`.
        hash: `digest` of the objects with the content of their Secrets.
        service_account: the ServiceAccount that the application's pods run as.
    """

    manifests: str | None = None
    hash: str | None = None
    service_account: str | None = None


class Problem(pydantic.BaseModel):
    """Why one object is not as declared.

    Attributes:
        object: `Kind/name`.
        reason: one line.
        outcome: refused (a person has to act), failed (tried again), or deferred (accepted; it
            waits for the application's own webhook, so the application has to start).
    """

    object: str = ""
    reason: str = ""
    outcome: str = "failed"


class Answer(pydantic.BaseModel):
    """What the provider writes.

    Attributes:
        hash: the request that this answers.
        problems: empty when everything in it is applied.
    """

    hash: str | None = None
    problems: list[Problem] = pydantic.Field(default_factory=list)


def name_of(manifest: Mapping[str, Any]) -> str:
    """`Kind/name` of an object, for messages."""
    return f"{manifest.get('kind')}/{(manifest.get('metadata') or {}).get('name')}"


def digest(manifests: Iterable[Manifest]) -> str:
    """A hash of the objects that does not depend on the order of keys."""
    text = json.dumps(list(manifests), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def pack(manifests: Iterable[Manifest]) -> str:
    """The objects as base64 of gzip of a JSON list; the same objects give the same text."""
    text = json.dumps(list(manifests), sort_keys=True, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def unpack(text: str) -> list[Manifest]:
    """The objects of a databag; also takes a plain JSON list.

    Raises:
        InvalidManifests: not that, or not objects with apiVersion, kind and metadata.name.
    """
    try:
        if text.lstrip().startswith("["):
            content = text.encode()
        else:
            inflate = zlib.decompressobj(wbits=31)
            content = inflate.decompress(base64.b64decode(text, validate=True), _MAX_BYTES)
            if inflate.unconsumed_tail or not inflate.eof:
                raise InvalidManifests(f"more than {_MAX_BYTES} bytes, or cut short")
        manifests = json.loads(content)
    except (ValueError, zlib.error) as error:
        raise InvalidManifests(f"not a list of Kubernetes objects: {error}") from None
    if not isinstance(manifests, list):
        raise InvalidManifests("not a list of Kubernetes objects")
    seen = set()
    for manifest in manifests:
        if not (
            isinstance(manifest, dict)
            and all(isinstance(manifest.get(key), str) for key in ("apiVersion", "kind"))
            and isinstance(manifest.get("metadata"), dict)
            and isinstance(manifest["metadata"].get("name"), str)
        ):
            raise InvalidManifests("an object without apiVersion, kind or metadata.name")
        metadata = manifest["metadata"]
        key = (manifest["apiVersion"], manifest["kind"], metadata.get("namespace"))
        if (*key, metadata["name"]) in seen:
            raise InvalidManifests(f"{name_of(manifest)} is declared twice")
        seen.add((*key, metadata["name"]))
    return manifests
