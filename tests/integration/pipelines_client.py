"""What a data scientist does with the unchanged `kfp` SDK, in a Python that has it.

One JSON document, as the argument or on standard input: a `namespace`, and `do`, one of the
functions below, with its `arguments`. What that returns is printed as JSON on the last line.
A notebook has the rest in its environment. Elsewhere it is `url`, the gateway's, `port`, a port of
this host that leads there, a file with the gateway's `ca` and one with a `token`.
"""

import json
import os
import pathlib
import socket
import sys
import time
import urllib.parse

from kfp import (  # pyright: ignore[reportMissingImports]: in the Python that runs it
    Client,
    compiler,
    dsl,
)
from kfp.client import (  # pyright: ignore[reportMissingImports]
    ServiceAccountTokenVolumeCredentials,
)

IMAGE = "docker.io/library/python:3.11"
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
EXPERIMENT = "first"


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


@dsl.component(base_image=IMAGE)
def fail_without(variable: str, value: int) -> int:
    import os

    if variable not in os.environ:
        raise ValueError(f"there is no {variable}")
    return value


@dsl.component(base_image=IMAGE)
def wait(before: int, seconds: int, data: dsl.Output[dsl.Dataset]) -> int:
    import time

    time.sleep(seconds)
    with open(data.path, "w") as file:  # noqa: PTH123
        file.write("x" * (before + 1))
    return before + 1


@dsl.container_component
def nothing():
    return dsl.ContainerSpec(image="docker.io/charmed-mlops/no-such-image:1", command=["true"])


@dsl.component(base_image=IMAGE)
def load(rows: dsl.Output[dsl.Dataset]) -> int:
    from sklearn.datasets import load_wine  # pyright: ignore[reportMissingImports]

    table = load_wine(as_frame=True).frame
    table.to_csv(rows.path, index=False)
    return len(table)


@dsl.component(base_image=IMAGE)
def train(
    rows: dsl.Input[dsl.Dataset], model: dsl.Output[dsl.Model], held: dsl.Output[dsl.Dataset]
):
    import mlflow  # pyright: ignore[reportMissingImports]
    import pandas  # pyright: ignore[reportMissingImports]
    from sklearn.linear_model import LogisticRegression  # pyright: ignore[reportMissingImports]
    from sklearn.model_selection import train_test_split  # pyright: ignore[reportMissingImports]
    from sklearn.pipeline import make_pipeline  # pyright: ignore[reportMissingImports]
    from sklearn.preprocessing import StandardScaler  # pyright: ignore[reportMissingImports]

    table = pandas.read_csv(rows.path)
    fitted, rest = train_test_split(table, test_size=0.3, random_state=7)
    found = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    found.fit(fitted.drop(columns="target").to_numpy(), fitted["target"])
    rest.to_csv(held.path, index=False)
    mlflow.sklearn.save_model(found, model.path, serialization_format="cloudpickle")


@dsl.component(base_image=IMAGE)
def evaluate(
    model: dsl.Input[dsl.Model], held: dsl.Input[dsl.Dataset], metrics: dsl.Output[dsl.Metrics],
    answers: dsl.Output[dsl.Artifact],
) -> float:  # fmt: skip
    import json

    import mlflow  # pyright: ignore[reportMissingImports]
    import pandas  # pyright: ignore[reportMissingImports]

    table = pandas.read_csv(held.path)
    found, inputs = mlflow.sklearn.load_model(model.path), table.drop(columns="target").to_numpy()
    said = found.predict(inputs)
    accuracy = float((said == table["target"]).mean())
    metrics.log_metric("accuracy", accuracy)
    with open(answers.path, "w") as file:  # noqa: PTH123
        json.dump({"inputs": inputs.tolist(), "expected": said.tolist()}, file)
    return accuracy


@dsl.component(base_image=IMAGE)
def register(model: dsl.Input[dsl.Model], name: str, accuracy: float) -> str:
    import mlflow  # pyright: ignore[reportMissingImports]

    mlflow.set_experiment(name)
    with mlflow.start_run() as run:
        mlflow.log_metric("accuracy", accuracy)
        mlflow.sklearn.log_model(
            mlflow.sklearn.load_model(model.path), name="model", registered_model_name=name,
            serialization_format="cloudpickle",
        )  # fmt: skip
    return run.info.run_id


@dsl.pipeline(name="sums")
def sums(count: int = 10):
    first = numbers(count=count)  # pyright: ignore[reportCallIssue]: the SDK gives outputs
    second = total(data=first.outputs["data"])  # pyright: ignore[reportCallIssue]
    with dsl.If(second.outputs["Output"] > 20.0):
        say(value=second.outputs["Output"])


@dsl.pipeline(name="failing")
def failing():
    fail()


@dsl.pipeline(name="late")
def late(variable: str):
    first = numbers(count=4)  # pyright: ignore[reportCallIssue]
    fail_without(variable=variable, value=first.outputs["Output"])


@dsl.pipeline(name="chain")
def chain(seconds: int):
    one = wait(before=0, seconds=seconds)  # pyright: ignore[reportCallIssue]
    two = wait(before=one.outputs["Output"], seconds=seconds)  # pyright: ignore[reportCallIssue]
    three = wait(before=two.outputs["Output"], seconds=seconds)  # pyright: ignore[reportCallIssue]
    four = wait(before=three.outputs["Output"], seconds=seconds)  # pyright: ignore[reportCallIssue]
    wait(before=four.outputs["Output"], seconds=seconds)  # pyright: ignore[reportCallIssue]


@dsl.pipeline(name="pair")
def pair(seconds: int):
    one = wait(before=0, seconds=seconds)  # pyright: ignore[reportCallIssue]
    wait(before=one.outputs["Output"], seconds=seconds)  # pyright: ignore[reportCallIssue]


@dsl.pipeline(name="unpullable")
def unpullable():
    nothing()


@dsl.pipeline(name="wine")
def wine(least: float = 0.8, name: str = "wine"):
    rows = load()  # pyright: ignore[reportCallIssue]
    made = train(rows=rows.outputs["rows"])  # pyright: ignore[reportCallIssue]
    found = evaluate(  # pyright: ignore[reportCallIssue]
        model=made.outputs["model"], held=made.outputs["held"]
    )
    with dsl.If(found.outputs["Output"] > least):
        register(  # pyright: ignore[reportCallIssue]
            model=made.outputs["model"], name=name, accuracy=found.outputs["Output"]
        )


@dsl.container_component
def step(number: int, before: str, done: dsl.OutputPath(str)):  # pyright: ignore
    code = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('done')"
    return dsl.ContainerSpec(
        image=IMAGE, command=["python3", "-c", code], args=[done, str(number), before]
    )


@dsl.pipeline(name="load")
def five(number: int):
    before = step(number=number, before="")  # pyright: ignore[reportCallIssue]
    for _ in range(4):
        before = step(  # pyright: ignore[reportCallIssue]
            number=number, before=before.outputs["done"]
        )


PIPELINES = {
    "sums": sums, "failing": failing, "late": late, "chain": chain, "unpullable": unpullable,
    "wine": wine, "five": five, "pair": pair,
}  # fmt: skip


def start(client, given, pipeline, arguments):
    """Starts a run; its id."""
    made = client.create_run_from_pipeline_func(
        PIPELINES[pipeline], arguments=arguments, namespace=given["namespace"],
        experiment_name=EXPERIMENT, enable_caching=True,
    )  # fmt: skip
    return made.run_id


def ended(client, given, id, seconds=500):
    """What a run is once it has ended; a server that is away meanwhile is asked again."""
    deadline, found = time.monotonic() + seconds, None
    while found is None or found["state"] not in ENDED:
        if time.monotonic() > deadline:
            raise TimeoutError(f"run {id} has not ended within {seconds} s: {found}")
        time.sleep(2)
        try:
            found = look(client, given, id)
        except Exception as error:
            if getattr(error, "status", None) not in (None, 502, 503, 504):
                raise
    return found


def look(client, given, id):
    """What a run is."""
    run = client.get_run(id)
    tasks = {each.display_name: each for each in run.run_details.task_details}
    return {
        "id": id,
        "state": run.state,
        "storage_state": run.storage_state,
        "error": run.error.message if run.error else "",
        "tasks": {name: each.state for name, each in tasks.items()},
        "errors": {name: each.error.message for name, each in tasks.items() if each.error},
        # what came from the cache is a step whose executor did not run
        "executors": sorted(
            each.state for each in run.run_details.task_details if each.display_name == "executor"
        ),
        "began": {name: str(each.start_time) for name, each in tasks.items()},
        "made": {
            name: {key: value.artifact_ids for key, value in (each.outputs or {}).items()}
            for name, each in tasks.items()
        },
    }


def run(client, given, pipeline, arguments):
    """Runs a pipeline to its end."""
    return ended(client, given, start(client, given, pipeline, arguments))


def many(client, given, count):
    """Starts runs of five steps each, none of which is in the cache; their ids."""
    return [start(client, given, "five", {"number": each}) for each in range(count)]


def states(client, given):
    """How many runs of the namespace are in which state."""
    found, token = {}, ""
    while True:
        page = client.list_runs(namespace=given["namespace"], page_size=100, page_token=token)
        for each in page.runs or ():
            found[each.state] = found.get(each.state, 0) + 1
        token = page.next_page_token
        if not token:
            return found


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


def not_started(client, given, pipeline, arguments):
    """What a run is answered that the server does not start; empty if it does."""
    try:
        start(client, given, pipeline, arguments)
    except Exception as error:
        return str(getattr(error, "body", error))
    return ""


def upload(client, given, content):
    """Status and text of what an uploaded package is answered."""
    file = pathlib.Path(given["package"])
    file.write_text(content)
    try:
        made = client.upload_pipeline(
            str(file), pipeline_name=f"p-{time.time_ns()}", namespace=given["namespace"]
        )
    except Exception as error:
        return [getattr(error, "status", 0), str(getattr(error, "body", error))]
    return [200, made.pipeline_id]


def package(client, given, pipeline):
    """A pipeline's package."""
    compiler.Compiler().compile(PIPELINES[pipeline], given["package"])
    return pathlib.Path(given["package"]).read_text()


def recurring(client, given, seconds):
    """A schedule's first run, and the schedule's state once it is off."""
    file = given["package"]
    compiler.Compiler().compile(sums, file)
    experiment = client.get_experiment(
        experiment_name=EXPERIMENT, namespace=given["namespace"]
    ).experiment_id
    made = client.create_recurring_run(
        experiment_id=experiment, job_name="each", interval_second=seconds,
        pipeline_package_path=file, params={"count": 10}, no_catchup=True,
    ).recurring_run_id  # fmt: skip
    deadline, started = time.monotonic() + 200, []
    while not started and time.monotonic() < deadline:
        time.sleep(2)
        runs = client.list_runs(namespace=given["namespace"]).runs or []
        started = [each.run_id for each in runs if each.recurring_run_id == made]
    client.disable_recurring_run(made)
    # a report of the schedule as it was may still be under way, and be written last
    deadline, found = time.monotonic() + 60, ""
    while found != "DISABLED" and time.monotonic() < deadline:
        found = client.get_recurring_run(made).status
        time.sleep(1)
    return {"started": len(started) > 0, "status": found}


def from_a_notebook(given):
    """As the interface's documentation has it."""
    return Client(
        credentials=ServiceAccountTokenVolumeCredentials(),
        ssl_ca_cert=os.environ["KF_PIPELINES_CA"],
        namespace=given["namespace"],
    )


def from_outside(given):
    """As if DNS led to this host: the certificate has to be that of the name."""
    resolve, gateway = socket.getaddrinfo, urllib.parse.urlsplit(given["url"]).hostname

    def named(host, port, *rest, **more):
        here = host == gateway
        return resolve(
            "127.0.0.1" if here else host, given["port"] if here else port, *rest, **more
        )

    socket.getaddrinfo = named
    return Client(
        host=f"{given['url']}/pipeline",
        existing_token=pathlib.Path(given["token"]).read_text().strip(),
        ssl_ca_cert=given["ca"],
        namespace=given["namespace"],
    )


def main():
    """Does what it is told."""
    given = json.loads(sys.argv[1]) if len(sys.argv) > 1 else json.load(sys.stdin)
    client = from_outside(given) if "url" in given else from_a_notebook(given)
    found = globals()[given["do"]](client, given, **given["arguments"])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
