"""Interface `cluster_resources`: an application asks for cluster objects, the broker answers.

Both sides write only their application databag. KServe's objects are some 100 kB of YAML, so
they travel as gzip of JSON. The content of a Kubernetes Secret never does: the object carries
the id of a Juju secret, granted to the relation, in its place.

A request holds two lists. The broker applies `manifests` once, in the model's namespace or to
the whole cluster. It applies `tenants` once for each tenant: a namespace that carries the label
TENANT_LABEL. In these, every string `$(tenant)` stands for the name of the namespace. A tenant
object whose metadata.namespace is a fixed name is applied in that tenant's namespace only, so an
application can give each tenant a key of its own; the answer lists the tenants.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec
import ops

from charmed_mlops import fields

Manifest = dict[str, Any]

VERSION = 1

# Top-level field of a v1 Secret in the databag: the id of a Juju secret. Its key CONTENT_KEY
# holds the Secret's data as a JSON object of strings, APPLICATION_KEY the application that owns
# it: the broker may read the secrets of many, and must not hand one application another's.
SECRET_FIELD = "jujuSecret"
CONTENT_KEY = "content"
APPLICATION_KEY = "application"

# Namespaces with this label are tenants. The placeholder has the form of Kubernetes' own $(VAR).
TENANT_LABEL = ("app.kubernetes.io/part-of", "kubeflow-profile")
TENANT = "$(tenant)"
_MAX_BYTES = 8 * 1024 * 1024


class InvalidManifests(ValueError):  # noqa: N818
    """The databag does not hold what this interface says; str() says what is wrong."""


class Databag(msgspec.Struct, kw_only=True):
    """What one side writes: each field as JSON, under its name."""

    @classmethod
    def load(cls: type[Side], relation: ops.Relation, side: ops.Application) -> Side:
        """What a side wrote; what it has no field for is passed over.

        Raises:
            ValueError: a field is malformed.
        """
        databag = relation.data[side]
        texts = {name: databag[name] for name in cls.__struct_fields__ if name in databag}
        try:
            return fields.load(cls, {name: json.loads(text) for name, text in texts.items()})
        except RecursionError as error:
            raise ValueError(str(error)) from None

    def save(self, relation: ops.Relation, side: ops.Application) -> None:
        """Write it."""
        values = msgspec.to_builtins(self)
        relation.data[side].update({name: json.dumps(value) for name, value in values.items()})


Side = TypeVar("Side", bound=Databag)


class Request(Databag, kw_only=True):
    """What the requirer writes.

    Attributes:
        version: of this interface; a broker refuses one that it does not know.
        manifests: the objects, see `pack`.
        tenants: the objects for each tenant's namespace, see `pack`; None when there are none.
        hash: `digest` of both with the content of their Secrets.
        inputs: a digest of what both were made from; the requirer's own.
        serving: whether the requirer's Services lead to labelled pods only; its own, too.
    """

    version: int = VERSION
    manifests: str | None = None
    tenants: str | None = None
    hash: str | None = None
    inputs: str = ""
    serving: bool = False


class Problem(msgspec.Struct, kw_only=True):
    """Why one object is not as declared.

    Attributes:
        object: `Kind/name`.
        reason: one line.
        outcome: refused (a person has to act), failed (tried again), or deferred (accepted; it
            waits for the application's own webhook, so the application has to start, or for a
            kind that another application defines).
    """

    object: str = ""
    reason: str = ""
    outcome: str = "failed"


class Answer(Databag, kw_only=True):
    """What the provider writes.

    Attributes:
        hash: the request that this answers.
        problems: empty when everything in it is applied.
        tenants: the namespaces of the tenants, for applications that declare objects for them.
        checked: what the provider checked the request against; the provider's own.
    """

    hash: str | None = None
    problems: list[Problem] = []
    tenants: list[str] = []
    checked: str = ""


def name_of(manifest: Mapping[str, Any]) -> str:
    """`Kind/name` of an object, for messages."""
    return f"{manifest.get('kind')}/{(manifest.get('metadata') or {}).get('name')}"


def digest(manifests: Iterable[Manifest], tenants: Iterable[Manifest] = ()) -> str:
    """A hash of the objects that does not depend on the order of keys."""
    parts = [list(manifests), list(tenants)]
    # without objects for tenants, the hash is that of the list of manifests
    text = json.dumps(parts if parts[1] else parts[0], sort_keys=True, separators=(",", ":"))
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
        _require_json(manifests)
    except InvalidManifests:
        raise
    except (ValueError, RecursionError, zlib.error) as error:
        raise InvalidManifests(f"not a list of Kubernetes objects: {error}") from None
    if not isinstance(manifests, list):
        raise InvalidManifests("not a list of Kubernetes objects")
    seen = set()
    for manifest in manifests:
        metadata = manifest.get("metadata") if isinstance(manifest, dict) else None
        if not (
            isinstance(metadata, dict)
            and all(_is_text(manifest.get(key)) for key in ("apiVersion", "kind"))
            and _is_text(metadata.get("name"))
        ):
            raise InvalidManifests("an object without apiVersion, kind or metadata.name")
        if not isinstance(metadata.get("namespace"), (str, type(None))):
            raise InvalidManifests(f"{name_of(manifest)}: its metadata.namespace is not a text")
        key = (manifest["apiVersion"], manifest["kind"], metadata.get("namespace"))
        if (*key, metadata["name"]) in seen:
            raise InvalidManifests(f"{name_of(manifest)} is declared twice")
        seen.add((*key, metadata["name"]))
    return manifests


def for_tenant(manifest: Any, tenant: str) -> Any:
    """The object with every `$(tenant)` in its keys and texts replaced by the namespace's name."""
    if isinstance(manifest, str):
        return manifest.replace(TENANT, tenant)
    if isinstance(manifest, list):
        return [for_tenant(item, tenant) for item in manifest]
    if isinstance(manifest, dict):
        return {
            for_tenant(key, tenant): for_tenant(value, tenant) for key, value in manifest.items()
        }
    return manifest


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _require_json(value: Any) -> None:
    """Refuses what JSON has no form for but Python takes: NaN, and halves of surrogate pairs."""
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
