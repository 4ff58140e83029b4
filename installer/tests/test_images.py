"""`./mlops images`: the list is whole, and the overlay for a registry leaves no image out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from installer import images
from installer.charm_python import ROOT
from localjuju.images.catalogue import normalise

FURTHER = ("training-v1", "spark", "model-registry", "knative")
OVERLAYS = [ROOT / f"bundle/overlays/{name}.yaml" for name in FURTHER]
FOUND = images.uses(images.BUNDLE, OVERLAYS)
HOSTS = r"(docker\.io|ghcr\.io|quay\.io|gcr\.io|registry\.k8s\.io|nvcr\.io|mcr\.microsoft\.com)/"


def test_the_list_has_what_charms_run_and_what_their_controllers_start():
    references = {(each.application, each.reference) for each in FOUND}
    assert ("mariadb", "docker.io/library/mariadb:10.11.19") in references
    assert ("argo-controller", "quay.io/argoproj/argoexec:v3.7.3") in references
    assert ("kfp-api", "ghcr.io/kubeflow/kfp-launcher:2.16.0") in references


def test_every_charm_of_the_bundle_is_in_the_list():
    named = {
        name
        for file in (images.BUNDLE, *OVERLAYS)
        for name, spec in yaml.safe_load(file.read_text())["applications"].items()
        if spec.get("resources")
    }
    assert {each.application for each in FOUND} == named


def test_no_image_is_named_anywhere_else_in_a_charm():
    for file in ROOT.glob("charms/*/src/**/*"):
        if file.is_file() and file.name != "images.yaml" and "__pycache__" not in file.parts:
            assert not re.search(HOSTS, file.read_text()), file


def test_the_overlay_takes_every_image_from_the_registry(capsys: pytest.CaptureFixture[str]):
    arguments = [part for file in OVERLAYS for part in ("--overlay", str(file))]
    assert images.main([*arguments, "--registry", "r.local:5000/mirror"]) == 0
    text = capsys.readouterr().out
    assert not re.search(HOSTS, text)
    found = yaml.safe_load(text)["applications"]
    for use in FOUND:
        spec = found[use.application]
        if not use.started:
            place = spec["resources"][use.name]
            assert place == f"r.local:5000/mirror/{use.reference.partition('/')[2]}"
        elif "registry" not in spec["options"]:
            own = yaml.safe_load(spec["options"]["images"])
            assert own[use.name].startswith("r.local:5000/mirror/")


def test_an_overlay_s_other_image_is_the_one_that_counts(capsys: pytest.CaptureFixture[str]):
    core, file = ROOT / "bundle/core.yaml", ROOT / "bundle/overlays/workspaces.yaml"
    arguments = ["--bundle", str(core), "--overlay", str(file)]
    assert images.main([*arguments, "--format", "json"]) == 0
    shown = {each["reference"] for each in json.loads(capsys.readouterr().out)}
    wanted = yaml.safe_load(file.read_text())["applications"]["mlflow"]["resources"]["oci-image"]
    assert normalise(wanted) in shown
    assert not [each for each in shown if "/mlflow/mlflow:" in each]


def test_what_an_overlay_takes_away_is_not_in_the_list():
    edge = images.uses(images.BUNDLE, [ROOT / "bundle/overlays/edge.yaml"])
    assert {each.application for each in FOUND} >= {"mlflow", "kfp-api", "argo-controller"}
    assert {each.application for each in edge}.isdisjoint({"kfp-api", "argo-controller"})
    assert "mlflow" in {each.application for each in edge}


def test_a_file_that_is_no_bundle_is_named(tmp_path: Path):
    with pytest.raises(Exception, match=r"no bundle at .*none\.yaml"):
        images.main(["--bundle", str(tmp_path / "none.yaml")])
