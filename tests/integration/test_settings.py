"""What PodDefaults bring to a tenant's pod: her key of the store, the pipelines' address."""

from __future__ import annotations

import base64
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from intruders import Pod, pod
from pages import get, send, wait_for
from reach import Reach

SIGNATURE = (Path(__file__).parents[2] / "lib" / "charmed_mlops" / "sigv4.py").read_text()
# Does something with an object of the pod's folder, or of another one of the same bucket.
STORE = """
import base64, json, os, sys, urllib.error, urllib.parse, urllib.request

method, name, body = sys.argv[1], sys.argv[2], base64.b64decode(sys.argv[3])
bucket, _, folder = os.environ["S3_FOLDER"].removeprefix("s3://").partition("/")
if name.startswith("/"):
    folder, _, name = name[1:].rpartition("/")
url = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL"])
path = f"/{bucket}/{folder}/{name}"
headers = signed(
    method, url.netloc, path, hashlib.sha256(body).hexdigest(),
    access=os.environ["AWS_ACCESS_KEY_ID"], secret=os.environ["AWS_SECRET_ACCESS_KEY"],
    region=os.environ["AWS_DEFAULT_REGION"],
)
request = urllib.request.Request(f"{url.geturl()}{path}", body or None, headers, method=method)
try:
    with urllib.request.urlopen(request, timeout=30) as answer:
        found = answer.status, answer.read().decode(errors="replace")
except urllib.error.HTTPError as error:
    found = error.code, ""
print(json.dumps([*found, os.environ["S3_FOLDER"]]))
"""
# What the SDK does with these settings, by the standard library.
RUNS = """
import json, os, pathlib, ssl, sys, urllib.error, urllib.request

token = pathlib.Path(os.environ["KF_PIPELINES_SA_TOKEN_PATH"]).read_text().strip()
request = urllib.request.Request(
    f"{os.environ['KF_PIPELINES_ENDPOINT']}/apis/v2beta1/runs?namespace={sys.argv[1]}",
    headers={"Authorization": f"Bearer {token}"},
)
context = ssl.create_default_context(cafile=os.environ["KF_PIPELINES_CA"])
try:
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:
        print(answer.status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


@pytest.fixture(scope="module")
def notebook(reach: Reach, team: str) -> Iterator[Pod]:
    """A pod of Ann's with both settings, as her notebooks have it."""
    labels = {"pipelines": "true", "object_store": "true"}
    with pod(reach, team, "settings", "default-editor", **labels) as made:
        yield made


def store(notebook: Pod, method: str, name: str, body: bytes = b"") -> tuple[int, str, str]:
    """The status, what is there, and the pod's folder."""
    status, text, folder = notebook.run(
        f"{SIGNATURE}\n{STORE}", method, name, base64.b64encode(body).decode()
    )
    return status, text, folder


def test_a_pod_writes_and_reads_in_its_own_folder_without_a_typed_secret(notebook: Pod, team: str):
    status, _, folder = store(notebook, "PUT", "note.txt", b"hello")
    assert (status, folder.rpartition("/")[2]) == (200, team)
    assert store(notebook, "GET", "note.txt")[:2] == (200, "hello")


def test_it_reaches_no_other_tenant_s_folder(notebook: Pod, team: str, other: str):
    mine = store(notebook, "GET", "nothing.txt")[2]
    theirs = f"/{mine.split('/', 3)[3].removesuffix(team)}{other}"
    assert store(notebook, "PUT", f"{theirs}/note.txt", b"x")[0] == 403
    assert store(notebook, "GET", f"{theirs}/note.txt")[0] == 403


def test_it_lists_its_own_runs_and_no_others(notebook: Pod, team: str, other: str):
    assert notebook.run(RUNS, team) == 200
    assert notebook.run(RUNS, other) == 403


def _masked(data: bytes) -> bytes:
    """The checksum of a TFRecord, see https://www.tensorflow.org/tutorials/load_data/tfrecord."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def events(tag: str, value: float) -> bytes:
    """TensorBoard's file with one scalar: the fields' numbers are those of event.proto."""

    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    scalar = field(1, tag.encode()) + bytes([2 << 3 | 5]) + struct.pack("<f", value)
    now = bytes([1 << 3 | 1]) + struct.pack("<d", time.time())
    found = b""
    for event in (now + field(3, b"brain.Event:2"), now + field(5, field(1, scalar))):
        length = struct.pack("<Q", len(event))
        found += length + _masked(length) + event + _masked(event)
    return found


def test_a_tensorboard_reads_logs_in_the_tenant_s_folder(
    ann: httpx2.Client, notebook: Pod, team: str
):
    status, _, folder = store(notebook, "PUT", "logs/events.out.tfevents.1", events("loss", 0.5))
    assert status == 200
    here = f"/tensorboards/api/namespaces/{team}/tensorboards"
    body = {
        "name": "stored", "logspath": f"{folder}/logs", "configurations": ["object-store"]
    }  # fmt: skip
    assert send(ann, "POST", here, body).status_code == 200
    wait_for(lambda: get(ann, here)["tensorboards"][0]["status"]["phase"] == "ready")
    place = f"/tensorboard/{team}/stored"
    wait_for(lambda: ann.get(f"{place}/data/environment").status_code == 200)
    wait_for(lambda: get(ann, f"{place}/data/plugin/scalars/tags"))
    assert [*get(ann, f"{place}/data/plugin/scalars/tags")["."]] == ["loss"]
