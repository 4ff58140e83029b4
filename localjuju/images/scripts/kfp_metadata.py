"""What the stand-ins of Kubeflow Pipelines write into ML Metadata and read there: lineage.

Contexts, executions, artifacts and events have the types and properties that upstream's driver and
launcher give them. Only the standard library: the launcher runs in the image of a component. So
this speaks gRPC's unary calls and the few messages that are needed by itself.
Sources: https://grpc.github.io/grpc/core/md_doc__p_r_o_t_o_c_o_l-_h_t_t_p2.html,
https://protobuf.dev/programming-guides/encoding,
https://github.com/google/ml-metadata v1.14.0, metadata_store.proto, metadata_store_service.proto
"""

import socket
import struct
from typing import Any

from kfp_client import TRIES, RefusedError, pause

SERVICE = "ml_metadata.MetadataStoreService"
PIPELINE, RUN = "system.Pipeline", "system.PipelineRun"
CONTAINER, DAG, IMPORTER = (
    "system.ContainerExecution", "system.DAGExecution", "system.ImporterExecution",
)  # fmt: skip
STATES = {"RUNNING": 2, "COMPLETE": 3, "FAILED": 4, "CACHED": 5, "CANCELED": 6}
NAMES = {number: name for name, number in STATES.items()}
INPUT, OUTPUT = 3, 4
LIVE = 2
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM = ACK = 1
END_HEADERS = 4
FIRST_WINDOW, LARGE_WINDOW, FRAME = 65535, 1 << 26, 16384


class StoreError(RefusedError):
    """The store does not answer a call, or refuses it."""


# Messages ---------------------------------------------------------------------------------------


def varint(number):
    """A whole number, seven bits a byte."""
    number &= (1 << 64) - 1
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def signed(number):
    """A whole number that may be below zero, as it was before it was written."""
    return number - (1 << 64) if number >> 63 else number


def field(number, value):
    """A field: of a whole number, a text, or a message, which is bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(data):
    """A message's fields, number to values: whole numbers, or bytes of all else."""
    found, at = {}, 0

    def whole():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    while at < len(data):
        key = whole()
        if key & 7 == 0:
            value = whole()
        else:
            size = {1: 8, 5: 4}.get(key & 7) or whole()
            value = data[at : at + size]
            at += size
        found.setdefault(key >> 3, []).append(value)
    return found


def first(found, number, default: Any = b"") -> Any:
    """A field's only value."""
    return found.get(number, [default])[-1]


def entries(found, number):
    """A map field, key to message."""
    pairs = map(fields, found.get(number, ()))
    return {first(each, 1).decode(): first(each, 2) for each in pairs}


def whole_numbers(found, number):
    """A repeated field of whole numbers, packed or not."""
    listed = []
    for each in found.get(number, ()):
        if isinstance(each, int):
            listed.append(each)
            continue
        value = shift = 0
        for byte in each:
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                listed.append(value)
                value = shift = 0
    return listed


def json_value(value):
    """A google.protobuf.Value."""
    if value is None:
        return field(1, 0)
    if isinstance(value, bool):
        return field(4, int(value))
    if isinstance(value, (int, float)):
        return varint(2 << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, str):
        return field(3, value)
    if isinstance(value, dict):
        return field(5, json_struct(value))
    return field(6, b"".join(field(1, json_value(each)) for each in value))


def json_struct(values):
    """A google.protobuf.Struct."""
    pairs = (field(1, key) + field(2, json_value(value)) for key, value in values.items())
    return b"".join(field(1, each) for each in pairs)


def read_json(data):
    """What a google.protobuf.Value says."""
    found = fields(data)
    if 2 in found:
        number = struct.unpack("<d", found[2][0])[0]
        return int(number) if number.is_integer() else number
    if 3 in found:
        return found[3][0].decode()
    if 4 in found:
        return bool(found[4][0])
    if 5 in found:
        return read_struct(found[5][0])
    if 6 in found:
        return [read_json(each) for each in fields(found[6][0]).get(1, ())]
    return None


def read_struct(data):
    """What a google.protobuf.Struct says."""
    return {key: read_json(value) for key, value in entries(fields(data), 1).items()}


def properties(values):
    """Custom properties, of an execution or an artifact."""
    made = b""
    for key, value in values.items():
        if isinstance(value, bool):
            content = field(6, int(value))
        elif isinstance(value, int):
            content = field(1, value)
        elif isinstance(value, float):
            content = varint(2 << 3 | 1) + struct.pack("<d", value)
        elif isinstance(value, str):
            content = field(3, value)
        else:
            content = field(4, json_struct(value if isinstance(value, dict) else {"list": value}))
        made += field(5, field(1, key) + field(2, content))
    return made


def read_properties(found):
    """What the custom properties of an execution or an artifact say."""
    values = {}
    for key, value in entries(found, 5).items():
        content = fields(value)
        if 1 in content:
            values[key] = signed(content[1][0])
        elif 2 in content:
            values[key] = struct.unpack("<d", content[2][0])[0]
        elif 4 in content:
            values[key] = read_struct(content[4][0])
        elif 6 in content:
            values[key] = bool(content[6][0])
        else:
            values[key] = first(content, 3).decode()
    return values


# Calls ------------------------------------------------------------------------------------------


def frame(kind, flags, stream, content=b""):
    """A frame of HTTP/2."""
    return struct.pack(">I", len(content))[1:] + bytes((kind, flags)) + struct.pack(
        ">I", stream
    ) + content  # fmt: skip


def header(name, value):
    """A header that no table keeps."""
    return b"\0" + b"".join(bytes((len(each),)) + each.encode() for each in (name, value))


class Call:
    """One unary call on a connection of its own.

    Raises StoreError where no message comes back: what the store says of a refusal is compressed,
    and so is in its log only.
    """

    def __init__(self, host, port, method, message):
        self._window = self._of_stream = FIRST_WINDOW
        self._first_of_stream = FIRST_WINDOW
        self._got, self._ended = b"", False
        with socket.create_connection((host, port), timeout=60) as self._socket:
            self._file = self._socket.makefile("rb")
            with self._file:
                prefixed = struct.pack(">?I", False, len(message)) + message
                self._ask(f"{host}:{port}", method, prefixed)
                while not self._ended:
                    self._read()
        if len(self._got) < 5:
            raise StoreError(f"ML Metadata refuses {method}")
        self.answer = self._got[5:]

    def _ask(self, authority, method, content):
        names = {
            ":method": "POST", ":scheme": "http", ":path": f"/{SERVICE}/{method}",
            ":authority": authority, "content-type": "application/grpc",
            "te": "trailers",  # codespell:ignore
        }  # fmt: skip
        window = struct.pack(">HI", 4, LARGE_WINDOW)
        headers = b"".join(header(*each) for each in names.items())
        self._socket.sendall(
            PREFACE
            + frame(SETTINGS, 0, 0, window)
            + frame(WINDOW, 0, 0, struct.pack(">I", LARGE_WINDOW))
            + frame(HEADERS, END_HEADERS, 1, headers)
        )
        while content and not self._ended:
            size = min(FRAME, self._window, self._of_stream, len(content))
            if size <= 0:
                self._read()
                continue
            part, content = content[:size], content[size:]
            self._window -= size
            self._of_stream -= size
            self._socket.sendall(frame(DATA, 0 if content else END_STREAM, 1, part))

    def _read(self):
        start = self._file.read(9)
        if len(start) < 9:
            raise StoreError("ML Metadata closed the connection")
        size = int.from_bytes(start[:3], "big")
        kind, flags = start[3], start[4]
        content = self._file.read(size)
        if kind == SETTINGS and not flags & ACK:
            for name, value in struct.iter_unpack(">HI", content):
                if name == 4:
                    self._of_stream += value - self._first_of_stream
                    self._first_of_stream = value
            self._socket.sendall(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self._socket.sendall(frame(PING, ACK, 0, content))
        elif kind == WINDOW:
            more = int.from_bytes(content, "big")
            if start[8]:
                self._of_stream += more
            else:
                self._window += more
        elif kind == DATA:
            self._got += content
        elif kind in (RESET, GOAWAY):
            raise StoreError("ML Metadata ended the call")
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self._ended = True


class Store:
    """ML Metadata's calls, as upstream's driver and launcher make them.

    Args:
        address: HOST:PORT.
        tries: how often a call is made before it is given up.
    """

    def __init__(self, address, tries=TRIES):
        self._host, _, port = address.rpartition(":")
        self._port, self._tries = int(port), tries

    def call(self, method, *parts):
        """The answer's fields. Raises StoreError; waits for a store that is away."""
        for number in range(self._tries):
            try:
                return fields(Call(self._host, self._port, method, b"".join(parts)).answer)
            except (OSError, StoreError) as error:
                if number == self._tries - 1:
                    raise StoreError(f"{method} of {self._host}: {error}") from None
                pause(number)
        raise AssertionError

    def once(self, method, *parts):
        """The same, without another try: a refusal is an answer, too. None if it is refused."""
        try:
            return fields(Call(self._host, self._port, method, b"".join(parts)).answer)
        except (OSError, StoreError):
            return None

    def type(self, kind, name):
        """The id of a type of contexts, executions or artifacts, which is made once."""
        number = {"Context": "PutContextType", "Execution": "PutExecutionType"}.get(
            kind, "PutArtifactType"
        )
        return first(self.call(number, field(1, field(2, name))), 1, 0)

    def context(self, kind, name, values=None):
        """A context, which is made once."""
        asked = field(1, kind) + field(2, name)
        for _ in range(2):
            found = first(self.call("GetContextByTypeAndName", asked), 1, None)
            if found is not None:
                return found
            made = field(2, self.type("Context", kind)) + field(3, name)
            # another step of the run may make it at the same moment: it is looked for again
            self.once("PutContexts", field(1, made + properties(values or {})))
        found = first(self.call("GetContextByTypeAndName", asked), 1, None)
        if found is None:
            raise StoreError(f"ML Metadata makes no context {name}")
        return found

    def execution(self, contexts, kind, name, values, state, pairs=b""):
        """The id of an execution, which is made once if it has a name."""
        if name:
            found = self._named(kind, name)
            if found is not None:
                return found
        made = field(2, self.type("Execution", kind)) + field(3, STATES[state])
        made += (field(6, name) if name else b"") + properties(values)
        asked = (field(1, made), pairs, *(field(3, each) for each in contexts))
        if not name:
            return first(self.call("PutExecution", *asked), 1, 0)
        answer = self.once("PutExecution", *asked)
        found = first(answer, 1, 0) if answer is not None else self._named(kind, name)
        if not found:
            raise StoreError(f"ML Metadata makes no execution {name}")
        return found

    def _named(self, kind, name):
        asked = field(1, kind) + field(2, name)
        found = first(self.call("GetExecutionByTypeAndName", asked), 1, None)
        return None if found is None else first(fields(found), 1, 0)

    def change(self, id, state, values, contexts=(), pairs=b""):
        """Changes an execution: what is not named stays. Returns the new artifacts' ids."""
        found = self.call("GetExecutionsByID", field(1, id)).get(1)
        if not found:
            raise StoreError(f"ML Metadata has no execution {id}")
        # of a field that comes twice the last one counts
        changed = found[0] + field(3, STATES[state]) + properties(values)
        more = b"".join(field(3, each) for each in contexts)
        return whole_numbers(self.call("PutExecution", field(1, changed), pairs, more), 2)


# Lineage ----------------------------------------------------------------------------------------


def event(kind, key, *, id=0, artifact=b""):
    """What connects an execution with an artifact, one that is there or a new one."""
    step = field(1, field(2, key))
    found = field(3, step) + field(4, kind) + (field(1, id) if id else b"")
    return field(2, (field(1, artifact) if artifact else b"") + field(2, found))


def input_events(artifacts):
    """Events of a step's inputs; artifacts that have no id are nobody's."""
    return b"".join(
        event(INPUT, key, id=each["artifact_id"])
        for key, listed in artifacts.items()
        for each in listed
        if each.get("artifact_id")
    )


class Lineage:
    """A run's part of ML Metadata, as its steps write it.

    Args:
        store: the store.
        pipeline: the pipeline's name.
        run: the run's id.
        about: the run's namespace, resource_name and pipeline_root.
    """

    def __init__(self, store, pipeline, run, about):
        self._store, self._run = store, run
        self._contexts = (store.context(PIPELINE, pipeline), store.context(RUN, run, about))
        parent, child = (first(fields(each), 1, 0) for each in self._contexts)
        link = field(1, field(1, child) + field(2, parent))
        store.once("PutParentContexts", link)  # refused where it is there already

    def group(self, path):
        """The id of the execution of a group of tasks, which is made once, and of those above."""
        above, _, task = path.rpartition("/")
        values = {"task_name": task if above else "", "display_name": task if above else ""}
        if above:
            values["parent_dag_id"] = self.group(above)
        name = f"run/{self._run}" + path.removeprefix("root")
        return self._store.execution(self._contexts, DAG, name, values, "RUNNING")

    def begin(self, path, kind, state, values, parameters, artifacts):
        """The id of a new execution: of a step that runs, is taken from the cache or left out."""
        above, _, task = path.rpartition("/")
        made = {
            "task_name": task, "display_name": task, "parent_dag_id": self.group(above),
            "inputs": parameters, **values,
        }  # fmt: skip
        events = input_events(artifacts)
        return self._store.execution(self._contexts, kind, "", made, state, events)

    def end(self, id, state, outputs=None):
        """Writes how an execution ended and what it made, whose artifacts get their ids."""
        outputs = outputs or {"parameters": {}, "artifacts": {}}
        listed = [(k, each) for k, found in outputs["artifacts"].items() for each in found]
        events = b"".join(
            event(OUTPUT, key, id=each["artifact_id"])
            if each.get("artifact_id")
            else event(OUTPUT, key, artifact=self._artifact(key, each))
            for key, each in listed
        )
        values = {"outputs": outputs.get("parameters") or {}}
        ids = self._store.change(id, state, values, self._contexts, events)
        for (_, each), number in zip(listed, ids, strict=True):
            each["artifact_id"] = number

    def _artifact(self, key, given):
        kind = (given.get("type") or {}).get("schemaTitle") or "system.Artifact"
        values = {"display_name": key, **(given.get("metadata") or {})}
        made = field(2, self._store.type("Artifact", kind)) + field(3, given["uri"])
        return made + field(6, LIVE) + properties(values)


def of_run(store, run):
    """What ML Metadata knows of a run: for each execution its state, inputs and outputs."""
    context = first(store.call("GetContextByTypeAndName", field(1, RUN) + field(2, run)), 1, None)
    if context is None:
        return []
    asked = field(1, first(fields(context), 1, 0))
    found = [fields(each) for each in store.call("GetExecutionsByContext", asked).get(1, ())]
    ids = b"".join(field(1, first(each, 1, 0)) for each in found)
    events = store.call("GetEventsByExecutionIDs", ids).get(1, ()) if ids else ()
    events = [fields(each) for each in events]
    wanted = b"".join(field(1, first(each, 1, 0)) for each in events)
    answer = store.call("GetArtifactsByID", wanted, field(3, 1)) if wanted else {}
    types = {first(fields(each), 1, 0): fields(each) for each in answer.get(2, ())}
    artifacts = {}
    for each in map(fields, answer.get(1, ())):
        id, kind = first(each, 1, 0), types.get(first(each, 2, 0), {})
        artifacts[id] = {
            "artifact_id": id, "uri": first(each, 3).decode(), "type": first(kind, 2).decode(),
            "metadata": read_properties(each),
        }  # fmt: skip
    return [_execution(each, events, artifacts) for each in found]


def _execution(found, events, artifacts):
    id = first(found, 1, 0)
    sides = {INPUT: {}, OUTPUT: {}}
    for each in events:
        if first(each, 2, 0) == id and first(each, 1, 0) in artifacts:
            step = fields(first(fields(first(each, 3)), 1))
            side = sides.get(first(each, 4, 0), {})
            side.setdefault(first(step, 2).decode(), []).append(artifacts[first(each, 1, 0)])
    values = read_properties(found)
    return {
        "execution_id": id,
        "type": first(found, 7).decode(),
        "state": NAMES.get(first(found, 3, 0), "UNKNOWN"),
        "task_name": values.get("task_name", ""),
        "parent": values.get("parent_dag_id", 0),
        "parameters": {"inputs": values.get("inputs", {}), "outputs": values.get("outputs", {})},
        "inputs": sides[INPUT],
        "outputs": sides[OUTPUT],
    }
