"""The Kubernetes objects of an application."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from localjuju.model import models, provision
from localjuju.model.charm import Charm
from localjuju.model.substrate import ApplicationSpec


def _spec(**changes: Any) -> ApplicationSpec:
    metadata = {
        "containers": {
            "web": {"resource": "image", "mounts": [{"storage": "data", "location": "/srv"}]},
            "side": {"resource": "image", "uid": 584792, "gid": 584792},
        },
        "storage": {"data": {"type": "filesystem", "location": "/data"}},
    }
    values: dict[str, Any] = {
        "model": "m", "model_uuid": "u", "name": "app", "scale": 2, "modified": 3, "trust": False,
        "charm": Charm("0" * 64, "app", metadata, {}, {}, {}), "resources": {"image": "a:1"},
        "storage": {"data": {"size_mib": 100, "count": 1, "pool": "local"}}, "constraints": {},
        "ports": ("80/tcp", "icmp", "53/udp"), "shared_venv": "/shared",
    }  # fmt: skip
    return ApplicationSpec(**{**values, **changes})


def _template(user: str | None, **ids: int) -> dict[str, Any]:
    """The pods of a charm with that `charm-user`, and with ids for its only workload."""
    metadata: dict[str, Any] = {"containers": {"web": {"resource": "image", **ids}}}
    if user is not None:
        metadata["charm-user"] = user
    charm = Charm("0" * 64, "app", metadata, {}, {}, {})
    return _objects(charm=charm, storage={})["StatefulSet/app"]["spec"]["template"]


def _pod(user: str | None, **ids: int) -> dict[str, Any]:
    return _template(user, **ids)["spec"]


def _users(pod: dict[str, Any]) -> dict[str, Any]:
    return {c["name"]: c["securityContext"] for c in pod["containers"]}


def _objects(**changes: Any) -> dict[str, Any]:
    made = provision.objects(_spec(**changes), "/state/agent")
    return {f"{item['kind']}/{item['metadata']['name']}": item for item in made}


def test_an_init_container_brings_the_programs_of_all_others():
    pod = _pod("non-root")
    (init,) = pod["initContainers"]
    assert init["image"] == provision.AGENT_IMAGE
    assert init["securityContext"] == {"runAsUser": 170, "runAsGroup": 170}
    places = {mount["mountPath"]: mount["subPath"] for mount in init["volumeMounts"]}
    assert places == {"/var/lib/juju": "var/lib/juju", "/charm/bin": "charm/bin"}
    for name, path in (("charm", "charm/bin"), ("web", "charm/bin/pebble")):
        container = _container(pod, name)
        assert container["command"][0].startswith("/charm/bin/")
        mount = mounts_of(container)[f"/{path}"]
        assert (mount["subPath"], mount["readOnly"]) == (path, True)


def test_every_container_keeps_an_image_that_is_there():
    pod = _pod("root")
    policies = {c["imagePullPolicy"] for c in pod["initContainers"] + pod["containers"]}
    assert policies == {"IfNotPresent"}


def test_the_charm_containers_work_in_juju_s_folder_and_know_the_workloads_and_the_pod():
    pod = _objects()["StatefulSet/app"]["spec"]["template"]["spec"]
    (init,) = pod["initContainers"]
    charm = _container(pod, "charm")
    assert init["workingDir"] == charm["workingDir"] == "/var/lib/juju"
    assert {e["name"] for e in init["env"]} == {
        "JUJU_CONTAINER_NAMES", "JUJU_K8S_POD_NAME", "JUJU_K8S_POD_UUID"
    }  # fmt: skip
    assert {"name": "HTTP_PROBE_PORT", "value": "3856"} in charm["env"]
    assert {"/var/log/juju", "/var/lib/juju", "/charm/containers"} <= set(mounts_of(charm))


def test_the_cluster_replaces_pods_one_by_one_as_juju_s():
    assert _objects()["StatefulSet/app"]["spec"]["updateStrategy"] == {"type": "RollingUpdate"}


def test_every_object_can_be_found_by_its_labels():
    for item in _objects().values():
        assert item["metadata"]["labels"] == {
            "app.kubernetes.io/managed-by": "juju",
            "app.kubernetes.io/name": "app",
            "model.juju.is/name": "m",
        }


def test_every_object_tells_of_its_model_its_controller_and_the_version():
    objects = _objects()
    marks = {
        "controller.juju.is/id": models.CONTROLLER_UUID, "model.juju.is/id": "u",
        "juju.is/version": models.AGENT_VERSION,
    }  # fmt: skip
    template = objects["StatefulSet/app"]["spec"]["template"]
    for item in [*objects.values(), template]:
        found = item["metadata"]["annotations"]
        assert marks.items() <= found.items()
    del marks["juju.is/version"]
    assert provision.namespace("m", "u")["metadata"]["annotations"] == marks
    unready = "service.alpha.kubernetes.io/tolerate-unready-endpoints"
    assert objects["Service/app-endpoints"]["metadata"]["annotations"][unready] == "true"


def test_an_application_keeps_its_id_and_another_has_another():
    def own(**changes: Any) -> str:
        made = _objects(**changes)["StatefulSet/app"]
        return made["metadata"]["annotations"]["app.juju.is/uuid"]

    assert own() == own(modified=9)
    assert own() != own(model_uuid="v")
    assert len(own()) == 8


def test_an_account_s_token_is_where_a_pod_asks_for_it():
    objects = _objects()
    assert objects["ServiceAccount/app"]["automountServiceAccountToken"] is False
    pod = objects["StatefulSet/app"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is True


def test_service_has_the_ports_that_units_opened():
    ports = _objects()["Service/app"]["spec"]["ports"]
    assert [(p["port"], p["protocol"]) for p in ports] == [(80, "TCP"), (53, "UDP")]
    assert _objects(ports=())["Service/app"]["spec"]["ports"][0]["name"] == "placeholder"
    assert _objects()["Service/app-endpoints"]["spec"]["clusterIP"] == "None"


def test_trust_is_what_makes_a_cluster_administrator():
    wild = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    assert _objects(trust=True)["ClusterRole/m-app"]["rules"] == wild
    small = _objects()
    for name in ("Role/app", "ClusterRole/m-app"):
        assert "*" not in str(small[name]["rules"])
    assert small["ClusterRoleBinding/m-app"]["subjects"] == [
        {"kind": "ServiceAccount", "name": "app", "namespace": "m"}
    ]


def test_pod():
    template = _objects()["StatefulSet/app"]["spec"]["template"]
    annotations = template["metadata"]["annotations"]
    assert annotations[provision.MODIFIED] == "3"
    assert provision.made_for(annotations) == 3
    containers = {c["name"]: c for c in template["spec"]["containers"]}
    claims = _objects()["StatefulSet/app"]["spec"]["volumeClaimTemplates"]
    known = {v["name"] for v in template["spec"]["volumes"]} | {
        c["metadata"]["name"] for c in claims
    }
    for container in containers.values():
        assert {m["name"] for m in container["volumeMounts"]} <= known
    mounts = {m["mountPath"]: m for m in containers["charm"]["volumeMounts"]}
    assert mounts["/data"]["name"] == mounts_of(containers["web"])["/srv"]["name"] == "app-data"
    assert mounts["/shared"]["readOnly"]
    assert containers["side"]["args"][-2:] == [":38813", "--verbose"]
    assert containers["web"]["args"][-2:] == [":38814", "--verbose"]
    assert containers["side"]["securityContext"] == {"runAsUser": 584792, "runAsGroup": 584792}
    assert claims[0]["spec"]["resources"]["requests"] == {"storage": "100Mi"}


def _container(pod: dict[str, Any], name: str) -> dict[str, Any]:
    return next(c for c in pod["containers"] if c["name"] == name)


def test_workloads_follow_the_charm_by_their_names_and_so_do_their_ports():
    pod = _objects()["StatefulSet/app"]["spec"]["template"]["spec"]
    assert [c["name"] for c in pod["containers"]] == ["charm", "side", "web"]
    env = _container(pod, "charm")["env"]
    assert {"name": "JUJU_CONTAINER_NAMES", "value": "side,web"} in env


def test_pebble_is_probed_from_the_start_and_the_charm_container_is_not():
    pod = _objects()["StatefulSet/app"]["spec"]["template"]["spec"]
    web = _container(pod, "web")

    def probe(kind: str) -> tuple[str, int, int, int, int]:
        made = web[kind]
        return (
            made["httpGet"]["path"], made["httpGet"]["port"], made.get("initialDelaySeconds", 0),
            made["periodSeconds"], made["failureThreshold"],
        )  # fmt: skip

    assert probe("startupProbe") == ("/v1/health?level=alive", 38814, 0, 1, 30)
    assert probe("livenessProbe") == ("/v1/health?level=alive", 38814, 0, 5, 3)
    assert probe("readinessProbe") == ("/v1/health?level=ready", 38814, 0, 5, 1)
    assert {web[k]["timeoutSeconds"] for k in web if k.endswith("Probe")} == {3}
    assert not {key for key in _container(pod, "charm") if key.endswith("Probe")}


@pytest.mark.parametrize(("user", "number"), [("sudoer", 171), ("non-root", 170)])
def test_a_charm_that_is_not_root_is_an_administrator_of_its_workloads_pebbles(
    user: str, number: int
):
    template = _template(user)
    pod = template["spec"]
    web = _container(pod, "web")
    folder, _, file = web["args"][web["args"].index("--identities") + 1].rpartition("/")
    mount = mounts_of(web)[folder]
    volume = next(v for v in pod["volumes"] if v["name"] == mount["name"])
    field = volume["downwardAPI"]["items"][0]
    assert field["path"] == file
    name = field["fieldRef"]["fieldPath"].removeprefix("metadata.annotations['")
    identities = yaml.safe_load(template["metadata"]["annotations"][name.removesuffix("']")])
    charm = {"access": "admin", "local": {"user-id": number}}
    assert identities == {"identities": {"charm": charm}}


@pytest.mark.parametrize("user", ["root", None])
def test_root_needs_no_identity(user: str | None):
    template = _template(user)
    assert "--identities" not in _container(template["spec"], "web")["args"]
    assert not [name for name in template["metadata"]["annotations"] if "identities" in name]


def test_a_pod_of_an_engine_with_another_pod_spec_is_for_no_counter_and_so_is_replaced():
    assert provision.made_for({provision.MODIFIED: "3"}) == -1


def test_a_pod_whose_counter_somebody_wrote_is_replaced():
    annotations = _template("root")["metadata"]["annotations"]
    assert provision.made_for(annotations) >= 0
    assert provision.made_for(annotations | {provision.MODIFIED: "soon"}) == -1


@pytest.mark.parametrize(
    ("planned", "expected", "mode"),
    [
        ({"pool": "local"}, None, "ReadWriteOnce"),
        ({"pool": "fast"}, "fast", "ReadWriteOnce"),  # of a deployment before pools had sources
        ({"pool": "own", "class": "m-best", "mode": "ReadWriteMany"}, "m-best", "ReadWriteMany"),
        ({"pool": "own", "class": None, "mode": "ReadWriteOnce"}, None, "ReadWriteOnce"),
    ],
)
def test_a_claim_is_of_its_pool_s_class(planned: dict[str, Any], expected: str | None, mode: str):
    made = _objects(storage={"data": {"size_mib": 1, "count": 1, **planned}})
    spec = made["StatefulSet/app"]["spec"]["volumeClaimTemplates"][0]["spec"]
    assert spec.get("storageClassName") == expected
    assert spec["accessModes"] == [mode]


def mounts_of(container: dict[str, Any]) -> dict[str, Any]:
    return {mount["mountPath"]: mount for mount in container["volumeMounts"]}


@pytest.mark.parametrize(
    "constraints, limits",
    [
        ({"mem": "1.5G"}, {"memory": "1536Mi"}),
        ({"mem": "512"}, {"memory": "512Mi"}),
        ({"cores": "2"}, {"cpu": "2"}),
        ({"cpu-power": "500"}, {"cpu": "500m"}),
    ],
)
def test_constraints(constraints: dict[str, str], limits: dict[str, str]):
    made = _objects(constraints=constraints)["StatefulSet/app"]
    container = made["spec"]["template"]["spec"]["containers"][1]
    assert container["resources"] == {"requests": limits, "limits": limits}


@pytest.mark.parametrize(
    ("constraints", "request_", "limit"),
    [({}, 64, 1024), ({"mem": ""}, 64, 1024), ({"mem": "2G"}, 64, 2048), ({"mem": "32"}, 32, 32),
     ({"cpu-power": "500"}, 64, 1024)],
)  # fmt: skip
def test_memory_of_the_charm_container(constraints: dict[str, str], request_: int, limit: int):
    made = _objects(constraints=constraints)["StatefulSet/app"]
    container = _container(made["spec"]["template"]["spec"], "charm")
    assert container["resources"] == {
        "requests": {"memory": f"{request_}Mi"}, "limits": {"memory": f"{limit}Mi"}
    }  # fmt: skip


@pytest.mark.parametrize("name", ["mem", "cores", "cpu-power"])
def test_an_empty_constraint_bounds_nothing(name: str):
    made = _objects(constraints={name: ""})["StatefulSet/app"]
    assert "resources" not in made["spec"]["template"]["spec"]["containers"][1]


@pytest.mark.parametrize(("user", "number"), [("root", 0), ("sudoer", 171), ("non-root", 170)])
def test_a_charm_runs_as_it_says_and_its_workload_as_the_image_says(user: str, number: int):
    pod = _pod(user)
    assert _users(pod) == {"charm": {"runAsUser": number, "runAsGroup": number}, "web": {}}
    assert pod["securityContext"] == {"fsGroup": 170, "supplementalGroups": [170]}


def test_a_workload_runs_as_its_charm_says():
    pod = _pod("non-root", uid=584792, gid=584793)
    assert _users(pod)["web"] == {"runAsUser": 584792, "runAsGroup": 584793}
    pod = _pod(None, uid=584792)
    assert _users(pod) == {"charm": {}, "web": {"runAsUser": 584792}}
    assert pod["securityContext"]["fsGroup"] == 170


def test_a_charm_that_says_nothing_of_users_has_all_as_root():
    pod = _pod(None)
    root = {"runAsUser": 0, "runAsGroup": 0}
    assert _users(pod) == {"charm": root, "web": root}
    assert "securityContext" not in pod["initContainers"][0]
    assert "securityContext" not in pod
