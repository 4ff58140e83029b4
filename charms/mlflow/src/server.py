"""MLflow's server: its command, its environment and its database schema.

Options: https://mlflow.org/docs/latest/api_reference/cli.html#mlflow-server. Everything secret is
in the environment: arguments can be read by any process of the pod.
"""

from __future__ import annotations

import json
import logging
import re
import urllib.parse
from collections.abc import Sequence
from typing import Any

import ops

from charmed_mlops import ActionFailed, Blocked, Waiting, Workload, serving
from charmed_mlops.interfaces import s3
from charmed_mlops.interfaces.manifests import TENANT_LABEL
from charmed_mlops.interfaces.mysql import CA_FILE, Credentials
from charmed_mlops.interfaces.s3 import Bucket

logger = logging.getLogger(__name__)
PORT = 5000
VERSION = "3.17.2"
WORKSPACES = "workspaces"
"""Below it each workspace has its artifacts, in a folder of its name: MLflow's own layout."""
_MLFLOW = "/usr/local/bin/mlflow"
# MLflow's other commands want the database's URL, password included, as an argument: here it
# becomes one inside the process only, where nobody else can read it
_COMMAND = """
import os, sys
from mlflow.cli import cli
uri = os.environ["MLFLOW_BACKEND_STORE_URI"]
sys.argv = ["mlflow"] + [uri if each == "URI" else each for each in {arguments!r}]
cli()
"""
# the lines of `mlflow gc`, by mlflow/cli/__init__.py of 3.17
_DELETED = re.compile(r"^(.+) with ID (\S+) has been permanently deleted\.$", re.MULTILINE)
# what the database's tables are, what this MLflow has them as, and whether it knows the former
_REVISIONS = """
import json, os, sqlalchemy
from alembic.script import ScriptDirectory
from mlflow.store.db.utils import _get_alembic_config, _get_schema_version
script = ScriptDirectory.from_config(_get_alembic_config(db_url=""))
current = _get_schema_version(sqlalchemy.create_engine(os.environ["MLFLOW_BACKEND_STORE_URI"]))
known = {each.revision for each in script.walk_revisions()}
found = {"current": current, "head": script.get_current_head(), "known": current in known}
print(json.dumps(found))
"""


def command(workers: int, level: str, *, workspaces: bool) -> str:
    """The service's command; artifacts pass through the server, which is its default."""
    plugins = " --enable-workspaces --workspace-store-uri kubernetes:// --app-name kubernetes-auth"
    return (
        f"{_MLFLOW} server --host 0.0.0.0 --port {PORT} --workers {workers} "
        f"--expose-prometheus /tmp/mlflow-metrics --uvicorn-opts '--log-level {level}'"
        + (plugins if workspaces else "")
    )


def workspaces(*, trusted: bool) -> dict[str, str]:
    """Settings of mlflow-kubernetes-plugins: tenants' namespaces are workspaces.

    Source: its documents workspace-provider.md and authorization-plugin.md, release 2.0.

    Args:
        trusted: whether the gateway says who sends a request; else each request has to carry a
            token of the Kubernetes API.
    """
    values = {
        "MLFLOW_K8S_WORKSPACE_LABEL_SELECTOR": "=".join(TENANT_LABEL),
        "MLFLOW_K8S_AUTH_CACHE_TTL_SECONDS": "15",  # how long a right that was taken away lasts
    }
    if trusted:
        values |= {
            "MLFLOW_K8S_AUTH_AUTHORIZATION_MODE": "subject_access_review",
            "MLFLOW_K8S_AUTH_REMOTE_USER_HEADER": "kubeflow-userid",
            "MLFLOW_K8S_AUTH_REMOTE_GROUPS_HEADER": "kubeflow-groups",
            "MLFLOW_K8S_AUTH_REMOTE_GROUPS_SEPARATOR": ",",
        }
    return values


def environment(database: Credentials, store: Bucket) -> dict[str, str]:
    """Where metadata and artifacts go, for the server and for its other commands."""
    user = urllib.parse.quote(database.username, safe="")
    password = urllib.parse.quote(database.password, safe="")
    place = f"{database.host}:{database.port}/{database.database}"
    # PyMySQL then checks the certificate and the host name, and speaks to no server without TLS
    tls = f"?ssl_ca={CA_FILE}" if database.ca else ""
    values = {
        "MLFLOW_BACKEND_STORE_URI": f"mysql+pymysql://{user}:{password}@{place}{tls}",
        "MLFLOW_ARTIFACTS_DESTINATION": artifacts(store),
        "MLFLOW_S3_ENDPOINT_URL": store.endpoint,
        "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE": "path" if store.path_style else "virtual",
        "AWS_ACCESS_KEY_ID": store.access_key,
        "AWS_SECRET_ACCESS_KEY": store.secret_key,
        "AWS_DEFAULT_REGION": store.region,
        # boto3 then trusts this CA alone; it refuses an empty name
        **({"AWS_CA_BUNDLE": s3.CA_FILE} if store.ca else {}),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # jobs of server-side judges: a second server of 300 MiB that few need
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    return {key: value for key, value in values.items() if value}


def security(allowed: str, origins: str) -> dict[str, str]:
    """Settings against DNS rebinding and calls from foreign pages.

    https://mlflow.org/docs/latest/self-hosting/security/network
    """
    values = {
        "MLFLOW_SERVER_ALLOWED_HOSTS": allowed,
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": origins,
    }
    return {key: value for key, value in values.items() if value}


def origins(further: str, gateway: str) -> str:
    """Origins whose pages may change something: the gateway's, as the pages come through it."""
    return ",".join(dict.fromkeys(filter(None, [gateway.rstrip("/"), *_names(further)])))


def hosts(application: str, model: str, further: str, gateway: Sequence[str] = ()) -> str:
    """Host headers that the server accepts: to set any replaces MLflow's own defaults.

    The gateway passes on the name that people typed, so all its URLs are among them. Pods keep
    the one that they began with, which may have Juju's name of the gateway.
    """
    names = ["localhost", "127.0.0.1", "10.*", "192.168.*"]
    names += [f"172.{part}.*" for part in range(16, 32)]
    for service in (application, serving.name_of(application)):
        names += [service, f"{service}.{model}", f"{service}.{model}.svc"]
        names.append(f"{service}.{model}.svc.cluster.local")
    # Prometheus asks each unit by its own name for its metrics, which need an allowed host as well
    units = f"*.{application}-endpoints.{model}.svc.cluster.local"
    names += [units, f"{units}:*", *_names(further)]
    places = [place for url in gateway if (place := urllib.parse.urlsplit(url).netloc)]
    names += [each for place in places for each in (place, serving.juju_name(place))]
    # a Host header carries the port unless it is 80 or 443
    return ",".join(
        each
        for name in dict.fromkeys(names)
        for each in ([name] if "*" in name or ":" in name else [name, f"{name}:*"])
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def artifacts(store: Bucket) -> str:
    """Where artifacts lie: what `mlflow-artifacts:/` stands for."""
    return "s3://" + "/".join(filter(None, [store.bucket, store.path]))


def collect(workload: Workload, settings: dict[str, str], age: str) -> list[str]:
    """Delete for good what was deleted longer than `age` ago; return kind and ID of each."""
    if not age or not age[0].isdigit() or not age.isalnum():
        raise ActionFailed(f"older-than={age}: give days, hours, minutes, such as 30d or 12h30m")
    settings = settings | {"MLFLOW_TRACKING_URI": f"http://localhost:{PORT}"}
    arguments = ["gc", "--older-than", age, "--backend-store-uri", "URI"]
    out = _run(workload, settings, arguments)
    logger.info("gc: %s", out.strip() or "nothing to delete")
    return [f"{kind} {name}" for kind, name in _DELETED.findall(out)]


def upgrade_database(workload: Workload, settings: dict[str, str]) -> None:
    """Bring the schema to this version; the service is stopped meanwhile."""
    workload.stop()
    _run(workload, settings, ["db", "upgrade", "URI"])


def revisions(workload: Workload, settings: dict[str, str]) -> dict[str, Any]:
    """The revision of the database's tables (`current`), this MLflow's (`head`), and `known`.

    Raises:
        CommandFailed: the database does not answer.
    """
    argv = ["/usr/bin/env", "python3", "-"]
    out = workload.exec(argv, stdin=_REVISIONS, environment=settings, timeout=120)
    return json.loads(out.splitlines()[-1])


def _run(workload: Workload, settings: dict[str, str], arguments: list[str]) -> str:
    return workload.exec(
        ["/usr/bin/env", "python3", "-"],
        stdin=_COMMAND.format(arguments=arguments),
        environment=settings,
        timeout=3600,
    )


class Schema:
    """Which MLflow version the database's tables are known to fit: kept by the leader.

    The leader's server makes the tables when it starts for the first time; the other units wait
    for it, as MySQL cannot undo half of two makers' work.
    """

    def __init__(self, charm: ops.CharmBase):
        self._charm = charm

    def _data(self) -> ops.RelationDataContent:
        relation = self._charm.model.get_relation("peers")
        if relation is None:
            raise Waiting("waiting for the peer relation")
        return relation.data[self._charm.app]

    def require(self, workload: Workload, settings: dict[str, str]) -> None:
        """Raises unless this unit's server may start on the database as it is.

        Most versions of MLflow leave the tables as they are: then nobody has to do anything.

        Raises:
            Blocked: the tables are of another version.
            Waiting: the leader has not made them yet, or the database does not answer.
        """
        version = self._data().get("schema")
        if version == VERSION:
            return
        if not version:
            if not self._charm.unit.is_leader():
                raise Waiting("waiting for the leader to prepare the database")
            return
        found = revisions(workload, settings)
        if found["current"] == found["head"]:
            self.settled()
        elif found["known"]:
            raise Blocked(
                f"database fits MLflow {version}: back it up, then: "
                f"juju run {self._upgrader} upgrade-database"
            )
        else:
            raise Blocked(
                f"database is newer than MLflow {VERSION}: refresh to {version} or later"
            )

    @property
    def _upgrader(self) -> str:
        """The one unit that upgrades the tables: the highest, whose pod a refresh replaces first.

        The leader's pod may wait for it. Two units at one time would spoil the tables.
        """
        return f"{self._charm.app.name}/{self._charm.app.planned_units() - 1}"

    def require_upgrader(self) -> None:
        """Raises ActionFailed unless this unit is the one that upgrades the tables."""
        if self._charm.unit.name != self._upgrader:
            raise ActionFailed(f"run this on {self._upgrader}, which a refresh replaces first")

    def settled(self) -> None:
        """The database fits this version now."""
        if self._charm.unit.is_leader() and self._data().get("schema") != VERSION:
            self._data()["schema"] = VERSION
