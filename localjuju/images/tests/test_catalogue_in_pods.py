"""Images of the catalogue in pods: what upstream's image has, and nothing of this host."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from localjuju import pythons
from localkube.tests.clusters import Cluster, pod

pytestmark = [
    pytest.mark.localkube,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

_PYTHON = "docker.io/library/python:3.12.12-slim"


@pytest.mark.parametrize(
    ("image", "command", "said"),
    [
        (
            "quay.io/oauth2-proxy/oauth2-proxy:v7.15.4",
            ["/bin/oauth2-proxy", "--version"],
            "oauth2-proxy",
        ),
        ("docker.io/library/mariadb:10.11.19", ["mariadbd", "--version"], "10.11."),
        (_PYTHON, ["python3", "-c", "import ssl, sqlite3; print(1)"], "1\n"),
        (
            "ghcr.io/kubeflow/kfp-driver:2.16.0",
            ["sh", "-c", "/bin/driver --other 2>&1; echo $?"],
            "flag provided but not defined: --other\n2\n",
        ),
    ],
    ids=["go", "debian", "pypi", "stand-in"],
)
def test_an_image_s_program_runs(cluster: Cluster, image: str, command: list[str], said: str):
    asked = pod("program", container={"image": image, "command": command})
    assert said in cluster.output(asked)
    cluster.kubectl("delete", "pod/program", "--timeout=60s")


def test_an_image_has_its_own_users_programs_and_certificates(cluster: Cluster):
    command = """
        awk -F: '$1 == "mysql" {print $3}' /etc/passwd
        which sh tar
        grep -q BEGIN /etc/ssl/cert.pem && echo certificates
        cat /etc/hostname
        ls /home /srv /opt
    """
    asked = pod("base", command, container={"image": "docker.io/library/mariadb:10.11.19"})
    assert cluster.output(asked).split() == [
        "999", "/usr/bin/sh", "/usr/bin/tar", "certificates", "base", "/home:", "/opt:", "/srv:",
    ]  # fmt: skip
    cluster.kubectl("delete", "pod/base", "--timeout=60s")


_CHARMS = "docker.io/jujusolutions/charm-base:ubuntu-24.04"


@pytest.mark.parametrize("user", [0, 170])
def test_charms_have_python_and_packages_where_the_host_has_them(cluster: Cluster, user: int):
    packages = cluster.shared / f"packages-{user}"
    python = str(pythons.find().program)
    subprocess.run(
        [sys.executable, "-m", "uv", "venv", "-q", "--no-project", "--python", python, packages],
        check=True,
    )
    (site,) = packages.glob("lib/python3*/site-packages")
    (site / "shared.py").write_text("WORD = 'shared'")
    command = f"""
        python3 --version
        python3 -c 'import bz2, ctypes, lzma, sqlite3, ssl, uuid, zlib; print(sqlite3.connect)'
        {packages}/bin/python -c 'import shared; print(shared.WORD)'
        /usr/bin/python3 -c 'print("by the path that libraries of charms name")'
        id -u
    """
    container = {
        "image": _CHARMS,
        "securityContext": {"runAsUser": user},
        "volumeMounts": [{"name": "packages", "mountPath": str(packages), "readOnly": True}],
    }
    volumes = [{"name": "packages", "hostPath": {"path": str(packages)}}]
    said = cluster.output(pod("charm", command, container=container, volumes=volumes))
    version, function, *rest = said.splitlines()
    assert version.startswith(f"Python {pythons.VERSION}.")
    assert function == "<built-in function connect>"
    assert rest == ["shared", "by the path that libraries of charms name", str(user)]
    cluster.kubectl("delete", "pod/charm", "--timeout=60s")
