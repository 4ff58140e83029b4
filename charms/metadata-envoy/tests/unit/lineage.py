"""What two tenants have in ML Metadata, and a store that answers for it without one."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from charms.small_servers import reply

SCRIPTS = Path(__file__).parents[4] / "localjuju" / "images" / "scripts"
RUN, PIPELINE = "system.PipelineRun", "system.Pipeline"


def driver() -> ModuleType:
    """What the pipelines' driver writes lineage with: its own encoding of messages, too."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module("kfp_metadata")
    finally:
        sys.path.remove(str(SCRIPTS))


METADATA = driver()
field = METADATA.field


@dataclass(frozen=True)
class Part:
    """The ids of one tenant's things; her namespace has her name."""

    context: int
    execution: int
    artifact: int


@dataclass(frozen=True)
class World:
    """All ids.

    Attributes:
        shared: an artifact that the runs of both used, as of an import of one address.
        loose: an artifact of no run.
        pipeline: the context of the pipeline, which both ran.
    """

    ann: Part
    bob: Part
    shared: int
    loose: int
    pipeline: int


def written(address: str) -> World:
    """Has the driver write it to a real store."""
    store = METADATA.Store(address, 5)
    shared: dict[str, Any] = {"uri": "gs://public/data"}
    parts = {}
    for who in ("ann", "bob"):
        about = {"namespace": who, "resource_name": f"{who}-1", "pipeline_root": "minio://b"}
        lineage = METADATA.Lineage(store, "sums", f"run-{who}", about)
        step = lineage.begin("root/sum", METADATA.CONTAINER, "RUNNING", {}, {}, {})
        own: dict[str, Any] = {"uri": f"minio://b/{who}/secret"}
        lineage.end(step, "COMPLETE", {"parameters": {}, "artifacts": {"s": [own, shared]}})
        context = named(store, RUN, f"run-{who}")
        parts[who] = Part(context, step, own["artifact_id"])
    kind = store.type("Artifact", "system.Model")
    made = store.call("PutArtifacts", field(1, field(2, kind) + field(3, "minio://b/loose")))
    (loose,) = METADATA.whole_numbers(made, 1)
    pipeline = named(store, PIPELINE, "sums")
    return World(**parts, shared=shared["artifact_id"], loose=loose, pipeline=pipeline)


def named(store: Any, kind: str, name: str) -> int:
    """The id of a context."""
    found = store.call("GetContextByTypeAndName", field(1, kind) + field(2, name))[1][0]
    return METADATA.fields(found)[1][0]


PLAYED = World(Part(1, 11, 21), Part(2, 12, 22), shared=23, loose=24, pipeline=3)
"""The ids of the store that is played."""


class Played:
    """ML Metadata as far as the authorizer asks it: whose contexts has what?

    Attributes:
        down: whether it fails.
        asked: the methods that were called.
        contexts: id to type, name and namespace.
        having: ids of contexts by what has them.
    """

    def __init__(self) -> None:
        self.down = False
        self.asked: list[str] = []
        self.contexts = {
            1: (RUN, "run-ann", "ann"), 2: (RUN, "run-bob", "bob"), 3: (PIPELINE, "sums", ""),
        }  # fmt: skip
        self.having: dict[str, dict[int, list[int]]] = {
            "GetContextsByExecution": {11: [1, 3], 12: [2, 3]},
            "GetContextsByArtifact": {21: [1, 3], 22: [2, 3], 23: [1, 2, 3]},
            "GetContextsByID": {1: [1], 2: [2], 3: [3]},
            "GetParentContextsByContext": {1: [3], 2: [3]},
            "GetChildrenContextsByContext": {3: [1, 2]},
        }

    def answer(self, handler: Any) -> None:
        """Answers a call by gRPC-Web."""
        method = handler.path.rpartition("/")[2]
        self.asked.append(method)
        message = handler.rfile.read(int(handler.headers["content-length"]))[5:]
        if self.down:
            return reply(handler, 503, {})
        found = METADATA.fields(message)
        if method == "GetContextByTypeAndName":
            wanted = tuple(found[number][0].decode() for number in (1, 2))
            ids = [id for id, each in self.contexts.items() if each[:2] == wanted]
        else:
            ids = self.having[method].get(found[1][0], [])
        content = b"".join(field(1, self._context(id)) for id in ids)
        ended = b"grpc-status:0\r\n"
        body = b"".join(
            bytes([flag]) + len(each).to_bytes(4, "big") + each
            for flag, each in ((0, content), (128, ended))
        )
        return reply(handler, 200, {"content-type": "application/grpc-web+proto"}, body)

    def _context(self, id: int) -> bytes:
        kind, name, namespace = self.contexts[id]
        values = {"namespace": namespace, "pipeline_root": "minio://b"} if namespace else {}
        return field(1, id) + field(3, name) + field(6, kind) + METADATA.properties(values)


# Calls ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A call of ML Metadata."""

    method: str
    message: bytes = b""

    def __str__(self) -> str:
        return self.method


def by_id(method: str, *ids: int) -> Call:
    """A call whose field 1 is an id, or several."""
    return Call(method, b"".join(field(1, each) for each in ids))


def by_name(kind: str, name: str) -> Call:
    return Call("GetContextByTypeAndName", field(1, kind) + field(2, name))


def of(part: Part, who: str) -> dict[str, Call]:
    """What a page asks about one tenant's run, and what else there is to ask about it."""
    return {
        "the artifact": by_id("GetArtifactsByID", part.artifact),
        "the execution": by_id("GetExecutionsByID", part.execution),
        "the run's context": by_id("GetContextsByID", part.context),
        "the run's context by name": by_name(RUN, f"run-{who}"),
        "what a step took and made": by_id("GetEventsByExecutionIDs", part.execution),
        "what used an artifact": by_id("GetEventsByArtifactIDs", part.artifact),
        "the runs of an artifact": by_id("GetContextsByArtifact", part.artifact),
        "the run of a step": by_id("GetContextsByExecution", part.execution),
        "the artifacts of a run": by_id("GetArtifactsByContext", part.context),
        "the steps of a run": by_id("GetExecutionsByContext", part.context),
        "the pipeline of a run": by_id("GetParentContextsByContext", part.context),
    }


def attacks(world: World) -> dict[str, Call]:
    """What Ann must not get, and gets where nobody asks."""
    packed = b"".join(METADATA.varint(each.artifact) for each in (world.ann, world.bob))
    filtered = field(1, world.ann.context) + field(2, field(4, "uri like '%'"))
    twice = field(1, world.ann.context) + field(1, world.bob.context)
    return {
        **of(world.bob, "bob"),
        "another's artifact among her own": by_id(
            "GetArtifactsByID", world.ann.artifact, world.bob.artifact
        ),
        "the same, packed": Call("GetArtifactsByID", field(1, packed)),
        "two contexts where one counts": Call("GetArtifactsByContext", twice),
        "her context by a filter": Call("GetArtifactsByContext", filtered),
        "an artifact of no run": by_id("GetArtifactsByID", world.loose),
        "what used a shared artifact": by_id("GetEventsByArtifactIDs", world.shared),
        "the runs of a shared artifact": by_id("GetContextsByArtifact", world.shared),
        "the pipeline": by_id("GetContextsByID", world.pipeline),
        "the pipeline by name": by_name(PIPELINE, "sums"),
        "the steps of all its runs": by_id("GetExecutionsByContext", world.pipeline),
        "all its runs": by_id("GetChildrenContextsByContext", world.pipeline),
        "all artifacts": Call("GetArtifacts"),
        "all executions": Call("GetExecutions"),
        "all contexts": Call("GetContexts"),
        "all of a type": Call("GetContextsByType", field(1, RUN)),
        "artifacts by address": Call("GetArtifactsByURI", field(2, "minio://b/bob/secret")),
    }


ATTACKS = sorted(attacks(PLAYED))
OWN = sorted(of(PLAYED.ann, "ann"))
ABSENT = sorted(set(of(PLAYED.bob, "bob")))


def absent() -> dict[str, Call]:
    """The same questions about what is not there."""
    return of(dataclasses.replace(PLAYED.bob, context=9000, execution=9000, artifact=9000), "eve")
