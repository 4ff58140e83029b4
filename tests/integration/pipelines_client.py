"""What a data scientist does with the unchanged `kfp` SDK, in a Python that has it.

One JSON document on standard input: `port` of this host that leads to the gateway, the gateway's
`name` and `ca` (a file), a `token`, a `namespace`, and `do`, one of the functions below, with its
`arguments`. What it returns is printed as JSON on the last line.
"""

import json
import socket
import sys
import time

from kfp import (  # pyright: ignore[reportMissingImports]: in the Python that runs it
    Client,
    compiler,
    dsl,
)

IMAGE = "docker.io/library/python:3.11"


@dsl.component(base_image=IMAGE)
def numbers(count: int, data: dsl.Output[dsl.Dataset]) -> int:
    with open(data.path, "w") as file:  # noqa: PTH123 (a component imports what it needs)
        file.write("\n".join(map(str, range(count))))
    return count


@dsl.component(base_image=IMAGE)
def total(data: dsl.Input[dsl.Dataset], metrics: dsl.Output[dsl.Metrics]) -> float:
    found = sum(int(line) for line in open(data.path))  # noqa: PTH123, SIM115
    metrics.log_metric("sum", found)
    return float(found)


@dsl.component(base_image=IMAGE)
def say(value: float) -> str:
    return f"large: {value}"


@dsl.component(base_image=IMAGE)
def fail():
    raise ValueError("this is the reason")


@dsl.pipeline(name="sums")
def sums(count: int = 10):
    first = numbers(count=count)  # pyright: ignore[reportCallIssue]: the SDK gives outputs
    second = total(data=first.outputs["data"])  # pyright: ignore[reportCallIssue]
    with dsl.If(second.outputs["Output"] > 20.0):
        say(value=second.outputs["Output"])


@dsl.pipeline(name="failing")
def failing():
    fail()


PIPELINES = {"sums": sums, "failing": failing}


def run(client, given, pipeline, arguments):
    """Runs a pipeline to its end."""
    made = client.create_run_from_pipeline_func(
        PIPELINES[pipeline], arguments=arguments, namespace=given["namespace"],
        experiment_name="first", enable_caching=True,
    )  # fmt: skip
    ended = client.wait_for_run_completion(made.run_id, timeout=500)
    tasks = {each.display_name: each.state for each in ended.run_details.task_details}
    error = ended.error.message if ended.error else ""
    return {"id": made.run_id, "state": ended.state, "tasks": tasks, "error": error}


def refused(client, given, id, namespace):
    """Status of what another tenant's client is answered, by call."""
    calls = {
        "list": lambda: client.list_runs(namespace=namespace),
        "get": lambda: client.get_run(id),
        "terminate": lambda: client.terminate_run(id),
        "delete": lambda: client.delete_run(id),
    }
    return {name: status(call) for name, call in calls.items()}


def status(call):
    """The HTTP status of a call that fails, 200 of one that does not."""
    try:
        call()
    except Exception as error:
        return getattr(error, "status", None) or repr(error)
    return 200


def wrong(client, given):
    """What a run with a parameter that the pipeline does not have is answered."""
    try:
        run(client, given, "sums", {"colour": 1})
    except Exception as error:
        return str(getattr(error, "body", error))
    return ""


def recurring(client, given, seconds):
    """A schedule's first run, and the schedule's state once it is off."""
    package = given["package"]
    compiler.Compiler().compile(sums, package)
    experiment = client.get_experiment(
        experiment_name="first", namespace=given["namespace"]
    ).experiment_id
    made = client.create_recurring_run(
        experiment_id=experiment, job_name="each", interval_second=seconds,
        pipeline_package_path=package, params={"count": 10}, no_catchup=True,
    ).recurring_run_id  # fmt: skip
    deadline, started = time.monotonic() + 200, []
    while not started and time.monotonic() < deadline:
        time.sleep(2)
        runs = client.list_runs(namespace=given["namespace"]).runs or []
        started = [each.run_id for each in runs if each.recurring_run_id == made]
    client.disable_recurring_run(made)
    # a report of the schedule as it was may still be under way, and be written last
    deadline, status = time.monotonic() + 60, ""
    while status != "DISABLED" and time.monotonic() < deadline:
        status = client.get_recurring_run(made).status
        time.sleep(1)
    return {"started": len(started) > 0, "status": status}


def main():
    """Does what standard input says."""
    given = json.load(sys.stdin)
    resolve = socket.getaddrinfo

    def named(host, port, *rest, **more):
        # as if DNS led here: the certificate has to be that of the name
        here = host == given["name"]
        return resolve(
            "127.0.0.1" if here else host, given["port"] if here else port, *rest, **more
        )

    socket.getaddrinfo = named
    client = Client(
        host=f"https://{given['name']}:8443/pipeline",
        existing_token=given["token"],
        ssl_ca_cert=given["ca"],
        namespace=given["namespace"],
    )
    found = globals()[given["do"]](client, given, **given["arguments"])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
