"""Whom a container runs as."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightkube import codecs

from localjuju.images import Image
from localjuju.node.environment import ConfigError
from localjuju.node.identity import Identity, account, of_container

OF_IMAGE = {"user": "65532:65532", "uid": 65532, "gid": 65532}


def of(
    image: dict[str, Any], pod: dict[str, Any] | None = None, own: dict[str, Any] | None = None
) -> Identity:
    """Of a container with these security contexts and an image with such a user."""
    made: Any = codecs.from_dict(
        {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "m", "uid": "u"},
            "spec": {
                "securityContext": pod or {},
                "containers": [{"name": "c", "image": "i", "securityContext": own or {}}],
            },
        }
    )  # fmt: skip
    return of_container(made, made.spec.containers[0], Image("i", "path", Path(), **image))


def test_the_image_s_user_is_what_nobody_says_otherwise():
    assert of(OF_IMAGE) == Identity(65532, 65532)
    assert of({}) == Identity(0, None)


def test_the_container_s_word_is_before_the_pod_s_and_that_before_the_image_s():
    assert of(OF_IMAGE, {"runAsUser": 5}) == Identity(5, None)
    assert of(OF_IMAGE, {"runAsUser": 5, "runAsGroup": 6}, {"runAsUser": 0}) == Identity(0, 6)
    assert of(OF_IMAGE, {"runAsGroup": 7}) == Identity(65532, 7)


def test_a_pod_s_groups_are_added():
    groups = {"fsGroup": 170, "supplementalGroups": [170, 5]}
    assert of({}, groups).groups == (5, 170)


@pytest.mark.parametrize(
    ("image", "own", "text"),
    [
        ({}, {}, "container has runAsNonRoot and image will run as root"),
        (OF_IMAGE, {"runAsUser": 0}, "container's runAsUser breaks non-root policy"),
        ({"user": "node", "uid": 1000}, {}, "image has non-numeric user .node., cannot verify"),
    ],
)
def test_root_is_refused_where_the_pod_says_so(
    image: dict[str, Any], own: dict[str, Any], text: str
):
    named = rf"{text}.*\(pod: \"p_m\(u\)\", container: c\)"
    with pytest.raises(ConfigError, match=named):
        of(image, {"runAsNonRoot": True}, own)
    assert of({"user": "node", "uid": 1000}, {"runAsNonRoot": True, "runAsUser": 1000}).user


def test_an_account_is_what_the_container_s_files_say(tmp_path: Path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("broken\njovyan:x:1000:100::/home/jovyan:/bin/sh\n")
    (tmp_path / "etc/group").write_text("users:x:100:\nextra:x:7:a,jovyan\n")
    found = account(1000, tmp_path)
    assert (found.name, found.group, found.home, found.groups) == (
        "jovyan", 100, "/home/jovyan", (7,),
    )  # fmt: skip
    assert account(65532, tmp_path).home == "/"
