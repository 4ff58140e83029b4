"""The volumes page: the viewer it makes, and what uses a volume."""

from __future__ import annotations

import pytest
import yaml
from ops import testing

CLAIMS, PODS = "/api/v1/namespaces/ann/persistentvolumeclaims", "/api/v1/namespaces/ann/pods"


def test_the_viewer_s_template_is_what_the_app_puts_values_into(charm):
    out = charm.settled()
    spec = yaml.safe_load(charm.file(out, "/etc/config/viewer-spec.yaml"))
    assert (spec["pvc"], spec["rwoScheduling"]) == ("$NAME", True)
    assert spec["networking"] == {
        "targetPort": 8080,
        "basePrefix": "/pvcviewers",
        "rewrite": "/",
        "timeout": "30s",
    }
    (container,) = spec["podSpec"]["containers"]
    assert container["image"] == "$VOLUME_VIEWER_IMAGE"
    assert {each["name"]: each["value"] for each in container["env"]} == {
        "FB_ADDRESS": "0.0.0.0",
        "FB_PORT": "8080",
        "FB_DATABASE": "/tmp/filebrowser.db",
        "FB_NOAUTH": "true",
        "FB_BASEURL": "/pvcviewers/$NAMESPACE/$NAME/",
    }


@pytest.mark.parametrize(
    "options, image",
    [
        ({}, "docker.io/filebrowser/filebrowser:v2.25.0"),
        ({"registry": "r.local"}, "r.local/filebrowser/filebrowser:v2.25.0"),
        ({"images": "{volume-viewer: r.local/view:1}"}, "r.local/view:1"),
    ],
)
def test_the_viewer_s_image_is_an_option(charm, options, image):
    environment = charm.environment(charm.settled(config=options))
    assert environment["VOLUME_VIEWER_IMAGE"] == image
    assert environment["APP_PREFIX"] == "/volumes"


def test_volumes_are_listed_with_the_pods_that_use_them(charm, api):
    for name in ("data", "old"):
        api.add(
            CLAIMS,
            {
                "metadata": {"namespace": "ann", "name": name},
                "spec": {"resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "std"},
                "status": {"phase": "Bound", "capacity": {"storage": "2Gi"}},
            },
        )
    for name, phase, claim in (("lab-0", "Running", "data"), ("done", "Succeeded", "old")):
        volume = {"name": "v", "persistentVolumeClaim": {"claimName": claim}}
        api.add(
            PODS,
            {
                "metadata": {"namespace": "ann", "name": name},
                "spec": {"volumes": [volume, {"name": "tmp", "emptyDir": {}}]},
                "status": {"phase": phase},
            },
        )
    found = charm.act("list-volumes", charm.state())["volumes"]
    assert found["1"] == {
        "namespace": "ann",
        "name": "data",
        "state": "Bound",
        "size": "2Gi",
        "storage-class": "std",
        "used-by": "lab-0",
    }
    results = charm.act("list-volumes", charm.state(), namespace="ann", unused=True)
    assert [each["name"] for each in results["volumes"].values()] == ["old"]


def test_an_action_that_may_not_read_says_so(charm, api):
    api.forbidden.add("/api/v1/pods")
    with pytest.raises(testing.ActionFailed, match="answers 403 to GET /api/v1/pods"):
        charm.act("list-volumes", charm.state())
