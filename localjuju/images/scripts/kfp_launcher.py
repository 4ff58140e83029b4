"""Stand-in for Kubeflow Pipelines' launcher 2.16: it runs a component and takes its outputs away.

`--copy FILE` puts it into a volume. From there it runs in the component's own image, which has to
have Python: upstream's is a program that needs nothing.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import zipfile
from typing import Any

import stand_in
from kfp_client import RefusedError, Server, Tenant, download, local, own_namespace, upload
from kfp_metadata import Lineage, Store

MODULES = ("stand_in.py", "kfp_client.py", "kfp_metadata.py", "kfp_launcher.py")
SHELL = """#!/bin/sh
# The launcher of this stand-in needs Python.
for python in python3 python /usr/bin/python3 /usr/local/bin/python3; do
  if command -v $python >/dev/null 2>&1; then exec $python "$0.pyz" "$@"; fi
done
echo "launcher: the component's image has no python3, which the local engine's stand-in needs" >&2
exit 1
"""
PLACEHOLDER = re.compile(
    r"\{\{\$(?:\.(?:inputs|outputs)\.(parameters|artifacts)\['([^']+)'\](?:\.(\w+)|\['(\w+)'\])?"
    r"|\.(\w+))?\}\}"
)
LAST = 400


def copy(target):
    """Writes the launcher to a file, as one that runs anywhere: a shell's beside an archive."""
    here = os.path.dirname(os.path.abspath(__file__))
    with zipfile.ZipFile(f"{target}.pyz", "w") as archive:
        for name in MODULES:
            path = f"{here}/{name}" if name != "kfp_launcher.py" else os.path.abspath(__file__)
            archive.write(path, "__main__.py" if name == "kfp_launcher.py" else name)
    with open(target, "w") as file:
        file.write(SHELL)
    os.chmod(target, 0o755)
    os.chmod(f"{target}.pyz", 0o644)


def text(value):
    """A parameter in a command."""
    return value if isinstance(value, str) else json.dumps(value)


def filled(word, given, run):
    """A word of a command with the values that it names.

    Args:
        word: such as `--data={{$.inputs.artifacts['data'].path}}`.
        given: the executor's input.
        run: what `{{$.pipeline_job_uuid}}` and the like mean.
    """

    def replace(match):
        kind, key, field, other_field, name = match.groups()
        if name is not None:
            return run.get(name, match[0])
        if kind is None:
            return json.dumps(given)
        side = given["inputs" if match[0].startswith("{{$.inputs") else "outputs"]
        if kind == "parameters":
            if side is given["outputs"]:
                return side[kind][key]["outputFile"]
            return text(side["parameterValues"][key])
        (artifact, *_) = side[kind][key]["artifacts"]
        field = field or other_field
        return local(artifact["uri"]) if field == "path" else text(artifact[field])

    return PLACEHOLDER.sub(replace, word)


def words(command, given, run):
    """A command with its placeholders replaced: values, texts put together, optional parts."""
    found = []
    for word in command:
        try:
            form = json.loads(word) if word.startswith('{"') else None
        except ValueError:
            form = None
        if isinstance(form, dict) and set(form) & {"Concat", "IfPresent"}:
            made = shaped(form, given, run)
            found += made if isinstance(made, list) else [made]
        else:
            found.append(filled(word, given, run))
    return found


def shaped(form, given, run) -> Any:
    """The text or the list of texts that a nested placeholder gives."""
    if isinstance(form, str):
        return filled(form, given, run)
    if isinstance(form, list):
        return [shaped(each, given, run) for each in form]
    if "Concat" in form:
        return "".join(shaped(each, given, run) for each in form["Concat"])
    wanted = form["IfPresent"]
    inputs = given["inputs"]
    is_there = wanted["InputName"] in {**inputs["parameterValues"], **inputs["artifacts"]}
    return shaped(wanted["Then"] if is_there else wanted.get("Else", []), given, run)


def read(content, kind):
    """An output parameter, as its type says. Raises RefusedError."""
    try:
        if kind == "NUMBER_INTEGER":
            return int(content)
        if kind == "NUMBER_DOUBLE":
            return float(content)
        if kind == "BOOLEAN":
            return {"true": True, "false": False}[content.strip().lower()]
        if kind in ("LIST", "STRUCT"):
            return json.loads(content)
    except (KeyError, ValueError):
        raise RefusedError(f"an output of type {kind} cannot be {content[:100]!r}") from None
    return content


def outputs(given, kinds):
    """What a component has left: parameters and artifacts. Raises RefusedError."""
    said = {}
    if os.path.exists(given["outputs"]["outputFile"]):
        with open(given["outputs"]["outputFile"]) as file:
            said = json.load(file)
    values = dict(said.get("parameterValues") or {})
    for key, place in given["outputs"]["parameters"].items():
        if key not in values and os.path.exists(place["outputFile"]):
            with open(place["outputFile"]) as file:
                values[key] = read(file.read(), kinds.get(key, "STRING"))
    artifacts = {}
    for key, listed in given["outputs"]["artifacts"].items():
        changed = (said.get("artifacts") or {}).get(key, {}).get("artifacts") or [{}]
        each, more = listed["artifacts"][0], changed[0]
        metadata = {**each["metadata"], **(more.get("metadata") or {})}
        artifacts[key] = [{**each, "uri": more.get("uri") or each["uri"], "metadata": metadata}]
    return {"parameters": values, "artifacts": artifacts}


def run(command):
    """Runs a component; returns its exit code and the last line of what it complained."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    last = [""]

    def pass_on():
        for line in process.stderr or ():
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()
            last[0] = line.decode(errors="replace").strip() or last[0]

    thread = threading.Thread(target=pass_on)
    thread.start()
    code = process.wait()
    thread.join()
    return code, last[0][:LAST]


class Launcher:
    """One component's run."""

    def __init__(self, flags, command):
        address = f"{flags['ml_pipeline_server_address']}:{flags['ml_pipeline_server_port']}"
        self._server = Server(address)
        self._flags, self._command = flags, command
        self._given = json.loads(flags["executor_input"])
        self._execution = int(flags["execution_id"])
        self._store = Store(f"{flags['mlmd_server_address']}:{flags['mlmd_server_port']}")

    def launch(self):
        """Raises RefusedError where the component or what is around it fails."""
        pod = os.environ.get("KFP_POD_NAME", "")
        self._tell(state="RUNNING", pod_name=pod)
        about = {"pod_name": pod, "pod_uid": os.environ.get("KFP_POD_UID", "")}
        self._store.change(self._execution, "RUNNING", about)
        tenant = Tenant(stand_in.Kubernetes(), own_namespace())
        uris = [each["uri"] for each in self._artifacts("inputs")]
        for uri in uris:
            download(tenant.bucket(uri), uri)
        self._make_folders()
        names = {
            "pipeline_job_uuid": self._flags["run_id"],
            "pipeline_job_name": self._flags["pipeline_name"],
            "pipeline_job_resource_name": self._flags["pipeline_name"],
            "pipeline_task_name": self._flags["task"].rpartition("/")[2],
            "pipeline_task_uuid": self._flags["task"],
        }
        code, last = run(words(self._command, self._given, names))
        if code:
            raise RefusedError(f"the component ended with code {code}: {last}")
        made = outputs(self._given, json.loads(self._flags["output_types"]))
        for each in (item for listed in made["artifacts"].values() for item in listed):
            if each["uri"].partition("://")[0] in ("minio", "s3", "gs"):
                upload(tenant.bucket(each["uri"]), each["uri"])
        lineage = Lineage(self._store, self._flags["pipeline_name"], self._flags["run_id"], {})
        lineage.end(self._execution, "COMPLETE", made)
        self._tell(state="SUCCEEDED", outputs=made)

    def fail(self, reason):
        """Tells why."""
        self._tell(state="FAILED", error=reason)
        self._store.change(self._execution, "FAILED", {})

    def _artifacts(self, side):
        return [
            each
            for value in self._given[side]["artifacts"].values()
            for each in value["artifacts"]
        ]

    def _make_folders(self):
        places = [each["outputFile"] for each in self._given["outputs"]["parameters"].values()]
        places.append(self._given["outputs"]["outputFile"])
        places += [local(each["uri"]) for each in self._artifacts("outputs")]
        for each in places:
            os.makedirs(os.path.dirname(each), exist_ok=True)

    def _tell(self, **what):
        path = f"/apis/v2beta1/stand-in/runs/{self._flags['run_id']}/tasks"
        self._server.call("POST", path, {"path": self._flags["task"], **what})


def main():
    """Copies itself, or runs what comes after `--`."""
    own = sys.argv[1:]
    command = []
    if "--" in own:
        own, command = own[: own.index("--")], own[own.index("--") + 1 :]
    flags = stand_in.flags(
        {
            "copy": "", "pipeline_name": "", "run_id": "", "task": "", "execution_id": "",
            "executor_input": "", "output_types": "{}",
            "ml_pipeline_server_address": "", "ml_pipeline_server_port": "",
            "mlmd_server_address": "", "mlmd_server_port": "",
        },
        own,
    )  # fmt: skip
    if flags["copy"]:
        copy(flags["copy"])
        stand_in.log(f"stand-in for the launcher: copied to {flags['copy']}")
        return
    launcher = Launcher(flags, command)
    try:
        launcher.launch()
    except (RefusedError, stand_in.ApiError, OSError, KeyError, ValueError) as error:
        try:
            launcher.fail(f"{flags['task'].rpartition('/')[2]}: {error}")
        finally:
            sys.exit(f"launcher: {error}")


if __name__ == "__main__":
    main()
