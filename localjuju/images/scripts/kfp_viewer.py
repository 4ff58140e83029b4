"""Stand-in for Kubeflow Pipelines' viewer controller 2.16: TensorBoards of Viewers.

A Viewer becomes a Deployment and a Service; the oldest go when there are more than the flag says.
"""

import stand_in
from viewers import Objects, owned

VIEWERS = "/apis/kubeflow.org/v1beta1/viewers"
PORT = 6006


def parts(viewer):
    """The Deployment and the Service of a Viewer. Raises KeyError, TypeError."""
    name, spec = viewer["metadata"]["name"], viewer["spec"]
    board = spec["tensorboardSpec"]
    labels = {"app": "viewer", "viewer": name}
    pod = stand_in.json.loads(stand_in.json.dumps(spec.get("podTemplateSpec") or {}))
    pod.setdefault("metadata", {}).setdefault("labels", {}).update(labels)
    inside = pod.setdefault("spec", {})
    containers = inside.setdefault("containers", [{}]) or [{}]
    containers[0].update(
        name=f"{name}-pod",
        image=board["tensorflowImage"],
        args=["tensorboard", f"--logdir={board['logDir']}", f"--path_prefix=/tensorboard/{name}/",
              "--bind_all"],
        ports=[{"containerPort": PORT}],
    )  # fmt: skip
    inside["containers"] = containers
    owner = {**viewer, "apiVersion": "kubeflow.org/v1beta1", "kind": "Viewer"}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": owned(owner, f"{name}-deployment", labels),
            "spec": {"selector": {"matchLabels": labels}, "template": pod},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": owned(owner, f"{name}-service", labels),
            "spec": {
                "selector": labels,
                "ports": [{"name": "http", "port": 80, "targetPort": PORT}],
            },
        },
    ]


def surplus(viewers, most):
    """The oldest in each namespace, beyond the number that may be there."""
    places = {}
    for each in sorted(viewers, key=lambda each: each["metadata"]["creationTimestamp"]):
        places.setdefault(each["metadata"]["namespace"], []).append(each)
    return [each for found in places.values() for each in found[: max(0, len(found) - most)]]


def main():
    """Works until it is ended."""
    given = stand_in.flags(
        {
            "logtostderr": False, "max_num_viewers": "50", "namespace": "", "client_qps": "5",
            "client_burst": "10",
        }
    )  # fmt: skip
    most = int(given["max_num_viewers"])
    api = stand_in.Kubernetes()
    objects = Objects(api)
    stand_in.log(f"stand-in for the viewer controller: at most {most} viewers")
    for _ in api.changes_of(VIEWERS):
        try:
            found = api.call("GET", VIEWERS)["items"]
            for each in surplus(found, most):
                where = each["metadata"]
                api.delete(
                    f"/apis/kubeflow.org/v1beta1/namespaces/{where['namespace']}/viewers/"
                    f"{where['name']}"
                )
            for each in found:
                for part in parts(each):
                    objects.put(part)
        except (stand_in.ApiError, KeyError, TypeError) as error:
            stand_in.log(f"viewers: {error!r}")


if __name__ == "__main__":
    main()
