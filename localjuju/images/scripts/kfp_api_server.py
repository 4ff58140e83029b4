"""Stand-in for Kubeflow Pipelines' API server 2.16, multi-user, as the `kfp` SDK calls it.

Objects are in the database, compiled pipelines in the bucket, runs are Argo Workflows. Each call
is checked by a SubjectAccessReview, as upstream does it. On the port for gRPC it speaks the same
REST over HTTP/2, behind the front: the other stand-ins call it so. gRPC itself is not played.
"""

import asyncio
import base64
import concurrent.futures
import contextlib
import datetime
import hashlib
import json
import operator
import os
import re
import secrets
import ssl
import sys
import threading
import uuid
import zlib
from pathlib import Path

import flask
import kfp_compiler
import pymysql
import stand_in
import yaml
from hypercorn.asyncio import serve
from hypercorn.config import Config
from kfp_client import Bucket, RefusedError
from kfp_compiler import PipelineError
from kfp_metadata import Store, of_run
from stand_in import ApiError

REQUIRED = (
    "DBCONFIG_MYSQLCONFIG_USER", "DBCONFIG_MYSQLCONFIG_HOST", "DBCONFIG_MYSQLCONFIG_PORT",
    "DBCONFIG_MYSQLCONFIG_DBNAME", "OBJECTSTORECONFIG_HOST", "OBJECTSTORECONFIG_BUCKETNAME",
    "OBJECTSTORECONFIG_ACCESSKEY", "OBJECTSTORECONFIG_SECRETACCESSKEY", "POD_NAMESPACE",
    "ML_PIPELINE_VISUALIZATIONSERVER_SERVICE_HOST", "ML_PIPELINE_VISUALIZATIONSERVER_SERVICE_PORT",
    "VISUALIZATIONSERVICE_NAME", "VISUALIZATIONSERVICE_PORT",  # later, with the first request
)  # fmt: skip
GRPC_PORT, METADATA_PORT = 8887, 8080
THREADS = 32
API = "/apis/v2beta1"
WORKFLOWS = "/apis/argoproj.io/v1alpha1/namespaces/{}/workflows"
SCHEDULES = "/apis/kubeflow.org/v1beta1/namespaces/{}/scheduledworkflows"
STATES = {
    "Pending": "PENDING", "Running": "RUNNING", "Succeeded": "SUCCEEDED", "Failed": "FAILED",
    "Error": "FAILED",
}  # fmt: skip
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
OPERATIONS = {
    1: "EQUALS", 2: "NOT_EQUALS", 3: "GREATER_THAN", 5: "GREATER_THAN_EQUALS", 6: "LESS_THAN",
    7: "LESS_THAN_EQUALS", 8: "IN", 9: "IS_SUBSTRING",
}  # fmt: skip
COMPARISONS = {
    "EQUALS": operator.eq, "NOT_EQUALS": operator.ne,
    "GREATER_THAN": operator.gt, "GREATER_THAN_EQUALS": operator.ge,
    "LESS_THAN": operator.lt, "LESS_THAN_EQUALS": operator.le,
}  # fmt: skip
TABLE = """CREATE TABLE IF NOT EXISTS stand_in_objects (
  kind VARCHAR(32) NOT NULL, id VARCHAR(64) NOT NULL, namespace VARCHAR(63) NOT NULL,
  parent VARCHAR(64) NOT NULL, mark VARCHAR(64) NOT NULL, only_one VARCHAR(500) NULL,
  created DATETIME(6) NOT NULL, body LONGTEXT NOT NULL, PRIMARY KEY (kind, id),
  UNIQUE KEY (only_one), KEY (kind, namespace, created), KEY (kind, parent), KEY (kind, mark)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"""


STATUS = {3: 400, 5: 404, 6: 409, 7: 403, 9: 400, 13: 500, 14: 503, 16: 401}


class CallError(Exception):
    """What the caller is told. Codes are gRPC's; each has its HTTP status."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code, self.status = code, STATUS[code]


def invalid(text):
    """The caller's mistake."""
    return CallError(3, text)


def now():
    """The time, as answers have it."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


# Storage ----------------------------------------------------------------------------------------


def trusting(folders):
    """A TLS context with the roots that Go takes: the system's, and all in $SSL_CERT_DIR."""
    context = ssl.create_default_context()
    for folder in filter(None, folders.split(":")):
        for file in Path(folder).glob("*.pem"):
            with contextlib.suppress(ssl.SSLError):  # Go passes over what is no certificate
                context.load_verify_locations(file)
    return context


class Objects:
    """Everything that is kept, as JSON, in one table of the database."""

    def __init__(self, settings):
        self._options = {
            "host": settings["DBCONFIG_MYSQLCONFIG_HOST"],
            "port": int(settings["DBCONFIG_MYSQLCONFIG_PORT"]),
            "user": settings["DBCONFIG_MYSQLCONFIG_USER"],
            "password": settings.get("DBCONFIG_MYSQLCONFIG_PASSWORD", ""),
            "database": settings["DBCONFIG_MYSQLCONFIG_DBNAME"],
            "charset": "utf8mb4",
            "connect_timeout": 10,
        }
        extra = json.loads(settings.get("DBCONFIG_MYSQLCONFIG_EXTRAPARAMS") or "{}")
        if extra.get("tls") == "true":
            self._options["ssl"] = trusting(settings.get("SSL_CERT_DIR", ""))
        self._local = threading.local()
        self._do(lambda cursor: cursor.execute(TABLE))

    def _do(self, action):
        """Runs an action in a transaction; once more where the connection was lost."""
        for number in range(2):
            connection = getattr(self._local, "connection", None)
            try:
                if connection is None:
                    connection = self._local.connection = pymysql.connect(**self._options)
                with connection.cursor() as cursor:
                    found = action(cursor)
                connection.commit()
                return found
            except (pymysql.OperationalError, pymysql.InterfaceError) as error:
                self._drop(connection)
                if number:
                    raise CallError(14, f"the database says: {error.args[-1]}") from None
            except BaseException:
                if connection is not None:
                    connection.rollback()
                raise
        raise AssertionError

    def _drop(self, connection):
        self._local.connection = None
        if connection is not None:
            with contextlib.suppress(pymysql.Error):
                connection.close()

    def add(self, kind, id, body, *, namespace="", parent="", mark="", name=None):
        """Keeps a new object; a name is taken once among its kind. Raises CallError."""
        only_one = None if name is None else f"{kind}/{namespace}/{parent}/{name}"
        row = (kind, id, namespace, parent, mark, only_one, json.dumps(body))
        try:
            self._do(
                lambda cursor: cursor.execute(
                    "INSERT INTO stand_in_objects (kind, id, namespace, parent, mark, only_one, "
                    "created, body) VALUES (%s, %s, %s, %s, %s, %s, UTC_TIMESTAMP(6), %s)",
                    row,
                )
            )
        except pymysql.IntegrityError:
            raise CallError(6, f"a {kind} with the name {name} is there already") from None

    def get(self, kind, id):
        """An object. Raises CallError."""
        found = self.find(kind, id)
        if found is None:
            raise CallError(5, f"{kind} {id} not found")
        return found

    def find(self, kind, id):
        """An object, or None."""

        def action(cursor):
            cursor.execute("SELECT body FROM stand_in_objects WHERE kind=%s AND id=%s", (kind, id))
            row = cursor.fetchone()
            return None if row is None else json.loads(row[0])

        return self._do(action)

    def all(self, kind, **where):
        """All objects of a kind in a namespace, of a parent or with a mark; the oldest first."""

        def action(cursor):
            words = "".join(f" AND {name}=%s" for name in where)
            cursor.execute(
                f"SELECT body FROM stand_in_objects WHERE kind=%s{words} ORDER BY created, id",
                (kind, *where.values()),
            )
            return [json.loads(row[0]) for row in cursor.fetchall()]

        return self._do(action)

    def change(self, kind, id, edit, mark=None):
        """Has `edit` change an object that nobody else changes meanwhile; returns it."""

        def action(cursor):
            cursor.execute(
                "SELECT body FROM stand_in_objects WHERE kind=%s AND id=%s FOR UPDATE", (kind, id)
            )
            row = cursor.fetchone()
            if row is None:
                raise CallError(5, f"{kind} {id} not found")
            body = json.loads(row[0])
            edit(body)
            cursor.execute(
                "UPDATE stand_in_objects SET body=%s, mark=COALESCE(%s, mark) "
                "WHERE kind=%s AND id=%s",
                (json.dumps(body), mark, kind, id),
            )
            return body

        return self._do(action)

    def delete(self, kind, **where):
        """Deletes objects."""
        words = "".join(f" AND {name}=%s" for name in where)
        self._do(
            lambda cursor: cursor.execute(
                f"DELETE FROM stand_in_objects WHERE kind=%s{words}", (kind, *where.values())
            )
        )


# Lists ------------------------------------------------------------------------------------------


def wanted(body, predicate):
    """Whether an object is what one part of a filter asks for. Raises CallError."""
    key = predicate.get("key", "")
    value = body.get(key, body.get("display_name") if key == "name" else None)
    given = next(
        (
            each["values"] if isinstance(each, dict) else each
            for name, each in predicate.items()
            if name.lower().replace("_", "").endswith(("value", "values"))
        ),
        None,
    )
    operation = predicate.get("operation", "")
    operation = OPERATIONS.get(operation, operation)
    if operation == "IN":
        return value in (given or ())
    if operation == "IS_SUBSTRING":
        return str(given) in str(value)
    if operation in COMPARISONS:
        return COMPARISONS[operation](str(value), str(given))
    raise invalid(f"a filter's operation {operation} is not known")


def page(found, asked, name):
    """One page of a list, as the caller asked for it. Raises CallError."""
    if asked.get("filter"):
        try:
            text = asked["filter"]
            predicates = json.loads(text).get("predicates", [])
            found = [each for each in found if all(wanted(each, one) for one in predicates)]
        except (ValueError, AttributeError, KeyError):
            raise invalid(f"the filter is not valid: {asked['filter'][:200]}") from None
    key, _, direction = (asked.get("sort_by") or "created_at").partition(" ")
    key = {"name": "display_name", "id": f"{name[:-1]}_id"}.get(key, key)
    found.sort(key=lambda each: str(each.get(key, "")), reverse=direction.lower() == "desc")
    try:
        size = int(asked.get("page_size") or 20)
        token = asked.get("page_token") or ""
        start = int(base64.b64decode(token, validate=True)) if token else 0
    except ValueError:
        raise invalid("page_size or page_token is not valid") from None
    size = max(1, min(size, 200))
    answer = {name: found[start : start + size], "total_size": len(found)}
    if start + size < len(found):
        answer["next_page_token"] = base64.b64encode(str(start + size).encode()).decode()
    return answer


# The server -------------------------------------------------------------------------------------


class Server:
    """What the calls do."""

    def __init__(self, settings, objects, bucket, api):
        self._settings, self._objects, self._bucket, self._api = settings, objects, bucket, api
        self._bucket_name = settings["OBJECTSTORECONFIG_BUCKETNAME"]
        place = f"{settings['ML_PIPELINE_SERVICE_NAME']}.{settings['POD_NAMESPACE']}.svc"
        name = settings.get("METADATA_SERVICE_NAME", "metadata-grpc-service")
        domain = settings.get("CLUSTER_DOMAIN", "cluster.local")
        metadata = f"{name}.{settings['POD_NAMESPACE']}.svc.{domain}:{METADATA_PORT}"
        self._metadata = Store(metadata, 2)
        self._compiler = {
            "metadata": metadata,
            "driver": settings["V2_DRIVER_IMAGE"],
            "launcher": settings["V2_LAUNCHER_IMAGE"],
            "address": f"{place}.{domain}",
            "port": GRPC_PORT,
            "cache": settings.get("CACHEENABLED", "true") == "true",
        }
        self._account = settings.get("DEFAULTPIPELINERUNNERSERVICEACCOUNT", "pipeline-runner")

    # Who may ----------------------------------------------------------------

    def user(self, headers):
        """Who calls. Raises CallError."""
        header = self._settings.get("KUBEFLOW_USERID_HEADER", "x-goog-authenticated-user-email")
        prefix = self._settings.get("KUBEFLOW_USERID_PREFIX", "accounts.google.com:")
        found = headers.get(header)
        if found and found.startswith(prefix) and found != prefix:
            return found[len(prefix) :]
        kind, _, token = (headers.get("Authorization") or "").partition(" ")
        if kind == "Bearer" and token:
            audience = self._settings.get("TOKEN_REVIEW_AUDIENCE", "pipelines.kubeflow.org")
            spec = {"token": token.strip(), "audiences": [audience]}
            path = "/apis/authentication.k8s.io/v1/tokenreviews"
            status = self._api.call("POST", path, review("authentication", "TokenReview", spec))[
                "status"
            ]
            if status.get("authenticated") and audience in status.get("audiences", ()):
                return status["user"]["username"]
        raise CallError(
            16, "Failed to check authorization. User identity is empty in the request header"
        )

    def require(self, headers, namespace, resource, verb):
        """Raises CallError unless the caller may."""
        user = self.user(headers)
        attributes = {
            "verb": verb, "group": "pipelines.kubeflow.org", "version": "v1beta1",
            "resource": resource, **({"namespace": namespace} if namespace else {}),
        }  # fmt: skip
        made = review(
            "authorization",
            "SubjectAccessReview",
            {"user": user, "resourceAttributes": attributes},
        )
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        if not self._api.call("POST", path, made)["status"].get("allowed"):
            raise CallError(
                7,
                f"User '{user}' is not authorized to {verb} {resource} in namespace {namespace}: "
                "Unauthorized access",
            )

    def _one(self, headers, kind, id, resource, verb):
        """An object that the caller may do something with; shared pipelines have no namespace."""
        found = self._objects.get(kind, id)
        if found.get("namespace") or kind != "pipeline":
            self.require(headers, found["namespace"], resource, verb)
        return found

    # Experiments ------------------------------------------------------------

    def create_experiment(self, headers, body):
        """POST /experiments"""
        namespace, name = body.get("namespace") or "", body.get("display_name") or ""
        if not namespace:
            raise invalid("An experiment cannot have an empty namespace in multi-user mode")
        if not name or len(name) > 128:
            raise invalid("an experiment's name has 1 to 128 characters")
        self.require(headers, namespace, "experiments", "create")
        made = {
            "experiment_id": str(uuid.uuid4()), "display_name": name,
            "description": body.get("description") or "", "created_at": now(),
            "namespace": namespace, "storage_state": "AVAILABLE",
        }  # fmt: skip
        self._objects.add(
            "experiment", made["experiment_id"], made, namespace=namespace, name=name
        )
        return made

    def list_experiments(self, headers, asked):
        """GET /experiments"""
        return self._list(headers, asked, "experiment", "experiments")

    def _list(self, headers, asked, kind, resource, name=""):
        namespace = asked.get("namespace") or ""
        if not namespace and asked.get("experiment_id"):
            namespace = self._objects.get("experiment", asked["experiment_id"])["namespace"]
        if namespace:
            self.require(headers, namespace, resource, "list")
        elif kind != "pipeline":
            raise invalid(f"A list of {resource} needs a namespace in multi-user mode")
        where = {"namespace": namespace}
        found = self._objects.all(kind, **where)
        if asked.get("experiment_id"):
            found = [each for each in found if each.get("experiment_id") == asked["experiment_id"]]
        return page([shown(each) for each in found], asked, name or resource)

    def experiment(self, headers, id):
        """GET /experiments/ID"""
        return self._one(headers, "experiment", id, "experiments", "get")

    def do_experiment(self, headers, id, verb):
        """POST /experiments/ID:archive and :unarchive"""
        self._one(headers, "experiment", id, "experiments", verb)
        state = "ARCHIVED" if verb == "archive" else "AVAILABLE"
        self._objects.change("experiment", id, lambda each: each.update(storage_state=state))
        if verb == "archive":
            for run in self._objects.all("run", parent=id):
                self._objects.change("run", run["run_id"], archived)
        return {}

    def delete_experiment(self, headers, id):
        """DELETE /experiments/ID"""
        self._one(headers, "experiment", id, "experiments", "delete")
        self._objects.delete("experiment", id=id)
        return {}

    # Pipelines --------------------------------------------------------------

    def create_pipeline(self, headers, body):
        """POST /pipelines"""
        namespace = body.get("namespace") or ""
        if namespace:
            self.require(headers, namespace, "pipelines", "create")
        else:
            self.user(headers)
        name = body.get("name") or body.get("display_name") or ""
        if not name or len(name) > 128:
            raise invalid("a pipeline's name has 1 to 128 characters")
        made = {
            "pipeline_id": str(uuid.uuid4()), "name": name,
            "display_name": body.get("display_name") or name,
            "description": body.get("description") or "", "created_at": now(),
            "namespace": namespace,
        }  # fmt: skip
        self._objects.add("pipeline", made["pipeline_id"], made, namespace=namespace, name=name)
        return made

    def upload_pipeline(self, headers, asked, content, filename):
        """POST /pipelines/upload"""
        checked(content)  # before there is a pipeline without a version
        name = asked.get("name") or asked.get("display_name") or filename.rpartition(".")[0]
        body = {**asked, "name": name}
        made = self.create_pipeline(headers, body)
        self._add_version(made, name, asked, content)
        return made

    def upload_version(self, headers, asked, content, filename):
        """POST /pipelines/upload_version"""
        found = self._objects.get("pipeline", asked.get("pipelineid") or "")
        if found["namespace"]:
            self.require(headers, found["namespace"], "pipelines", "create")
        checked(content)
        name = asked.get("name") or asked.get("display_name") or filename.rpartition(".")[0]
        return self._with_spec(self._add_version(found, name, asked, content))

    def create_version(self, headers, pipeline_id, body):
        """POST /pipelines/ID/versions: only of a package that is given with it."""
        found = self._one(headers, "pipeline", pipeline_id, "pipelines", "create")
        if not body.get("pipeline_spec"):
            raise invalid("package_url: this is a limit of the local engine's stand-in: upload it")
        content = json.dumps(body["pipeline_spec"]).encode()
        checked(content)
        name = body.get("name") or body.get("display_name") or ""
        return self._with_spec(self._add_version(found, name, body, content))

    def _add_version(self, pipeline, name, asked, content):
        made = {
            "pipeline_id": pipeline["pipeline_id"], "pipeline_version_id": str(uuid.uuid4()),
            "name": name, "display_name": asked.get("display_name") or name,
            "description": asked.get("description") or "", "created_at": now(),
        }  # fmt: skip
        self._bucket.put(self._bucket_name, package_key(made["pipeline_version_id"]), content)
        self._objects.add(
            "version",
            made["pipeline_version_id"],
            made,
            parent=pipeline["pipeline_id"],
            name=name,
        )
        return made

    def _with_spec(self, version):
        """A version with what it is made of."""
        spec, platforms = checked(self._package(version["pipeline_version_id"]))
        given = {"pipeline_spec": spec, "platform_spec": platforms} if platforms else spec
        return {**version, "pipeline_spec": given}

    def _package(self, version_id):
        return self._bucket.get(self._bucket_name, package_key(version_id))

    def list_pipelines(self, headers, asked):
        """GET /pipelines"""
        return self._list(headers, asked, "pipeline", "pipelines")

    def pipeline(self, headers, id):
        """GET /pipelines/ID"""
        return self._one(headers, "pipeline", id, "pipelines", "get")

    def named_pipeline(self, headers, name, namespace):
        """GET /pipelines/names/NAME"""
        if namespace:
            self.require(headers, namespace, "pipelines", "get")
        for each in self._objects.all("pipeline", namespace=namespace):
            if each["name"] == name:
                return each
        raise CallError(5, f"pipeline {name} not found")

    def delete_pipeline(self, headers, id, cascade):
        """DELETE /pipelines/ID"""
        self._one(headers, "pipeline", id, "pipelines", "delete")
        versions = self._objects.all("version", parent=id)
        if versions and not cascade:
            raise CallError(9, f"pipeline {id} has versions: delete them first")
        for each in versions:
            self._delete_version(each["pipeline_version_id"])
        self._objects.delete("pipeline", id=id)
        return {}

    def list_versions(self, headers, pipeline_id, asked):
        """GET /pipelines/ID/versions"""
        self._one(headers, "pipeline", pipeline_id, "pipelines", "list")
        found = page(self._objects.all("version", parent=pipeline_id), asked, "pipeline_versions")
        found["pipeline_versions"] = [self._with_spec(each) for each in found["pipeline_versions"]]
        return found

    def version(self, headers, pipeline_id, id, verb="get"):
        """GET /pipelines/ID/versions/ID"""
        self._one(headers, "pipeline", pipeline_id, "pipelines", verb)
        found = self._objects.get("version", id)
        if found["pipeline_id"] != pipeline_id:
            raise CallError(5, f"version {id} not found in pipeline {pipeline_id}")
        return self._with_spec(found) if verb == "get" else found

    def delete_version(self, headers, pipeline_id, id):
        """DELETE /pipelines/ID/versions/ID"""
        self.version(headers, pipeline_id, id, "delete")
        self._delete_version(id)
        return {}

    def _delete_version(self, id):
        self._bucket.delete(self._bucket_name, package_key(id))
        self._objects.delete("version", id=id)

    # Runs -------------------------------------------------------------------

    def _source(self, headers, body):
        """What a run or a schedule is made of: spec, platforms, reference. Raises CallError."""
        reference = body.get("pipeline_version_reference") or {}
        if reference.get("pipeline_id"):
            pipeline_id = reference["pipeline_id"]
            self._one(headers, "pipeline", pipeline_id, "pipelines", "get")
            version_id = reference.get("pipeline_version_id")
            if not version_id:
                versions = self._objects.all("version", parent=pipeline_id)
                if not versions:
                    raise invalid(f"pipeline {pipeline_id} has no version")
                version_id = versions[-1]["pipeline_version_id"]
            found = self._objects.get("version", version_id)
            if found["pipeline_id"] != pipeline_id:
                raise CallError(5, f"version {version_id} not found in pipeline {pipeline_id}")
            return *checked(self._package(version_id)), {
                "pipeline_id": pipeline_id,
                "pipeline_version_id": version_id,
            }
        if not body.get("pipeline_spec"):
            raise invalid("neither pipeline_spec nor pipeline_version_reference is given")
        return *checked(json.dumps(body["pipeline_spec"]).encode()), None

    def create_run(self, headers, body, asked):
        """POST /runs"""
        experiment_id = body.get("experiment_id") or asked.get("experiment_id") or ""
        if not experiment_id:
            raise invalid("A run needs an experiment in multi-user mode")
        experiment = self._objects.get("experiment", experiment_id)
        namespace = experiment["namespace"]
        self.require(headers, namespace, "runs", "create")
        schedule = None
        if body.get("recurring_run_id"):
            schedule = self._objects.get("recurring_run", body["recurring_run_id"])
            if schedule["namespace"] != namespace:
                raise CallError(5, f"recurring_run {body['recurring_run_id']} not found")
            if not (body.get("pipeline_version_reference") or {}).get("pipeline_id"):
                body = {**body, "pipeline_spec": schedule.get("pipeline_spec")}
        spec, platforms, reference = self._source(headers, body)
        config = body.get("runtime_config") or {}
        run_id = str(uuid.uuid4())
        run = {
            "run_id": run_id,
            "experiment_id": experiment_id,
            "display_name": body.get("display_name") or spec["pipelineInfo"]["name"],
            "description": body.get("description") or "",
            "namespace": namespace,
            "storage_state": "AVAILABLE",
            "service_account": body.get("service_account") or self._account,
            "runtime_config": {
                "parameters": kfp_compiler.parameters(spec, config.get("parameters") or {}),
                "pipeline_root": config.get("pipeline_root") or "",
            },
            "created_at": now(),
            "scheduled_at": now(),
            "state": "PENDING",
            "state_history": [{"update_time": now(), "state": "PENDING"}],
            "workflow": workflow_name(spec),
            "spec": spec,
            "platforms": platforms,
        }
        if schedule is not None:
            run["recurring_run_id"] = schedule["recurring_run_id"]
        if reference:
            run["pipeline_version_reference"] = reference
        made = kfp_compiler.workflow(self._to_compile(run), self._compiler)
        self._objects.add("run", run_id, run, namespace=namespace, parent=experiment_id)
        try:
            self._api.call("POST", WORKFLOWS.format(namespace), made)
        except ApiError as error:
            self._objects.delete("run", id=run_id)
            raise CallError(13, f"the Workflow cannot be made: {error.message}") from None
        self._objects.change(
            "experiment", experiment_id, lambda each: each.update(last_run_created_at=now())
        )
        return shown(run)

    @staticmethod
    def _to_compile(run):
        return {**run, "name": run["workflow"]}

    def list_runs(self, headers, asked):
        """GET /runs"""
        return self._list(headers, asked, "run", "runs")

    def run(self, headers, id):
        """GET /runs/ID"""
        found = self._one(headers, "run", id, "runs", "get")
        tasks = self._objects.all("task", parent=id)
        details = [
            {
                "run_id": id, "task_id": each["id"],
                "display_name": each["path"].rpartition("/")[2],
                "create_time": each["created_at"], "start_time": each["created_at"],
                "state": {"CACHED": "SUCCEEDED"}.get(each["state"], each["state"]),
                **({"end_time": each["ended_at"]} if each.get("ended_at") else {}),
                **({"error": {"code": 9, "message": each["error"]}} if each.get("error") else {}),
                **lineage_of(each),
            }
            for each in tasks
        ]  # fmt: skip
        # as upstream's, which shows the Workflow's nodes: what is taken from the cache is a step
        # whose `executor` did not run, and a Workflow's name is in its nodes' ids alone
        executors = [
            {"run_id": id, "task_id": f"{each['id']}-executor", "display_name": "executor",
             "create_time": each["created_at"],
             "state": {"CACHED": "SKIPPED"}.get(each["state"], each["state"])}
            for each in tasks
            if each["state"] == "CACHED" or each.get("pod_name")
        ]  # fmt: skip
        top = {
            "run_id": id, "task_id": f"{id}-workflow", "display_name": found["workflow"],
            "create_time": found["created_at"], "state": found["state"],
            "child_tasks": [{"pod_name": f"{found['workflow']}-{zlib.crc32(id.encode())}"}],
        }  # fmt: skip
        return {
            **shown(found),
            "run_details": {"task_details": [top, *details, *executors]},
        }

    def lineage(self, headers, id):
        """What ML Metadata knows of a run, which upstream's interface asks it for itself."""
        self._one(headers, "run", id, "runs", "get")
        return {"executions": of_run(self._metadata, id)}

    def do_run(self, headers, id, verb):
        """POST /runs/ID:archive, :unarchive, :terminate, :retry"""
        run = self._one(headers, "run", id, "runs", verb)
        if verb == "archive":
            self._objects.change("run", id, archived)
        elif verb == "unarchive":
            experiment = self._objects.get("experiment", run["experiment_id"])
            if experiment["storage_state"] == "ARCHIVED":
                raise CallError(9, "Unarchive the experiment first, then its run")
            self._objects.change("run", id, lambda each: each.update(storage_state="AVAILABLE"))
        elif verb == "terminate":
            if run["state"] in ENDED:
                raise CallError(9, f"run {id} has ended: {run['state']}")
            self._objects.change("run", id, lambda each: moved(each, "CANCELING"))
            path = f"{WORKFLOWS.format(run['namespace'])}/{run['workflow']}"
            self._api.merge(path, {"spec": {"shutdown": "Terminate"}})
        else:
            self._retry(run)
        return {}

    def _retry(self, run):
        """A new Workflow; the driver skips what the run has done already."""
        if run["state"] != "FAILED":
            raise CallError(
                9, f"run {run['run_id']} is {run['state']}: only a failed one is retried"
            )
        for each in self._objects.all("task", parent=run["run_id"]):
            if each["state"] not in ("SUCCEEDED", "CACHED"):
                self._objects.delete("task", id=each["id"])
        base = WORKFLOWS.format(run["namespace"])
        self._api.delete(f"{base}/{run['workflow']}")

        def begin(each):
            each["workflow"] = workflow_name(each["spec"])
            each.pop("error", None)
            each.pop("finished_at", None)
            moved(each, "RUNNING")

        run = self._objects.change("run", run["run_id"], begin)
        self._api.call("POST", base, kfp_compiler.workflow(self._to_compile(run), self._compiler))

    def delete_run(self, headers, id):
        """DELETE /runs/ID"""
        run = self._one(headers, "run", id, "runs", "delete")
        self._api.delete(f"{WORKFLOWS.format(run['namespace'])}/{run['workflow']}")
        self._objects.delete("task", parent=id)
        self._objects.delete("run", id=id)
        return {}

    # Recurring runs ---------------------------------------------------------

    def create_recurring_run(self, headers, body):
        """POST /recurringruns"""
        experiment = self._objects.get("experiment", body.get("experiment_id") or "")
        namespace = experiment["namespace"]
        self.require(headers, namespace, "jobs", "create")
        spec, platforms, reference = self._source(headers, body)
        config = body.get("runtime_config") or {}
        given = config.get("parameters") or {}
        kfp_compiler.parameters(spec, given)
        kfp_compiler.Compiler(spec, platforms, self._compiler, "").templates()
        name = body.get("display_name") or spec["pipelineInfo"]["name"]
        most = int(body.get("max_concurrency") or 1)
        if not 1 <= most <= 10:
            raise invalid("max_concurrency is 1 to 10")
        enabled = body.get("mode") != "DISABLE"
        pinned = (body.get("pipeline_version_reference") or {}).get("pipeline_version_id")
        made = self._api.call(
            "POST",
            SCHEDULES.format(namespace),
            {
                "apiVersion": "kubeflow.org/v1beta1",
                "kind": "ScheduledWorkflow",
                "metadata": {"generateName": f"{label(name)[:40]}-", "namespace": namespace},
                "status": {},
                "spec": {
                    "enabled": enabled,
                    "maxConcurrency": most,
                    "noCatchup": bool(body.get("no_catchup")),
                    "trigger": trigger(body.get("trigger") or {}),
                    "workflow": {
                        "parameters": [
                            {"name": key, "value": json.dumps(value)}
                            for key, value in given.items()
                        ],
                        "pipelineRoot": config.get("pipeline_root") or "",
                    },
                    "experimentId": experiment["experiment_id"],
                    "serviceAccount": body.get("service_account") or self._account,
                    "pipelineName": spec["pipelineInfo"]["name"],
                    **({"pipelineId": reference["pipeline_id"]} if reference else {}),
                    **({"pipelineVersionId": pinned} if pinned else {}),
                },
            },
        )
        kept = {
            key: body[key]
            for key in ("description", "runtime_config", "trigger", "no_catchup", "pipeline_spec",
                        "pipeline_version_reference")
            if body.get(key) is not None
        }  # fmt: skip
        recurring = {
            **kept,
            "recurring_run_id": made["metadata"]["uid"],
            "display_name": name,
            "experiment_id": experiment["experiment_id"],
            "namespace": namespace,
            "max_concurrency": str(most),
            "mode": "ENABLE" if enabled else "DISABLE",
            "status": "ENABLED" if enabled else "DISABLED",
            "created_at": now(),
            "updated_at": now(),
            "service_account": made["spec"]["serviceAccount"],
            "object": made["metadata"]["name"],
        }
        self._objects.add(
            "recurring_run", recurring["recurring_run_id"], recurring, namespace=namespace
        )
        return shown(recurring)

    def list_recurring_runs(self, headers, asked):
        """GET /recurringruns"""
        found = self._list(headers, asked, "recurring_run", "jobs", "recurringRuns")
        return found

    def recurring_run(self, headers, id):
        """GET /recurringruns/ID"""
        return shown(self._one(headers, "recurring_run", id, "jobs", "get"))

    def do_recurring_run(self, headers, id, verb):
        """POST /recurringruns/ID:enable and :disable"""
        found = self._one(headers, "recurring_run", id, "jobs", verb)
        enabled = verb == "enable"
        path = f"{SCHEDULES.format(found['namespace'])}/{found['object']}"
        self._api.merge(path, {"spec": {"enabled": enabled}})
        change = {
            "mode": "ENABLE" if enabled else "DISABLE",
            "status": "ENABLED" if enabled else "DISABLED",
            "updated_at": now(),
        }
        self._objects.change("recurring_run", id, lambda each: each.update(change))
        return {}

    def delete_recurring_run(self, headers, id):
        """DELETE /recurringruns/ID"""
        found = self._one(headers, "recurring_run", id, "jobs", "delete")
        self._api.delete(f"{SCHEDULES.format(found['namespace'])}/{found['object']}")
        self._objects.delete("recurring_run", id=id)
        return {}

    # Reports ----------------------------------------------------------------

    def report_workflow(self, headers, text):
        """POST /workflows: the persistence agent says how a Workflow does."""
        self.require(headers, "", "workflows", "report")
        metadata, found = reported(text)
        run_id = (metadata.get("labels") or {}).get(kfp_compiler.RUN_ID, "")
        run = self._objects.get("run", run_id)
        if (run["namespace"], run["workflow"]) != (metadata["namespace"], metadata["name"]):
            return {}  # one that a retry has replaced, or somebody else's with that label
        state = STATES.get((found.get("status") or {}).get("phase") or "Pending", "PENDING")
        if run["state"] in ENDED or (run["state"] == "CANCELING" and state not in ENDED):
            return {}
        self._note_pending(run_id, found)
        error = self._reason(run_id, found) if state == "FAILED" else ""

        def edit(each):
            moved(each, state, error)
            if state in ENDED:
                each["finished_at"] = found["status"].get("finishedAt") or now()

        self._objects.change("run", run_id, edit)
        if state in ENDED:
            path = f"{WORKFLOWS.format(run['namespace'])}/{run['workflow']}"
            try:
                kept = {"labels": {"pipeline/persistedFinalState": "true"}}
                self._api.merge(path, {"metadata": kept})
            except ApiError as problem:
                if problem.code != 404:
                    raise
        return {}

    def _note_pending(self, run_id, workflow):
        """Keeps what a step's pod waits for, such as an image that cannot be pulled."""
        waiting = {
            task: node["message"]
            for node in ((workflow.get("status") or {}).get("nodes") or {}).values()
            if node.get("type") == "Pod" and node.get("phase") == "Pending"
            and node.get("message") and (task := path_of(node))
        }  # fmt: skip
        if not waiting:
            return
        for each in self._objects.all("task", parent=run_id):
            reason = waiting.get(each["path"])
            if reason and each["state"] == "PENDING" and each.get("error") != reason:
                change = {"error": reason}
                self._objects.change("task", each["id"], lambda one, to=change: one.update(to))

    def _reason(self, run_id, workflow):
        """Why a run has failed, in one line."""
        told = [
            f"{each['path'].rpartition('/')[2]}: {each['error']}"
            if each["state"] == "PENDING"
            else each["error"]
            for each in self._objects.all("task", parent=run_id)
            if each["state"] in ("FAILED", "PENDING") and each.get("error")
        ]
        status = workflow["status"]
        nodes = [
            f"{each.get('displayName')}: {each['message']}"
            for each in (status.get("nodes") or {}).values()
            if each.get("type") == "Pod" and each.get("phase") in ("Failed", "Error")
            and each.get("message")
        ]  # fmt: skip
        return "; ".join(told or nodes) or status.get("message") or "the Workflow failed"

    def report_schedule(self, headers, text):
        """POST /scheduledworkflows"""
        self.require(headers, "", "scheduledworkflows", "report")
        metadata, found = reported(text)
        enabled = bool((found.get("spec") or {}).get("enabled"))
        change = {
            "mode": "ENABLE" if enabled else "DISABLE",
            "status": "ENABLED" if enabled else "DISABLED",
        }
        self._objects.change("recurring_run", metadata["uid"], lambda each: each.update(change))
        return {}

    # What upstream keeps in ML Metadata --------------------------------------

    def known(self, headers, run_id):
        """What the driver decides by."""
        run = self._one(headers, "run", run_id, "runs", "get")
        return {
            "spec": run["spec"],
            "parameters": run["runtime_config"]["parameters"],
            "pipeline_root": run["runtime_config"]["pipeline_root"],
            "tasks": {each["path"]: each for each in self._objects.all("task", parent=run_id)},
        }

    def report_task(self, headers, run_id, body):
        """What the driver and the launcher say of a step."""
        run = self._one(headers, "run", run_id, "runs", "create")
        path, mark = body["path"], body.get("fingerprint")
        id = hashlib.sha256(f"{run_id} {path}".encode()).hexdigest()
        if self._objects.find("task", id) is None:
            first = {"id": id, "path": path, "created_at": now(), "state": "PENDING"}
            try:
                self._objects.add(
                    "task", id, first, namespace=run["namespace"], parent=run_id, name=id
                )
            except CallError as problem:
                if problem.code != 6:
                    raise
        if body.get("state") in (*ENDED, "CACHED"):
            body = {**body, "ended_at": now()}
        elif body.get("state"):
            body = {"error": "", **body}
        return self._objects.change("task", id, lambda each: each.update(body), mark=mark)

    def cached(self, headers, run_id, mark):
        """The outputs of the newest step with the same fingerprint in the same namespace."""
        run = self._one(headers, "run", run_id, "runs", "get")
        found = [
            {key: each[key] for key in ("outputs", "execution_id") if key in each}
            for each in self._objects.all("task", namespace=run["namespace"], mark=mark)
            if each["state"] == "SUCCEEDED" and "outputs" in each
        ]
        return found[-1] if found else {}


def lineage_of(task):
    """A step's execution and artifacts, by the ids that they have in ML Metadata."""
    inputs = (task.get("inputs") or {}).get("artifacts") or {}
    sides = {
        "inputs": {key: each["artifacts"] for key, each in inputs.items()},
        "outputs": (task.get("outputs") or {}).get("artifacts") or {},
    }
    found = {
        side: {
            key: {"artifact_ids": [str(each.get("artifact_id", 0)) for each in listed]}
            for key, listed in artifacts.items()
        }
        for side, artifacts in sides.items()
        if artifacts
    }
    return {**found, "execution_id": str(task["execution_id"])} if "execution_id" in task else {}


def review(group, kind, spec):
    """A question to Kubernetes."""
    return {"apiVersion": f"{group}.k8s.io/v1", "kind": kind, "spec": spec}


def checked(content):
    """A package's pipeline and platforms. Raises PipelineError."""
    try:
        documents = list(yaml.safe_load_all(content))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PipelineError(f"the package is no YAML: {' '.join(str(error).split())}") from None
    spec, platforms = kfp_compiler.package(documents)
    nothing = {
        "driver": "", "launcher": "", "address": "", "port": 0, "metadata": ":", "cache": True,
    }  # fmt: skip
    kfp_compiler.Compiler(spec, platforms, nothing, "").templates()
    return spec, platforms


def package_key(version_id):
    """Where a version's package is in the bucket."""
    return f"pipelines/{version_id}"


def label(name):
    """A name that Kubernetes takes."""
    return re.sub(r"[^a-z0-9]+", "-", name.rpartition("/")[2].lower()).strip("-") or "run"


def workflow_name(spec):
    """A new one, that begins as the pipeline's."""
    return f"{label(spec['pipelineInfo']['name'])[:40]}-{secrets.token_hex(3)}"


def trigger(given):
    """A schedule, as the custom resource has it. Raises CallError."""
    cron, periodic = given.get("cron_schedule"), given.get("periodic_schedule")
    if bool(cron) == bool(periodic):
        raise invalid("a trigger is either a cron_schedule or a periodic_schedule")
    chosen = cron or periodic
    times = {
        name: chosen[key]
        for name, key in (("startTime", "start_time"), ("endTime", "end_time"))
        if chosen.get(key)
    }
    if cron:
        if len(str(cron.get("cron") or "").split()) not in (5, 6):
            raise invalid(f"cron {cron.get('cron')!r} does not have 5 or 6 fields")
        return {"cronSchedule": {**times, "cron": cron["cron"]}}
    seconds = int(periodic.get("interval_second") or 0)
    if seconds < 1:
        raise invalid("interval_second is at least 1")
    return {"periodicSchedule": {**times, "intervalSecond": seconds}}


def shown(body):
    """An object as callers see it."""
    found = {
        key: value
        for key, value in body.items()
        if key not in ("workflow", "platforms", "spec", "object")
    }
    if "spec" in body and "pipeline_version_reference" not in body:
        found["pipeline_spec"] = body["spec"]
    if "run_id" in body:
        found.pop("namespace")
    return found


def archived(body):
    """Puts a run away."""
    body["storage_state"] = "ARCHIVED"


def moved(run, state, error=""):
    """Brings a run to a state."""
    if run["state"] != state:
        entry = {"update_time": now(), "state": state}
        run["state_history"] = [*run["state_history"], entry]
    run["state"] = state
    if error:
        run["error"] = {"code": 9, "message": error}


def path_of(node):
    """The path of the step that a node of a Workflow runs, as its launcher is told it."""
    given = (node.get("inputs") or {}).get("parameters") or ()
    values = {each["name"]: each.get("value") for each in given}
    try:
        (main,) = json.loads(values["pod-spec-patch"])["containers"]
        return main["command"][main["command"].index("--task") + 1]
    except (KeyError, TypeError, ValueError):
        return ""


def reported(text):
    """Metadata and object of a report. Raises CallError."""
    try:
        found = json.loads(text)
        metadata = found["metadata"]
        if not all(metadata.get(key) for key in ("name", "namespace", "uid")):
            raise invalid("the reported object has no name, namespace or uid")
    except (KeyError, TypeError, ValueError):
        raise invalid("the report is no object of Kubernetes") from None
    return metadata, found


# Paths ------------------------------------------------------------------------------------------


def application(server):
    """The web application."""
    app = flask.Flask("kfp", static_folder=None)
    app.json.sort_keys = False
    request = flask.request

    def body():
        found = request.get_json(force=True, silent=True)
        if not isinstance(found, dict):
            raise invalid("the body is no JSON object")
        return found

    def route(method, path, action):
        def view(**arguments):
            return flask.jsonify(action(request.headers, **arguments))

        app.add_url_rule(path, f"{method} {path}", view, methods=[method])

    def get(path, action):
        route("GET", f"{API}{path}", action)

    def post(path, action):
        route("POST", f"{API}{path}", action)

    def delete(path, action):
        route("DELETE", f"{API}{path}", action)

    for version in ("v1beta1", "v2beta1"):
        route("GET", f"/apis/{version}/healthz", lambda _: {"multi_user": True})

    post("/experiments", lambda h: server.create_experiment(h, body()))
    get("/experiments", lambda h: server.list_experiments(h, request.args))
    get("/experiments/<id>", server.experiment)
    delete("/experiments/<id>", server.delete_experiment)
    post("/experiments/<id>:<any(archive, unarchive):verb>", server.do_experiment)

    post("/pipelines", lambda h: server.create_pipeline(h, body()))
    get("/pipelines", lambda h: server.list_pipelines(h, request.args))
    get("/pipelines/<id>", server.pipeline)
    get(
        "/pipelines/names/<name>",
        lambda h, name: server.named_pipeline(h, name, request.args.get("namespace", "")),
    )
    delete(
        "/pipelines/<id>",
        lambda h, id: server.delete_pipeline(h, id, request.args.get("cascade") == "true"),
    )
    post("/pipelines/<id>/versions", lambda h, id: server.create_version(h, id, body()))
    get("/pipelines/<id>/versions", lambda h, id: server.list_versions(h, id, request.args))
    get("/pipelines/<pipeline_id>/versions/<id>", server.version)
    delete("/pipelines/<pipeline_id>/versions/<id>", server.delete_version)

    def uploaded(action):
        file = request.files.get("uploadfile")
        if file is None:
            return flask.jsonify({"error_message": "no file uploadfile is given"}), 400
        try:
            made = action(
                request.headers, request.args.to_dict(), file.read(), file.filename or ""
            )
        except (CallError, PipelineError, RefusedError) as error:  # upstream answers 400 to each
            status = 409 if isinstance(error, CallError) and error.code == 6 else 400
            answer = {"error_message": str(error), "error_details": str(error)}
            return flask.jsonify(answer), status
        return flask.jsonify(made)

    for name, action in (
        ("upload", server.upload_pipeline),
        ("upload_version", server.upload_version),
    ):
        app.add_url_rule(
            f"{API}/pipelines/{name}",
            name,
            lambda action=action: uploaded(action),
            methods=["POST"],
        )

    post("/runs", lambda h: server.create_run(h, body(), request.args))
    get("/runs", lambda h: server.list_runs(h, request.args))
    get("/runs/<id>", server.run)
    delete("/runs/<id>", server.delete_run)
    post("/runs/<id>:<any(archive, unarchive, terminate, retry):verb>", server.do_run)

    post("/recurringruns", lambda h: server.create_recurring_run(h, body()))
    get("/recurringruns", lambda h: server.list_recurring_runs(h, request.args))
    get("/recurringruns/<id>", server.recurring_run)
    delete("/recurringruns/<id>", server.delete_recurring_run)
    post("/recurringruns/<id>:<any(enable, disable):verb>", server.do_recurring_run)

    def text():
        """A report's object: the body is the object's JSON as a text."""
        found = request.get_json(force=True, silent=True)
        return found if isinstance(found, str) else json.dumps(found)

    post("/workflows", lambda h: server.report_workflow(h, text()))
    post("/scheduledworkflows", lambda h: server.report_schedule(h, text()))

    get("/stand-in/runs/<run_id>", server.known)
    get("/stand-in/runs/<id>/lineage", server.lineage)
    post("/stand-in/runs/<run_id>/tasks", lambda h, run_id: server.report_task(h, run_id, body()))
    get("/stand-in/runs/<run_id>/cached/<mark>", server.cached)

    @app.route("/metrics")
    def metrics():
        return flask.Response("", content_type="text/plain")

    def problem(status, code, message):
        answer = {"error": message, "code": code, "message": message, "details": []}
        return flask.jsonify(answer), status

    @app.errorhandler(CallError)
    def known_problem(error):
        return problem(error.status, error.code, str(error))

    @app.errorhandler(PipelineError)
    def not_compiled(error):
        return problem(400, 3, str(error))

    @app.errorhandler(404)
    def no_path(_):
        return problem(404, 5, "Not Found")

    @app.errorhandler(RefusedError)
    def bucket_problem(error):
        return problem(500, 13, str(error))

    @app.errorhandler(ApiError)
    def kubernetes_problem(error):
        return problem(500, 13, f"Kubernetes says: {error.message}")

    @app.after_request
    def log(answer):
        if "healthz" not in request.path:
            stand_in.log(f"{request.method} {request.path} {answer.status_code}")
        return answer

    return app


async def serving(app, binds):
    """Serves until it is told to stop."""
    pool = concurrent.futures.ThreadPoolExecutor(THREADS)
    asyncio.get_running_loop().set_default_executor(pool)
    config = Config()
    config.bind = binds
    config.errorlog = None
    config.keep_alive_timeout = 75
    config.graceful_timeout = 2
    config.wsgi_max_body_size = 64 * 1024 * 1024
    await serve(app, config, mode="wsgi")


def main():
    """Serves until it is ended."""
    given = stand_in.flags(
        {
            "config": "", "sampleconfig": "", "logtostderr": False, "logLevel": "info",
            "rpcPortFlag": ":8887", "httpPortFlag": ":8888", "collectMetricsFlag": True,
        }
    )  # fmt: skip
    if not given["config"]:
        sys.exit("apiserver: --config is not given")
    missing = [name for name in REQUIRED if not os.environ.get(name)]
    if missing:
        sys.exit(f"apiserver: not set: {', '.join(missing)}")
    settings = dict(os.environ)
    port = settings.get("OBJECTSTORECONFIG_PORT", "")
    secure = settings.get("OBJECTSTORECONFIG_SECURE") == "true"
    is_usual = port in ("", "443" if secure else "80")
    host = settings["OBJECTSTORECONFIG_HOST"] + ("" if is_usual else f":{port}")
    keys = (
        settings["OBJECTSTORECONFIG_ACCESSKEY"],
        settings["OBJECTSTORECONFIG_SECRETACCESSKEY"],
    )
    bucket = Bucket(host, settings.get("OBJECTSTORECONFIG_REGION"), *keys, secure)
    try:
        objects = Objects(settings)
    except CallError as problem:
        sys.exit(f"apiserver: {problem}")
    server = Server(settings, objects, bucket, stand_in.Kubernetes())
    binds = [f"0.0.0.0:{given[name].lstrip(':')}" for name in ("httpPortFlag", "rpcPortFlag")]
    stand_in.log(
        f"stand-in for the pipelines' API server: {', '.join(binds)}; the second speaks REST over "
        "HTTP/2, not gRPC"
    )
    asyncio.run(serving(application(server), binds))


if __name__ == "__main__":
    main()
