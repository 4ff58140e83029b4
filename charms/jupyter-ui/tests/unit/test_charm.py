"""The notebooks page: the spawner's file is upstream's, and every option reaches it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from charmed_mlops.testing import relation

SERVERS = "ghcr.io/kubeflow/kubeflow/notebook-servers"


def form(charm, **config: Any) -> dict[str, Any]:
    out = charm.settled(config={key.replace("_", "-"): value for key, value in config.items()})
    assert out.unit_status.name == "active", out.unit_status
    text = charm.file(out, "/etc/config/spawner_ui_config.yaml")
    return yaml.safe_load(text)["spawnerFormDefaults"]


def test_without_options_it_is_the_form_of_upstream_s_release(charm):
    free = {"readOnly": False}
    assert form(charm) == {
        "allowCustomImage": True,
        "hideRegistry": True,
        "hideTag": False,
        "imagePullPolicy": {"value": "IfNotPresent", **free},
        "image": {
            "value": f"{SERVERS}/jupyter-scipy:v1.10.0",
            "options": [
                f"{SERVERS}/jupyter-{each}:v1.10.0"
                for each in (
                    "scipy",
                    "pytorch-full",
                    "pytorch-cuda-full",
                    "pytorch-gaudi-full",
                    "tensorflow-full",
                    "tensorflow-cuda-full",
                )
            ],
            **free,
        },
        "imageGroupOne": {
            "value": f"{SERVERS}/codeserver-python:v1.10.0",
            "options": [f"{SERVERS}/codeserver-python:v1.10.0"],
            **free,
        },
        "imageGroupTwo": {
            "value": f"{SERVERS}/rstudio-tidyverse:v1.10.0",
            "options": [f"{SERVERS}/rstudio-tidyverse:v1.10.0"],
            **free,
        },
        "cpu": {"value": "0.5", "limitFactor": "1.2", **free},
        "memory": {"value": "1.0Gi", "limitFactor": "1.2", **free},
        "gpus": {
            "value": {
                "vendor": "",
                "vendors": [
                    {"limitsKey": "nvidia.com/gpu", "uiName": "NVIDIA"},
                    {"limitsKey": "amd.com/gpu", "uiName": "AMD"},
                    {"limitsKey": "habana.ai/gaudi", "uiName": "Intel Gaudi"},
                ],
                "num": "none",
            },
            **free,
        },
        "workspaceVolume": {
            "value": {
                "mount": "/home/jovyan",
                "newPvc": {
                    "metadata": {"name": "{notebook-name}-workspace"},
                    "spec": {
                        "resources": {"requests": {"storage": "5Gi"}},
                        "accessModes": ["ReadWriteOnce"],
                    },
                },
            },
            **free,
        },
        "dataVolumes": {"value": [], **free},
        "affinityConfig": {"value": "", "options": [], **free},
        "tolerationGroup": {"value": "", "options": [], **free},
        "shm": {"value": True, **free},
        "configurations": {"value": [], **free},
        "environment": {"value": {}, **free},
    }


def test_images_are_names_or_references_and_the_registry_covers_the_names(charm):
    found = form(charm, jupyter_images="jupyter-scipy r.org/lab:1", registry="mirror.local")
    assert found["image"]["options"] == [
        "mirror.local/kubeflow/kubeflow/notebook-servers/jupyter-scipy:v1.10.0",
        "r.org/lab:1",
    ]
    found = form(charm, images="{rstudio-tidyverse: r.org/rstudio:2}")
    assert found["imageGroupTwo"]["value"] == "r.org/rstudio:2"


@pytest.mark.parametrize(
    "options, field, value",
    [
        ({"allow_custom_image": False}, "allowCustomImage", False),
        ({"hide_registry": False}, "hideRegistry", False),
        ({"hide_tag": True}, "hideTag", True),
        ({"cpu": "2"}, "cpu", {"value": "2", "limitFactor": "1.2", "readOnly": False}),
        ({"shared_memory": False}, "shm", {"value": False, "readOnly": False}),
        (
            {"memory_limit_factor": "none", "memory": "4Gi", "read_only": "memory"},
            "memory",
            {"value": "4Gi", "limitFactor": "none", "readOnly": True},
        ),
        (
            {"configurations": "mlflow s3", "read_only": "cpu configurations"},
            "configurations",
            {"value": ["mlflow", "s3"], "readOnly": True},
        ),
        (
            {"image_pull_policy": "Always"},
            "imagePullPolicy",
            {"value": "Always", "readOnly": False},
        ),
        (
            {
                "tolerations": "[{groupKey: gpu, displayName: GPU, tolerations: [{key: a}]}]",
                "toleration_group": "gpu",
            },
            "tolerationGroup",
            {
                "value": "gpu",
                "options": [
                    {"groupKey": "gpu", "displayName": "GPU", "tolerations": [{"key": "a"}]}
                ],
                "readOnly": False,
            },
        ),
        (
            {
                "affinities": "[{configKey: ssd, displayName: SSD, affinity: {nodeAffinity: {}}}]",
                "affinity": "ssd",
            },
            "affinityConfig",
            {
                "value": "ssd",
                "options": [
                    {"configKey": "ssd", "displayName": "SSD", "affinity": {"nodeAffinity": {}}}
                ],
                "readOnly": False,
            },
        ),
        (
            {"data_volumes": "[{mount: /d, existingSource: {nfs: {server: s, path: /}}}]"},
            "dataVolumes",
            {
                "value": [
                    {"mount": "/d", "existingSource": {"nfs": {"server": "s", "path": "/"}}}
                ],
                "readOnly": False,
            },
        ),
    ],
)
def test_every_part_of_the_form_has_its_option(charm, options, field, value):
    assert form(charm, **options)[field] == value


def test_the_home_volume_and_the_gpus_have_their_options(charm):
    found = form(
        charm,
        workspace_mount="/home/me",
        workspace_size="20Gi",
        workspace_storage_class="fast",
        cpu_limit_factor="2",
        gpu_vendors="[{limitsKey: x.org/tpu, uiName: TPU}]",
        gpu_vendor="x.org/tpu",
        gpus="1",
    )
    volume = found["workspaceVolume"]["value"]
    assert volume["mount"] == "/home/me"
    assert volume["newPvc"]["spec"]["storageClassName"] == "fast"
    assert volume["newPvc"]["spec"]["resources"] == {"requests": {"storage": "20Gi"}}
    assert found["cpu"]["limitFactor"] == "2"
    assert found["gpus"]["value"] == {
        "vendor": "x.org/tpu",
        "vendors": [{"limitsKey": "x.org/tpu", "uiName": "TPU"}],
        "num": "1",
    }


@pytest.mark.parametrize(
    "options, message",
    [
        ({"cpu": "500m"}, "config cpu=500m: must be a number of CPUs such as 0.5"),
        ({"memory": "512Mi"}, "config memory=512Mi: must be in Gi, such as 1.5Gi"),
        ({"cpu-limit-factor": "0.5"}, "config cpu-limit-factor=0.5: must be a number from 1"),
        ({"workspace-size": "big"}, "config workspace-size=big: must be a quantity"),
        ({"image-pull-policy": "Maybe"}, "config image-pull-policy=Maybe: must be one of Always"),
        ({"jupyter-images": ""}, "config jupyter-images="),
        ({"vscode-images": "code"}, "config vscode-images: 'code' is neither a reference"),
        ({"gpu-vendors": "[{uiName: X}]"}, "config gpu-vendors.0.limitsKey: is missing"),
        ({"gpu-vendors": "[a: b: c"}, "config gpu-vendors=[a: b: c: not YAML"),
        ({"gpu-vendor": "x.org/y"}, "config gpu-vendor=x.org/y: must be one of nvidia.com/gpu"),
        ({"gpus": "2"}, "config gpus=2: set gpu-vendor too"),
        ({"affinity": "ssd"}, "config affinity=ssd: must be one of nothing, as none is on offer"),
        ({"read-only": "color"}, "config read-only=color: must be one of images, "),
        ({"read-only": "workspace-volume"}, "config read-only=workspace-volume: must be one of "),
        ({"read-only": "data-volumes"}, "config read-only=data-volumes: must be one of images, "),
        (
            {"tolerations": "[{groupKey: a, tolerations: []}]"},
            "config tolerations.0.displayName: is",
        ),
        ({"data-volumes": "[{mount: /d}]"}, "config data-volumes.0: needs either"),
    ],
)
def test_a_wrong_option_is_named_and_the_form_stays(charm, options, message):
    assert charm.refusal(options).startswith(message)


def test_the_gateway_and_the_dashboard_learn_where_it_is(charm):
    gateway = relation("gateway", url="https://mlops.example.org")
    out = charm.settled(gateway, relation("dashboard-links"))
    (route,) = json.loads(charm.published(out, "gateway")["routes"])
    assert (route["prefix"], route["rewrite"], route["access"]) == ("/jupyter/", "/", "user")
    assert (route["host"], route["port"]) == ("jupyter-ui--serving.shop.svc.cluster.local", 5000)
    (link,) = json.loads(charm.published(out, "dashboard-links")["dashboard_links"])
    assert (link["text"], link["link"]) == ("Notebooks", "/jupyter/")


@pytest.mark.parametrize(
    "url, secure", [("https://a.org", "true"), ("http://a.org", "false"), ("", "false")]
)
def test_cookies_are_secure_where_the_browser_speaks_https(charm, url, secure):
    out = charm.settled(relation("gateway", url=url))
    assert charm.environment(out) == {
        "APP_PREFIX": "/jupyter",
        "APP_SECURE_COOKIES": secure,
        "USERID_HEADER": "kubeflow-userid",
        "USERID_PREFIX": "",
        "METRICS": "1",
        "UI": "default",
    }


def test_it_runs_as_its_image_does_and_is_asked_where_no_login_is_needed(charm):
    out = charm.settled()
    service = charm.service(out)
    assert service.command == (
        "gunicorn -w 3 --bind 0.0.0.0:5000 --access-logfile - entrypoint:app"
    )
    assert service.working_dir == "/src"
    checks = out.get_container("jupyter-ui").plan.checks
    assert checks["jupyter-ui"].http == {"url": "http://localhost:5000/healthz/readiness"}
    assert checks["jupyter-ui-alive"].http == {"url": "http://localhost:5000/healthz/liveness"}


def test_the_buttons_have_their_pictures(charm):
    out = charm.settled()
    for name in ("jupyter-icon", "jupyterlab-logo", "group-one-icon", "group-two-logo"):
        path = f"/src/apps/default/static/assets/logos/{name}.svg"
        assert charm.file(out, path).startswith("<svg")
