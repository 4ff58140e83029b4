"""Stand-in for Kubeflow Model Registry's server 0.3.7: its REST API v1alpha3, as clients call it.

Registered models, model versions, model artifacts and documents, kept in the database in two
tables of its own; upstream's are ML Metadata's. What it does not play - experiments, serving
environments, `filterQuery` - it refuses with 501.

Upstream's source, v0.3.7, has what is done here: cmd/proxy.go, internal/core,
internal/server/openapi, internal/db/scopes/paginate.go.
"""

import base64
import contextlib
import http.client
import http.server
import json
import os
import re
import ssl
import sys
import threading
import time
import urllib.parse
import uuid

import pymysql
import stand_in

API = "/api/model_registry/v1alpha3"
DOWN = "Datastore service is down or unavailable."
FLAGS = {
    "hostname": "localhost", "port": "8080", "datastore-type": "embedmd",
    "embedmd-database-type": "mysql", "embedmd-database-dsn": "",
    "embedmd-database-ssl-cert": "", "embedmd-database-ssl-key": "",
    "embedmd-database-ssl-root-cert": "", "embedmd-database-ssl-ca": "",
    "embedmd-database-ssl-cipher": "", "embedmd-database-ssl-verify-server-cert": False,
}  # fmt: skip
ATTEMPTS = 25
"""How often it tries to reach the database when it starts, the n-th time after n seconds."""

TABLE = """CREATE TABLE IF NOT EXISTS {} (
  id INT NOT NULL AUTO_INCREMENT, kind VARCHAR(32) NOT NULL, parent INT NULL,
  name VARCHAR(255) NOT NULL, whole_name VARCHAR(300) NOT NULL, external_id VARCHAR(255) NULL,
  created BIGINT NOT NULL, updated BIGINT NOT NULL, body LONGTEXT NOT NULL,
  PRIMARY KEY (id), UNIQUE KEY (kind, whole_name), UNIQUE KEY (external_id), KEY (parent)
) CHARACTER SET utf8mb4"""
CONTEXTS, ARTIFACTS = "stand_in_contexts", "stand_in_artifacts"
ORDERS = {"ID": "id", "CREATE_TIME": "created", "LAST_UPDATE_TIME": "updated"}

TEXT, TEXTS, STATE, PROPERTIES = "string", "[]string", "state", "properties"
LIFE = ("LIVE", "ARCHIVED")
ARTIFACT_STATES = (
    "UNKNOWN", "PENDING", "LIVE", "MARKED_FOR_DELETION", "DELETED", "ABANDONED", "REFERENCE",
)  # fmt: skip
VALUES = {
    "MetadataIntValue": ("int_value", str), "MetadataDoubleValue": ("double_value", (int, float)),
    "MetadataStringValue": ("string_value", str), "MetadataBoolValue": ("bool_value", bool),
    "MetadataStructValue": ("struct_value", str), "MetadataProtoValue": ("proto_value", str),
}  # fmt: skip
COMMON = {"customProperties": PROPERTIES, "description": TEXT, "externalId": TEXT, "state": STATE}
READ_ONLY = {"id": TEXT, "createTimeSinceEpoch": TEXT, "lastUpdateTimeSinceEpoch": TEXT}


class Kind:
    """One kind of object.

    Attributes:
        title: as messages have it.
        table: where it is kept.
        states: that it may have; the first is the default.
        fields: that may be changed, with their types.
        parent: the field with the parent's id; None where the parent is not among the fields.
    """

    def __init__(self, title, table, states, fields, parent=None):
        self.title, self.table, self.states, self.parent = title, table, states, parent
        self.fields = {**COMMON, **fields}


MODEL = Kind(
    "registered model", CONTEXTS, LIFE,
    {"owner": TEXT, "language": TEXTS, "tasks": TEXTS}
    | dict.fromkeys(("readme", "maturity", "provider", "logo", "license", "licenseLink",
                     "libraryName"), TEXT),
)  # fmt: skip
VERSION = Kind("model version", CONTEXTS, LIFE, {"author": TEXT}, parent="registeredModelId")
MODEL_ARTIFACT = Kind(
    "model artifact", ARTIFACTS, ARTIFACT_STATES,
    dict.fromkeys(("artifactType", "uri", "modelFormatName", "modelFormatVersion", "storageKey",
                   "storagePath", "serviceAccountName", "modelSourceKind", "modelSourceClass",
                   "modelSourceGroup", "modelSourceId", "modelSourceName"), TEXT),
)  # fmt: skip
DOC_ARTIFACT = Kind(
    "doc artifact", ARTIFACTS, ARTIFACT_STATES, {"artifactType": TEXT, "uri": TEXT}
)
KINDS = {each.title: each for each in (MODEL, VERSION, MODEL_ARTIFACT, DOC_ARTIFACT)}
OF_TYPE = {"model-artifact": MODEL_ARTIFACT, "doc-artifact": DOC_ARTIFACT}
TYPE_OF = {kind.title: name for name, kind in OF_TYPE.items()}
NOT_PLAYED = (
    "experiment", "experiments", "experiment_run", "experiment_runs", "inference_service",
    "inference_services", "serving_environment", "serving_environments",
)  # fmt: skip


class RefusedError(Exception):
    """The caller is told no; `status` is HTTP's."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


def bad(text):
    """The caller's mistake."""
    return RefusedError(400, f"{text}: bad request")


def missing(text):
    """There is no such object."""
    return RefusedError(404, f"{text}: not found")


# Settings ---------------------------------------------------------------------------------------


def settings(argv, environment):
    """The flags; those that are not given are read from `MR_` and their name, as viper does it."""
    if argv[:1] != ["proxy"]:
        sys.exit("Error: the stand-in knows the command proxy only")
    if "HOME" not in environment:  # where upstream looks for its file of settings
        sys.exit("error: $HOME is not defined")
    known = dict(FLAGS)
    for name in known:
        value = environment.get(f"MR_{name.upper().replace('-', '_')}", "")
        if value:
            known[name] = value == "true" if isinstance(known[name], bool) else value
    found = stand_in.flags(known, argv[1:])
    for name, wanted in (("datastore-type", "embedmd"), ("embedmd-database-type", "mysql")):
        if found[name] != wanted:
            sys.exit(f"error: the stand-in has no {name} {found[name]}")
    return found


def data_source(text):
    """Where the database is, from a name as go-sql-driver/mysql reads it. Ends the program."""
    if text.count("?") > 1:
        sys.exit("error: invalid MySQL DSN: database name must not contain '?' characters")
    found = re.fullmatch(r"([^:]*):(.*)@tcp\(([^()]*):(\d+)\)/([^/?]+)(\?[^/]*)?", text, re.S)
    if not found:
        sys.exit("error: invalid MySQL DSN: missing the slash separating the database name")
    user, password, host, port, database, _ = found.groups()
    return {
        "user": user, "password": password, "host": host, "port": int(port), "database": database,
        "charset": "utf8mb4", "connect_timeout": 10,
    }  # fmt: skip


def encryption(flags):
    """The TLS context that the flags ask for, or None; a file that is none ends the program."""
    files = [flags["embedmd-database-ssl-root-cert"], flags["embedmd-database-ssl-ca"]]
    verify = flags["embedmd-database-ssl-verify-server-cert"]
    if not verify and not any(files):
        return None
    # a CA that is named is the only one that counts; without one the system's do
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not any(files):
        context.load_default_certs()
    try:
        for file in filter(None, files):
            context.load_verify_locations(file)
    except (OSError, ssl.SSLError) as error:
        sys.exit(f"error: failed to read SSL certificate: {error}")
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


# Storage ----------------------------------------------------------------------------------------


class Objects:
    """Everything that is kept; several units share it."""

    def __init__(self, options):
        self._options = options
        for table in (CONTEXTS, ARTIFACTS):
            self._do(lambda cursor, table=table: cursor.execute(TABLE.format(table)))

    def _do(self, action):
        """Runs an action in a transaction of its own. Raises RefusedError."""
        try:
            with contextlib.closing(pymysql.connect(**self._options)) as connection:
                with connection.cursor() as cursor:
                    found = action(cursor)
                connection.commit()
                return found
        except pymysql.IntegrityError:
            raise
        except pymysql.Error as error:
            raise RefusedError(500, f"database error: {error.args[-1]}") from None

    def ping(self):
        """Raises RefusedError where the database does not answer."""
        self._do(lambda cursor: cursor.execute(f"SELECT id FROM {CONTEXTS} LIMIT 1"))

    def add(self, kind, parent, name, body):
        """Keeps a new object and returns it. Raises RefusedError."""
        now = int(time.time() * 1000)
        # an artifact without a version may have the name of another: upstream's converter
        owner = parent if parent is not None or kind.table == CONTEXTS else uuid.uuid4()
        whole = name if owner is None else f"{owner}:{name}"
        row = (kind.title, parent, name, whole, body.get("externalId"), now, now, json.dumps(body))

        def action(cursor):
            cursor.execute(
                f"INSERT INTO {kind.table} (kind, parent, name, whole_name, external_id, created, "
                "updated, body) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                row,
            )
            return cursor.lastrowid

        try:
            return self.get(kind, self._do(action))
        except pymysql.IntegrityError:
            text = f"{kind.title} with name {name} already exists: conflict"
            raise RefusedError(409, text) from None

    def change(self, kind, number, body, parent=None):
        """Has the object's fields changed and returns it. Raises RefusedError."""

        def action(cursor):
            cursor.execute(f"SELECT body FROM {kind.table} WHERE id=%s FOR UPDATE", (number,))
            new = {**json.loads(cursor.fetchone()[0]), **body}
            cursor.execute(
                f"UPDATE {kind.table} SET body=%s, external_id=%s, updated=%s, "
                "parent=COALESCE(%s, parent) WHERE id=%s",
                (json.dumps(new), new.get("externalId"), int(time.time() * 1000), parent, number),
            )

        try:
            self._do(action)
        except pymysql.IntegrityError:
            raise RefusedError(409, f"{kind.title} {number}: its externalId is taken") from None
        return self.get(kind, number)

    def get(self, kind, number):
        """An object by its id. Raises RefusedError."""
        found = self.find(kind.table, [kind.title], {"id": number})
        if not found:
            raise missing(f"no {kind.title} found for id {number}")
        return found[0]

    def find(self, table, titles, where, order="id", descending=False, after=None, limit=0):
        """Objects of these kinds, in order.

        Args:
            table: where they are.
            titles: of the kinds.
            where: column to value.
            order: the column to order by.
            descending: the largest first.
            after: value in that column, and id, of the last object before.
            limit: how many at most; 0 for all.
        """
        words, values = [f"kind IN ({', '.join(['%s'] * len(titles))})"], list(titles)
        for column, value in where.items():
            words.append(f"{column}=%s")
            values.append(value)
        if after:
            sign = "<" if descending else ">"
            words.append(f"({order} {sign} %s OR ({order} = %s AND id {sign} %s))")
            values += [after[0], after[0], after[1]]
        way = "DESC" if descending else "ASC"
        statement = (
            f"SELECT id, kind, parent, name, created, updated, body FROM {table} WHERE "
            f"{' AND '.join(words)} ORDER BY {order} {way}, id {way}"
            + (f" LIMIT {limit}" if limit else "")
        )

        def action(cursor):
            cursor.execute(statement, tuple(values))
            return [shown(*row) for row in cursor.fetchall()]

        return self._do(action)


def shown(number, title, parent, name, created, updated, body):
    """A row as the API has it."""
    kind = KINDS[title]
    found = {
        "id": str(number), "name": name, "createTimeSinceEpoch": str(created),
        "lastUpdateTimeSinceEpoch": str(updated), "customProperties": {}, **json.loads(body),
    }  # fmt: skip
    if kind.parent:
        found[kind.parent] = str(parent)
    if title in TYPE_OF:
        found["artifactType"] = TYPE_OF[title]
    return found


# What is sent -----------------------------------------------------------------------------------


def fields(body, known, states, strict=True):
    """What a body says, checked; null is as if it were not there. Raises RefusedError."""
    if not isinstance(body, dict):
        raise bad(f"json: cannot unmarshal {type(body).__name__} into an object")
    found = {}
    for name, value in body.items():
        if name not in known:
            if strict:
                raise bad(f'json: unknown field "{name}"')
            continue
        if value is None:
            continue
        kind = known[name]
        if kind == PROPERTIES:
            if not isinstance(value, dict):
                raise bad(f"json: field {name} is no object")
            found[name] = {key: property_value(key, each) for key, each in value.items()}
        elif kind == STATE and value not in states:
            raise bad(f"{value} is not a valid state")
        elif kind == TEXTS and not (
            isinstance(value, list) and all(isinstance(each, str) for each in value)
        ):
            raise bad(f"json: field {name} is no list of strings")
        elif kind in (TEXT, STATE) and not isinstance(value, str):
            raise bad(f"json: field {name} is no string")
        else:
            found[name] = value
    return found


def property_value(key, value):
    """A custom property as it is kept. Raises RefusedError."""
    name, kind = VALUES.get(
        value.get("metadataType") if isinstance(value, dict) else "", ("", str)
    )
    if not name or not isinstance(value.get(name), kind):
        raise bad(f"metadataType not found for {key}")
    text = value[name]
    try:
        if name == "int_value":
            if not -(2**31) <= int(text) < 2**31:
                raise ValueError("value out of range")
        elif name == "struct_value":  # comes as base64 and goes as it is: upstream's converters
            return {**value, name: json.dumps(json.loads(base64.b64decode(text, validate=True)))}
    except ValueError as error:
        raise bad(f"unable to decode {error} for key {key}") from None
    return value


def required(given, *names):
    """Raises RefusedError where one is missing."""
    for name in names:
        if not given.get(name):
            raise RefusedError(422, f"required field '{name}' is zero value.")


def identity(text, title):
    """An id as a number. Raises RefusedError."""
    if not re.fullmatch(r"-?\d+", text) or not -(2**31) <= int(text) < 2**31:
        raise bad(f"invalid {title} ID: strconv.ParseInt: parsing {text!r}: invalid syntax")
    return int(text)


class Registry:
    """The calls; each returns a status and an object."""

    def __init__(self, objects):
        self.objects = objects

    # lists and searches

    def listed(self, query, table, titles, where):
        """A page of a list."""
        if query.get("filterQuery"):
            raise RefusedError(501, "the stand-in reads no filterQuery")
        size = query.get("pageSize", "") or "0"
        if not re.fullmatch(r"-?\d+", size):
            raise bad(f"strconv.ParseInt: parsing {size!r}: invalid syntax")
        limit, order = max(int(size), 0), query.get("orderBy", "")
        column = ORDERS.get(order, "id")
        after = cursor_of(query.get("nextPageToken", ""))
        found = self.objects.find(
            table, titles, where, column, query.get("sortOrder") == "DESC", after,
            limit + 1 if limit else 0,
        )  # fmt: skip
        token = ""
        if limit and len(found) > limit:
            found = found[:limit]
            last = found[-1]
            value = last[{"created": "createTimeSinceEpoch",
                          "updated": "lastUpdateTimeSinceEpoch"}.get(column, "id")]  # fmt: skip
            token = base64.b64encode(f"{last['id']}:{value}".encode()).decode()
        return 200, {
            "items": found, "nextPageToken": token, "pageSize": limit, "size": len(found),
        }  # fmt: skip

    def found(self, query, table, titles, title, *, parented):
        """The one object that matches."""
        name, outer = query.get("name"), query.get("externalId")
        parent = query.get("parentResourceId")
        if not outer and not (name and (parent or not parented)):
            hint = "(name and parentResourceId), or externalId" if parented else (
                "name or externalId")  # fmt: skip
            raise bad(f"invalid parameters call, supply either {hint}")
        where = {"name": name} if name else {"external_id": outer}
        if parent and parented:
            where["parent"] = identity(parent, title)
        found = self.objects.find(table, titles, where)
        if len(found) != 1:
            many = "multiple" if found else "no"
            raise missing(f"{many} {title}s found for name={name or ''}, externalId={outer or ''}")
        return 200, found[0]

    # one object

    def create(self, kind, body, parent=None, *, strict=True, known=()):
        """A new object of a kind that is no artifact of a version."""
        known = {**kind.fields, "name": TEXT, **dict.fromkeys(known, TEXT)}
        if kind.parent:
            known[kind.parent] = TEXT
        given = fields(body, known, kind.states, strict)
        given.setdefault("state", kind.states[0])
        if kind is MODEL:
            required(given, "name")
        elif kind is VERSION:
            given[kind.parent] = parent or given.get(kind.parent)
            required(given, "name", kind.parent)
            parent = given.pop(kind.parent)
        number = None if parent is None else identity(parent, "parent resource")
        for name in ("id", "artifactType", *READ_ONLY):
            given.pop(name, None)
        return 201, self.objects.add(kind, number, given.pop("name", str(uuid.uuid4())), given)

    def update(self, kind, number, body):
        """Changes an object. A state that is not said is the default one, as upstream has it."""
        given = fields(body, kind.fields, kind.states)
        given.setdefault("state", kind.states[0])
        given.pop("artifactType", None)
        number = identity(number, kind.title)
        self.objects.get(kind, number)
        return 200, self.objects.change(kind, number, given)

    def artifact(self, body, version=None):
        """A new artifact, or one that is there and is changed or becomes a version's."""
        kind = artifact_kind(body)
        parent = None
        if version is not None:
            parent = identity(version, VERSION.title)
            self.objects.get(VERSION, parent)
        if body.get("id") is None:
            return self.create(kind, body, version, strict=False, known=READ_ONLY)
        number = identity(str(body["id"]), "artifact")
        self.objects.get(kind, number)
        given = fields(body, kind.fields, kind.states, strict=False)
        given.pop("artifactType", None)
        return 200, self.objects.change(kind, number, given, parent)

    def update_artifact(self, number, body):
        """Changes an artifact, which has to be of the kind that the body says."""
        kind = artifact_kind(body)
        given = fields(body, kind.fields, kind.states, strict=False)
        given.pop("artifactType", None)
        number = identity(number, "artifact")
        self.objects.get(kind, number)
        return 200, self.objects.change(kind, number, given)

    def any_artifact(self, number):
        """An artifact of any kind."""
        where = {"id": identity(number, "artifact")}
        found = self.objects.find(ARTIFACTS, list(TYPE_OF), where)
        if not found:
            raise missing(f"no artifact found for id {number}")
        return 200, found[0]

    def call(self, method, path, query, body):
        """What a request is answered. Raises RefusedError."""
        match method, path:
            case "GET", ["registered_model"]:
                return self.found(query, CONTEXTS, [MODEL.title], MODEL.title, parented=False)
            case "GET", ["registered_models"]:
                return self.listed(query, CONTEXTS, [MODEL.title], {})
            case "POST", ["registered_models"]:
                return self.create(MODEL, body())
            case "GET", ["registered_models", number]:
                return 200, self.objects.get(MODEL, identity(number, MODEL.title))
            case "PATCH", ["registered_models", number]:
                return self.update(MODEL, number, body())
            case "GET", ["registered_models", number, "versions"]:
                where = {"parent": identity(number, MODEL.title)}
                return self.listed(query, CONTEXTS, [VERSION.title], where)
            case "POST", ["registered_models", number, "versions"]:
                return self.create(VERSION, body(), number, known=READ_ONLY)
            case "GET", ["model_version"]:
                return self.found(query, CONTEXTS, [VERSION.title], VERSION.title, parented=True)
            case "GET", ["model_versions"]:
                return self.listed(query, CONTEXTS, [VERSION.title], {})
            case "POST", ["model_versions"]:
                return self.create(VERSION, body())
            case "GET", ["model_versions", number]:
                return 200, self.objects.get(VERSION, identity(number, VERSION.title))
            case "PATCH", ["model_versions", number]:
                return self.update(VERSION, number, body())
            case "GET", ["model_versions", number, "artifacts"]:
                where = {"parent": identity(number, VERSION.title)}
                where |= {"name": query["name"]} if query.get("name") else {}
                return self.listed(query, ARTIFACTS, types(query), where)
            case "POST", ["model_versions", number, "artifacts"]:
                return self.artifact(body(), number)
            case "GET", ["model_artifact"]:
                return self.found(
                    query, ARTIFACTS, [MODEL_ARTIFACT.title], MODEL_ARTIFACT.title, parented=True
                )
            case "GET", ["model_artifacts"]:
                return self.listed(query, ARTIFACTS, [MODEL_ARTIFACT.title], {})
            case "POST", ["model_artifacts"]:
                return self.create(MODEL_ARTIFACT, body())
            case "GET", ["model_artifacts", number]:
                return 200, self.objects.get(
                    MODEL_ARTIFACT, identity(number, MODEL_ARTIFACT.title)
                )
            case "PATCH", ["model_artifacts", number]:
                return self.update(MODEL_ARTIFACT, number, body())
            case "GET", ["artifact"]:
                return self.found(query, ARTIFACTS, list(TYPE_OF), "artifact", parented=True)
            case "GET", ["artifacts"]:
                return self.listed(query, ARTIFACTS, types(query), {})
            case "POST", ["artifacts"]:
                return self.artifact(body())
            case "GET", ["artifacts", number]:
                return self.any_artifact(number)
            case "PATCH", ["artifacts", number]:
                return self.update_artifact(number, body())
        if path and path[0] in NOT_PLAYED:
            raise RefusedError(501, f"the stand-in has no {path[0]}")
        raise RefusedError(405 if path and path[0] in PLAYED else 404, "404 page not found")


PLAYED = (
    "registered_model", "registered_models", "model_version", "model_versions", "model_artifact",
    "model_artifacts", "artifact", "artifacts",
)  # fmt: skip


def types(query):
    """The titles of the kinds of artifact that a list is narrowed to. Raises RefusedError."""
    asked = query.get("artifactType")
    if not asked:
        return list(TYPE_OF)
    if asked in ("dataset-artifact", "metric", "parameter"):
        raise RefusedError(501, f"the stand-in has no {asked}")
    if asked not in OF_TYPE:
        raise bad(f"invalid artifact type {asked}")
    return [OF_TYPE[asked].title]


def artifact_kind(body):
    """The kind of artifact that a body is. Raises RefusedError."""
    asked = body.get("artifactType") if isinstance(body, dict) else None
    if asked in ("dataset-artifact", "metric", "parameter"):
        raise RefusedError(501, f"the stand-in has no {asked}")
    if asked not in OF_TYPE:
        raise bad("invalid artifact type, must be either ModelArtifact, DocArtifact, DataSet, "
                  "Metric, or Parameter")  # fmt: skip
    return OF_TYPE[asked]


def cursor_of(token):
    """Value and id of the last object of the page before; None for a token that is none."""
    with contextlib.suppress(ValueError):
        number, value = base64.b64decode(token, validate=True).decode().split(":")
        return int(value), int(number)
    return None


# Serving ----------------------------------------------------------------------------------------


class Handler(stand_in.Handler):
    """Every request but those for health is answered by the registry, once it is there."""

    registry = None

    def do_GET(self):
        self._respond()

    def do_POST(self):
        self._respond()

    def do_PATCH(self):
        self._respond()

    def do_DELETE(self):  # upstream has none: what is done with is archived
        self._respond()

    def _respond(self):
        # read in any case, as the connection goes on
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        place = urllib.parse.urlsplit(self.path)
        if place.path.endswith(("/readyz/health", "/readyz/isDirty")):
            return self._health()
        if self.registry is None:
            return self.answer(503, f"{DOWN}\n", "text/plain; charset=utf-8")
        if not place.path.startswith(f"{API}/"):
            return self.answer(404, "404 page not found\n", "text/plain; charset=utf-8")
        query = dict(urllib.parse.parse_qsl(place.query, keep_blank_values=True))
        path = place.path[len(API) + 1 :].split("/")
        try:
            if b"\0" in data or b"\\u0000" in data or "\0" in "".join(query.values()):
                raise RefusedError(400, "null bytes are not allowed")
            status, body = self.registry.call(self.command, path, query, lambda: decoded(data))
        except RefusedError as error:
            status = error.status
            code = http.client.responses[400 if status == 422 else status]
            body = {"code": code, "message": str(error)}
        self.answer(status, body, "application/json; charset=UTF-8")

    def _health(self):
        try:
            if self.registry is None:
                raise RefusedError(503, "model registry service not yet initialized")
            self.registry.objects.ping()
        except RefusedError as error:
            return self.answer(503, str(error), "text/plain; charset=utf-8")
        self.answer(200, "OK", "text/plain; charset=utf-8")


def decoded(data):
    """A body. Raises RefusedError."""
    try:
        return json.loads(data)
    except ValueError as error:
        raise bad(f"invalid JSON: {error}") from None


def connect(options):
    """Waits for the database, and ends the program where it does not come."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            Handler.registry = Registry(Objects(options))
            return stand_in.log("Successfully connected to MySQL database")
        except RefusedError as error:
            stand_in.log(f"Retrying connection to MySQL (attempt {attempt}/{ATTEMPTS}): {error}")
            time.sleep(attempt)
    stand_in.log("error: failed to connect to MySQL")
    os._exit(1)


def main():
    """Serves until it is ended."""
    flags = settings(sys.argv[1:], os.environ)
    options = data_source(flags["embedmd-database-dsn"])
    context = encryption(flags)
    if context:
        options["ssl"] = context
    server = http.server.ThreadingHTTPServer((flags["hostname"], int(flags["port"])), Handler)
    server.daemon_threads = True
    threading.Thread(target=connect, args=(options,), daemon=True).start()
    stand_in.log(f"Proxy server started at {flags['hostname']}:{server.server_address[1]}")
    server.serve_forever()


if __name__ == "__main__":
    main()
