"""The stand-in of the model registry, a program that upstream's unchanged client asks, and REST.

Its database is SQLite here, in a file that several servers share; the image's driver of MySQL is
replaced by a module that speaks so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localjuju.images import training
from localkube.controlplane.pki import Authority
from localkube.tests.clusters import wait_until
from localkube.tests.ports import ports

SCRIPT = Path(__file__).parents[1] / "scripts" / "model_registry.py"
API = "/api/model_registry/v1alpha3"
DSN = "me:pa:ss@word@tcp(db:3306)/model_registry?charset=utf8mb4"
DRIVER = '''
"""MySQL's words, in SQLite's; the database of the settings is a file's path."""
import os, re, sqlite3
from sqlite3 import Error, IntegrityError, OperationalError

class Cursor(sqlite3.Cursor):
    def __enter__(self): return self
    def __exit__(self, *_): self.close()
    def execute(self, statement, values=()):
        statement = re.sub(r",\\s+(PRIMARY )?KEY \\([^)]*\\)", "", statement)
        for word, other in (
            ("%s", "?"), ("UNIQUE KEY", "UNIQUE"), (" FOR UPDATE", ""),
            (" CHARACTER SET utf8mb4", ""),
            ("id INT NOT NULL AUTO_INCREMENT", "id INTEGER PRIMARY KEY AUTOINCREMENT"),
        ):
            statement = statement.replace(word, other)
        return super().execute(statement, values)

class Connection(sqlite3.Connection):
    def cursor(self): return super().cursor(Cursor)

def connect(user, password, host, port, database, ssl=None, **_):
    assert (user, password, host, port) == ("me", "pa:ss@word", "db", 3306)
    assert database == "model_registry"
    connection = sqlite3.connect(os.environ["DATABASE"], timeout=20, factory=Connection)
    with open(os.environ["DATABASE"] + ".tls", "w") as file:
        file.write("plain" if ssl is None else f"{ssl.verify_mode.name} {ssl.check_hostname}")
    return connection
'''
CLIENT = """
import json, sys
from model_registry import ModelRegistry
from model_registry.types import ModelArtifact, RegisteredModel
host, port = sys.argv[1].rsplit(":", 1)
registry = ModelRegistry(host, int(port), author="ann", is_secure=False, user_token="none")
"""


class Server:
    """A running stand-in."""

    def __init__(self, process: subprocess.Popen[str], port: int):
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and answer of a call below the API's path, or of another with a slash."""
        data = None if body is None else json.dumps(body).encode()
        url = self.url + (path if path.startswith("/") else f"{API}/{path}")
        request = urllib.request.Request(url, method=method, data=data)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text.decode().strip()

    def made(self, path: str, **body: Any) -> dict[str, Any]:
        """A new object."""
        status, found = self.ask("POST", path, body)
        assert status == 201, found
        return found

    def names(self, path: str) -> list[str]:
        """Of a list."""
        status, found = self.ask("GET", path)
        assert status == 200, found
        return [each["name"] for each in found["items"]]

    @property
    def healthy(self) -> bool:
        try:
            return self.ask("GET", "/readyz/health") == (200, "OK")
        except OSError:
            return False


def environment(folder: Path, **more: str) -> dict[str, str]:
    (folder / "pymysql.py").write_text(DRIVER)
    return {
        "PYTHONPATH": f"{folder}{os.pathsep}{SCRIPT.parent}", "DATABASE": str(folder / "db"),
        "HOME": str(folder), "MR_EMBEDMD_DATABASE_DSN": DSN, "PATH": os.environ["PATH"], **more,
    }  # fmt: skip


def command(port: int, *flags: str) -> list[str]:
    return [
        sys.executable, str(SCRIPT), "proxy", "--hostname=127.0.0.1", f"--port={port}",
        "--datastore-type=embedmd", "--embedmd-database-type=mysql", *flags,
    ]  # fmt: skip


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers over one database, with further flags."""
    servers: list[Server] = []

    def starter(*flags: str) -> Server:
        (port,) = ports(1)
        with (tmp_path / "log").open("a") as log:
            process = subprocess.Popen(
                command(port, *flags), env=environment(tmp_path), stdout=log, stderr=log, text=True
            )
        server = Server(process, port)
        servers.append(server)
        wait_until(lambda: server.healthy, 30)
        return server

    yield starter
    for each in servers:
        each.process.kill()
        each.process.wait()


@pytest.fixture
def server(start: Callable[..., Server]) -> Server:
    return start()


@pytest.fixture
def client(server: Server) -> Callable[[str], Any]:
    """Runs a piece of Python with upstream's client as `registry`; returns what it prints."""

    def run(code: str) -> Any:
        done = subprocess.run(
            [training.python(name="model-registry-client"), "-c", CLIENT + code, server.url],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


REGISTER = """
registry.register_model(
    "fraud", "s3://models/fraud/{0}", version="{0}", model_format_name="onnx",
    model_format_version="1", storage_key="key", version_description="the {0}",
    metadata={{"accuracy": 0.75, "rows": 12, "checked": True, "team": "risk"}},
)
"""


# upstream's client


def test_the_client_registers_versions_and_finds_them(client: Callable[[str], Any]):
    found = client(
        REGISTER.format("1")
        + REGISTER.format("2")
        + """
model = registry.get_registered_model("fraud")
versions = [each.name for each in registry.get_model_versions("fraud")]
version = registry.get_model_version("fraud", "2")
artifact = registry.get_model_artifact("fraud", "2")
print(json.dumps({
    "owner": model.owner, "state": model.state, "versions": versions,
    "version": [version.author, version.description, version.custom_properties],
    "artifact": [artifact.name, artifact.uri, artifact.model_format_name, artifact.storage_key],
    "absent": registry.get_registered_model("other"),
}))
"""
    )
    properties = {"accuracy": 0.75, "rows": 12, "checked": True, "team": "risk"}
    assert found == {
        "owner": "ann",
        "state": "LIVE",
        "versions": ["1", "2"],
        "version": ["ann", "the 2", properties],
        "artifact": ["fraud", "s3://models/fraud/2", "onnx", "key"],
        "absent": None,
    }


def test_the_client_changes_what_it_has_registered(client: Callable[[str], Any]):
    found = client(
        REGISTER.format("1")
        + """
from model_registry.types import RegisteredModelState
model = registry.get_registered_model("fraud")
model.description, model.state = "finds fraud", RegisteredModelState.ARCHIVED
registry.update(model)
version = registry.get_model_version("fraud", "1")
version.custom_properties = {"accuracy": 0.5}
registry.update(version)
artifact = registry.get_model_artifact("fraud", "1")
artifact.uri = "s3://elsewhere"
registry.update(artifact)
model = registry.get_registered_model("fraud")
print(json.dumps([
    model.description, model.state, registry.get_model_version("fraud", "1").custom_properties,
    registry.get_model_artifact("fraud", "1").uri,
]))
"""
    )
    assert found == ["finds fraud", "ARCHIVED", {"accuracy": 0.5}, "s3://elsewhere"]


def test_the_client_refuses_a_version_that_is_there(client: Callable[[str], Any]):
    found = client(
        REGISTER.format("1")
        + f"""
from model_registry.exceptions import StoreError
try:
    {REGISTER.format("1").strip()}
except StoreError as error:
    print(json.dumps(str(error)))
"""
    )
    assert found == "Version 1 already exists"


def test_the_client_pages_through_a_list_in_order(client: Callable[[str], Any]):
    found = client(
        """
for name in ("a", "b", "c", "d", "e"):
    registry.register_model(
        name, "s3://x", version="1", model_format_name="onnx", model_format_version="1")
pager = registry.get_registered_models().page_size(2)
up = [each.name for each in pager.order_by_creation_time()]
down = [each.name for each in registry.get_registered_models().page_size(2).order_by_id()
        .descending()]
print(json.dumps([up, down]))
"""
    )
    assert found == [["a", "b", "c", "d", "e"], ["e", "d", "c", "b", "a"]]


# where it is kept


def test_units_agree_and_a_new_one_knows_what_was_registered(start: Callable[..., Server]):
    one, other = start(), start()
    model = one.made("registered_models", name="fraud")
    version = other.made("model_versions", name="1", registeredModelId=model["id"])
    for each in (one, other):
        each.process.kill()
        each.process.wait()
    third = start()
    assert third.ask("GET", f"model_versions/{version['id']}") == (200, version)
    assert third.names(f"registered_models/{model['id']}/versions") == ["1"]


def test_it_is_not_healthy_before_it_has_its_database(tmp_path: Path):
    settings = environment(tmp_path, DATABASE=str(tmp_path / "no" / "db"))
    (port,) = ports(1)
    process = subprocess.Popen(command(port), env=settings, stdout=subprocess.DEVNULL, text=True)
    server = Server(process, port)
    try:
        wait_until(lambda: answers(server), 30)
        assert server.ask("GET", "/readyz/health")[0] == 503
        status, said = server.ask("GET", "registered_models")
        assert (status, said) == (503, "Datastore service is down or unavailable.")
        (tmp_path / "no").mkdir()
        wait_until(lambda: server.healthy, 60)
    finally:
        process.kill()
        process.wait()


def answers(server: Server) -> bool:
    try:
        return server.ask("GET", "/readyz/isDirty")[0] > 0
    except OSError:
        return False


# REST


def test_a_model_has_its_fields_times_and_the_state_live(server: Server):
    sent = {
        "name": "fraud", "description": "d", "externalId": "x-1", "owner": "ann",
        "language": ["en"], "license": "Apache-2.0", "customProperties": {
            "n": {"metadataType": "MetadataIntValue", "int_value": "3"}},
    }  # fmt: skip
    made = server.made("registered_models", **sent)
    assert {key: made[key] for key in sent} == sent
    assert made["state"] == "LIVE"
    assert made["createTimeSinceEpoch"] == made["lastUpdateTimeSinceEpoch"]
    assert made["createTimeSinceEpoch"].isdecimal()
    assert server.ask("GET", f"registered_models/{made['id']}") == (200, made)
    for query in ("name=fraud", "externalId=x-1"):
        assert server.ask("GET", f"registered_model?{query}") == (200, made)


def test_a_change_keeps_what_it_does_not_name_but_the_state(server: Server):
    made = server.made("registered_models", name="fraud", owner="ann", state="ARCHIVED")
    status, found = server.ask("PATCH", f"registered_models/{made['id']}", {"description": "d"})
    assert status == 200
    # upstream's decoder starts from the defaults, of which the state is one
    assert (found["owner"], found["description"], found["state"]) == ("ann", "d", "LIVE")


def test_versions_and_artifacts_of_one_name_belong_to_each_parent(server: Server):
    for name in ("fraud", "churn"):
        model = server.made("registered_models", name=name)
        version = server.made("model_versions", name="1", registeredModelId=model["id"])
        artifact = {"artifactType": "model-artifact", "name": "model", "uri": f"s3://{name}"}
        made = server.made(f"model_versions/{version['id']}/artifacts", **artifact)
        query = f"name=model&parentResourceId={version['id']}"
        assert server.ask("GET", f"model_artifact?{query}") == (200, made)
        _, found = server.ask("GET", f"model_version?name=1&parentResourceId={model['id']}")
        assert found == version
    assert len(server.names("model_versions")) == 2


def test_an_artifact_that_is_posted_again_with_its_id_is_changed(server: Server):
    model = server.made("registered_models", name="fraud")
    version = server.made(f"registered_models/{model['id']}/versions", name="1")
    path = f"model_versions/{version['id']}/artifacts"
    made = server.made(path, artifactType="doc-artifact", name="card", uri="s3://a")
    status, found = server.ask("POST", path, {**made, "uri": "s3://b"})
    assert (status, found["id"], found["uri"]) == (200, made["id"], "s3://b")
    assert server.names(path) == ["card"]
    assert server.names(f"{path}?artifactType=model-artifact") == []


def test_a_page_tells_where_the_next_one_begins(server: Server):
    for name in ("a", "b", "c"):
        server.made("registered_models", name=name)
    status, first = server.ask("GET", "registered_models?pageSize=2&orderBy=CREATE_TIME")
    assert (status, first["size"], first["pageSize"]) == (200, 2, 2)
    query = f"pageSize=2&orderBy=CREATE_TIME&nextPageToken={first['nextPageToken']}"
    _, last = server.ask("GET", f"registered_models?{query}")
    assert ([each["name"] for each in last["items"]], last["nextPageToken"]) == (["c"], "")


def test_the_last_one_changed_comes_first(server: Server):
    a, _ = (server.made("registered_models", name=name) for name in ("a", "b"))
    newer = str(int(a["lastUpdateTimeSinceEpoch"]) + 1)
    while True:  # the clock's milliseconds
        _, found = server.ask("PATCH", f"registered_models/{a['id']}", {"owner": "ann"})
        _, other = server.ask("GET", "registered_model?name=b")
        if found["lastUpdateTimeSinceEpoch"] > max(newer, other["lastUpdateTimeSinceEpoch"]):
            break
    query = "orderBy=LAST_UPDATE_TIME&sortOrder=DESC"
    assert server.names(f"registered_models?{query}") == ["a", "b"]


PROPERTY = {"metadataType": "MetadataIntValue", "int_value": "3000000000"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("GET", "registered_models/77", None, 404, "no registered model found for id 77"),
        ("PATCH", "registered_models/77", {}, 404, "no registered model found for id 77"),
        ("GET", "registered_models/x", None, 400, "invalid registered model ID"),
        ("GET", "registered_model?name=other", None, 404, "no registered models found"),
        ("GET", "registered_model", None, 400, "supply either name or externalId"),
        ("GET", "model_version?name=1", None, 400, "(name and parentResourceId), or externalId"),
        ("POST", "registered_models", {"name": "a", "colour": 1}, 400, 'unknown field "colour"'),
        ("POST", "registered_models", {"name": 7}, 400, "name"),
        ("POST", "registered_models", {"owner": "ann"}, 422, "required field 'name'"),
        ("POST", "registered_models", {"name": "a", "state": "OLD"}, 400, "OLD is not a valid"),
        ("POST", "registered_models", {"name": "fraud"}, 409, "fraud already exists"),
        ("POST", "registered_models", {"name": "b", "externalId": "x"}, 409, "already exists"),
        ("POST", "registered_models", {"name": "a", "customProperties": {"n": PROPERTY}}, 400,
         "for key n"),
        ("POST", "registered_models", {"name": "a", "customProperties": []}, 400, "no object"),
        ("PATCH", "registered_models/1", {"name": "c"}, 400, 'unknown field "name"'),
        ("POST", "model_versions", {"name": "1"}, 422, "required field 'registeredModelId'"),
        ("POST", "model_versions/5/artifacts", {"artifactType": "model-artifact"}, 404,
         "no model version found for id 5"),
        ("POST", "artifacts", {"artifactType": "song"}, 400, "invalid artifact type"),
        ("GET", "artifacts?artifactType=song", None, 400, "invalid artifact type"),
        ("GET", "registered_models?pageSize=x", None, 400, "invalid syntax"),
        ("GET", "registered_models?filterQuery=x", None, 501, "no filterQuery"),
        ("GET", "experiments", None, 501, "no experiments"),
        ("POST", "registered_models", {"name": "a\0"}, 400, "null bytes"),
        ("DELETE", "registered_models/1", None, 405, "404 page not found"),
    ],
)  # fmt: skip
def test_what_upstream_refuses_is_refused_with_the_reason(
    server: Server, method: str, path: str, body: Any, status: int, said: str
):
    server.made("registered_models", name="fraud", externalId="x")
    found, answer = server.ask(method, path, body)
    assert found == status
    assert said in answer["message"]
    assert server.names("registered_models") == ["fraud"]


# how it is started


@pytest.mark.parametrize(
    ("flags", "connection"),
    [
        ([], "plain"),
        (["--embedmd-database-ssl-ca={ca}"], "CERT_NONE False"),
        (
            ["--embedmd-database-ssl-ca={ca}", "--embedmd-database-ssl-verify-server-cert"],
            "CERT_REQUIRED True",
        ),
    ],
)
def test_it_encrypts_and_checks_as_its_flags_say(
    start: Callable[..., Server], tmp_path: Path, flags: list[str], connection: str
):
    ca = Authority(tmp_path / "pki").pair.certificate
    start(*(each.format(ca=ca) for each in flags))
    assert (tmp_path / "db.tls").read_text() == connection


@pytest.mark.parametrize(
    ("flags", "settings", "said"),
    [
        (["--colour=red"], {}, "--colour"),
        (["--datastore-type=mlmd"], {}, "mlmd"),
        ([], {"MR_EMBEDMD_DATABASE_DSN": "db:3306"}, "invalid MySQL DSN"),
        ([], {"MR_EMBEDMD_DATABASE_DSN": "u:p?@tcp(db:1)/d?charset=x"}, "invalid MySQL DSN"),
        (["--embedmd-database-ssl-ca=/no/ca.pem"], {}, "SSL certificate"),
    ],
)
def test_wrong_settings_end_it(
    tmp_path: Path, flags: list[str], settings: dict[str, str], said: str
):
    done = subprocess.run(
        command(1, *flags), env=environment(tmp_path, **settings), capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    assert said in done.stderr


def test_it_needs_a_home_as_upstream_looks_there_for_a_file(tmp_path: Path):
    settings = environment(tmp_path)
    del settings["HOME"]
    done = subprocess.run(
        command(1), env=settings, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr.strip()) == (1, "error: $HOME is not defined")
