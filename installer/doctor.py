"""`./mlops doctor`: looks at this machine, or at the cluster in use, and names each fix."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from installer import kubectl, leftovers, target
from installer.charm_python import ROOT
from localjuju import pythons
from localjuju.engine import limits
from localkube.building import debian
from localkube.host import mapped, paths
from localkube.host.errors import EngineError

# Kubeflow-sized stacks watch many files: the figures that MicroK8s guides for them ask for
_INOTIFY = {"max_user_instances": 2280, "max_user_watches": 1255360}
_GIB = 1 << 30
_MEMORY = (2 * _GIB, 4 * _GIB)  # below: error, warning
_DISK_WARM = (1 * _GIB, 3 * _GIB)
_DISK_COLD = (8 * _GIB, 12 * _GIB)  # the Go builds' intermediate files included
_FILES = 4096


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        level: `ok`, `warning` (works, but) or `error` (does not work).
        name: what was looked at.
        text: what was found, and the fix where one is needed.
    """

    level: str
    name: str
    text: str


def main(arguments: list[str]) -> int:
    """Runs `./mlops doctor`; returns 1 where something does not work."""
    parser = argparse.ArgumentParser(prog="./mlops doctor", description=__doc__)
    parser.add_argument("--engine", choices=["local", "juju"], help="default: the one in use")
    parser.add_argument("--format", choices=["table", "json"], default="table")
    parser.add_argument(
        "--fix",
        action="store_true",
        help="remove what models that are gone have left in the cluster; asks first",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    options = parser.parse_args(arguments)
    chosen = target.choose(options.engine, None) if options.engine else target.current()
    if options.fix:
        leftovers.fix(chosen, ask=not options.yes)
    found = [*findings(chosen), *left_behind(chosen)]
    if options.format == "json":
        print(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        show(found)
        print(verdict(found))
    return 1 if any(finding.level == "error" for finding in found) else 0


def show(found: Iterable[Finding]) -> None:
    """Prints findings, one a line."""
    for finding in found:
        print(f"{finding.level:<8} {finding.name:<13} {finding.text}")


def verdict(found: Iterable[Finding]) -> str:
    """What the findings come to, in one line."""
    levels = [finding.level for finding in found]
    errors, warnings = levels.count("error"), levels.count("warning")
    if errors:
        return f"not ready: {errors} to mend first; ./mlops doctor looks again"
    if warnings:
        return f"ready, with {warnings} to look at: it works without, but may not do well"
    return "ready"


def findings(chosen: target.Target) -> list[Finding]:
    """Everything that matters for a deployment there."""
    if not chosen.has_engine:
        return cluster(chosen)
    if not chosen.is_local:
        return [*local(), juju_version()]
    if target.has_juju() and not target.controllers():
        text = "it has no controller: ./mlops up --juju makes one here, on the engine's Kubernetes"
        return [*local(), Finding("ok", "juju", text)]
    return local()


def left_behind(chosen: target.Target) -> list[Finding]:
    """What models that are gone have left, a line for each model."""
    name = "leftovers"
    if chosen.has_engine and not kubectl.engine_runs():
        return []
    try:
        found = leftovers.find(chosen)
    except EngineError as error:
        return [Finding("warning", name, f"not looked at: {error}")]
    if not found:
        return [Finding("ok", name, "none of models that are gone")]
    return [
        Finding("warning", name, f"{leftovers.summary(model, of_model)}")
        for model, of_model in leftovers.by_model(found).items()
    ]


def local() -> list[Finding]:
    """What the local engine needs of this machine."""
    checks: tuple[Callable[[], Finding], ...] = (
        architecture, python, namespaces, memory, memory_bound, processors, disk,
        *inotify_checks(), open_files, loopback, debian_packages,
        control_groups, state_folder,
    )  # fmt: skip
    return [check() for check in checks]


def architecture() -> Finding:
    """Linux on a processor that the programs are built for."""
    text = f"{platform.system()} on {platform.machine()}"
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        return Finding("error", "architecture", f"{text}: needs Linux on x86_64 or aarch64")
    return Finding("ok", "architecture", text)


def python() -> Finding:
    """The Python that charms run on."""
    found = pythons.find()
    if found.version == pythons.VERSION:
        text = f"charms run on {found.version} ({found.program}), as on ubuntu@24.04"
        return Finding("ok", "python", text)
    return Finding(
        "warning",
        "python",
        f"charms run on {found.version}; ubuntu@24.04 has {pythons.VERSION}: "
        f"apt-get install python{pythons.VERSION}, or uv python install {pythons.VERSION}",
    )


# Run by a Python of its own: what it mounts and makes ends with its namespaces.
_PROBE = """
import os, sys
from localkube.building import netfilter
from localkube.host import mapped, system
from localkube.host import namespaces
from localkube.host.errors import EngineError
def inside():
    folder = sys.argv[1]
    try:
        system.mount("tmpfs", folder, "tmpfs", 0)
        for name in ("upper", "work", "merged"):
            os.mkdir(f"{folder}/{name}")
        layers = f"lowerdir=/usr,upperdir={folder}/upper,workdir={folder}/work"
        system.mount("overlay", f"{folder}/merged", "overlay", 0, layers)
        from pyroute2 import IPRoute
        with IPRoute() as network:
            network.link("add", ifname="probe0", kind="bridge")
            network.link("add", ifname="probe1", peer="probe2", kind="veth")
        netfilter.require()
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        return 1
    return 0
try:
    mapped.enter()
    namespaces.enter(inside, "doctor", int(sys.argv[2]))
except (EngineError, OSError) as error:
    print(error, flush=True)
    os._exit(1)
"""


def namespaces() -> Finding:
    """Enters namespaces for real, mounts an overlay there and makes a bridge and a veth pair."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = subprocess.run(
                [sys.executable, "-c", _PROBE, folder, str(os.getpid())],
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
                capture_output=True,
                text=True,
                timeout=60,
            )
    except subprocess.TimeoutExpired:
        return Finding("error", "namespaces", "a process in new namespaces did not end in 60 s")
    if result.returncode == 0:
        who = "root" if os.geteuid() == 0 else "in a user namespace"
        return Finding("ok", "namespaces", f"process, network, mount and overlay, {who}")
    lines = (result.stdout.strip() or result.stderr.strip()).splitlines()
    said = lines[-1] if lines else f"exit code {result.returncode}"
    if "overlay" in said or "merged" in said:
        said += ": modprobe overlay, or run as root (user namespaces need Linux 5.11)"
    elif "NetlinkError" in said:
        said += ": modprobe bridge veth"
    return Finding("error", "namespaces", said)


def memory(meminfo: Path = Path("/proc/meminfo")) -> Finding:
    """What is available, to this machine and to this control group."""
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    available = int(fields["MemAvailable"].split()[0]) * 1024
    limit = _group_limit()
    if limit is not None:
        available = min(available, limit)
    text = f"{available / _GIB:.1f} GiB available"
    return _bounded("memory", available, _MEMORY, text, "end other programs or add memory")


def _group_limit(base: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Memory that the control group still grants (cgroup v2), or None where it has no limit."""
    try:
        own = Path("/proc/self/cgroup").read_text().strip().rpartition("::/")[2]
        most = (base / own / "memory.max").read_text().strip()
        used = int((base / own / "memory.current").read_text())
    except (OSError, ValueError):
        return None
    return None if most == "max" else max(0, int(most) - used)


def memory_bound() -> Finding:
    """What keeps a stack that grows too large from taking the machine down."""
    size = limits.memory() / _GIB
    with contextlib.suppress(EngineError):  # which `control_groups` tells
        if not limits.groups(paths.state()).version:
            return Finding("warning", "memory bound", "none: no control group can be made here")
    return Finding("ok", "memory bound", f"{size:.1f} GiB, by a control group of the engine's")


def processors() -> Finding:
    """How many processors this process may use."""
    count = len(os.sched_getaffinity(0))
    if count < 2:
        return Finding("warning", "processors", "1: works, slowly; 2 or more are wanted")
    return Finding("ok", "processors", str(count))


def disk() -> Finding:
    """Free space where programs, images and volumes go."""
    folder = paths.cache()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    cold = not any(folder.glob("builds/kubernetes-*"))
    wanted = _DISK_COLD if cold else _DISK_WARM
    text = f"{free / _GIB:.1f} GiB free at {folder}"
    fix = "free some, or name a folder on another disk with CHARMED_MLOPS_CACHE"
    return _bounded("disk", free, wanted, text, fix)


def _bounded(name: str, value: int, bounds: tuple[int, int], text: str, fix: str) -> Finding:
    least, wanted = bounds
    if value >= wanted:
        return Finding("ok", name, text)
    level = "error" if value < least else "warning"
    return Finding(level, name, f"{text}, {wanted / _GIB:.0f} wanted: {fix}")


def inotify_checks() -> list[Callable[[], Finding]]:
    """One check for each limit of inotify(7)."""
    return [lambda key=key: inotify(key) for key in _INOTIFY]


def inotify(key: str, base: Path = Path("/proc/sys/fs/inotify")) -> Finding:
    """One limit; too low a one hurts on a real cluster, the local engine does with less."""
    value, wanted = int((base / key).read_text()), _INOTIFY[key]
    name = "inotify"
    if value >= wanted:
        return Finding("ok", name, f"fs.inotify.{key} = {value}")
    return Finding(
        "warning",
        name,
        f"fs.inotify.{key} = {value}, {wanted} wanted: sudo sysctl -w fs.inotify.{key}={wanted}",
    )


def open_files() -> Finding:
    """How many files a process may open (the hard limit: the engine raises its own to that)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _FILES:
        return Finding("warning", "open files", f"at most {hard}: ulimit -n {_FILES}")
    return Finding("ok", "open files", f"up to {hard}")


def loopback() -> Finding:
    """The one thing needed of the host's network: `./mlops open` listens on its loopback."""
    try:
        socket.create_server(("127.0.0.1", 0)).close()
    except OSError as error:
        return Finding("error", "ports", f"cannot listen on 127.0.0.1: {error.strerror}")
    return Finding("ok", "ports", "127.0.0.1 can be listened on; no fixed port is needed")


def debian_packages() -> Finding:
    """The node's programs and some images are Debian's, unpacked by these two programs."""
    missing = debian.missing()
    if missing and not any((paths.cache() / "builds").glob("containerd-*")):
        text = f"{' and '.join(missing)} missing: the node is made of Debian's packages: run there"
        return Finding("error", "packages", text)
    if missing:
        text = f"{' and '.join(missing)} missing: name a folder with LOCALJUJU_IMAGES instead"
        return Finding("warning", "packages", text)
    return Finding("ok", "packages", "apt-get and dpkg")


def control_groups() -> Finding:
    """The node gives each pod a group of its own."""
    try:
        mapped.check()
        found = limits.groups(paths.state())
        found.check()
    except EngineError as error:
        return Finding("error", "groups", str(error))
    if not found.version:
        text = "none can be made here: limits of pods are not kept; root of the host makes them"
        return Finding("warning", "groups", text)
    return Finding("ok", "groups", f"of version {found.version}")


def state_folder() -> Finding:
    """A long path leaves sockets no room; one of an earlier version is not taken over."""
    try:
        paths.refuse_long(paths.state(), "CHARMED_MLOPS_STATE")
        limits.refuse_earlier(paths.state())
    except EngineError as error:
        return Finding("error", "state", str(error))
    return Finding("ok", "state", f"{paths.state()}")


def cluster(chosen: target.Target) -> list[Finding]:
    """What a real cluster and its Juju controller need."""
    found = [juju_version(), *(inotify(key) for key in _INOTIFY)]
    controllers = target.controllers()
    found.append(
        Finding("ok", "controller", ", ".join(controllers))
        if controllers
        else Finding("error", "controller", "none: juju bootstrap CLOUD")
    )
    found += [kubernetes(), storage_class(), load_balancer()]
    if controllers:
        found.append(trust(chosen))
    return found


def juju_version() -> Finding:
    """Juju's client, which has to be as new as the charms assume."""
    program = shutil.which("juju")
    if program is None:
        return Finding("error", "juju", "not on the PATH: snap install juju")
    text, wanted = "", _assumed_juju()
    try:
        text = _output([program, "version"]).strip()
        numbers = tuple(int(part) for part in text.split("-")[0].split("."))
    except (ValueError, OSError):
        return Finding("error", "juju", f"juju version printed {text!r}: snap install juju")
    if numbers < _numbers(wanted):
        cure = "snap refresh juju --channel 3.6"
        return Finding("error", "juju", f"{text}, {wanted} wanted: {cure}")
    return Finding("ok", "juju", text)


def _assumed_juju() -> str:
    return _assumed("juju", "charmcraft.yaml")


def _assumed(feature: str, file: str) -> str:
    """The least version of a feature that the `assumes` of a charmcraft.yaml names."""
    assumes = yaml.safe_load((ROOT / file).read_text())["assumes"]
    return next(each.partition(">=")[2].strip() for each in assumes if feature in each)


def kubernetes() -> Finding:
    """The cluster's Kubernetes, which has to be as new as the charms assume."""
    least = _assumed("k8s-api", "charmcraft.yaml")
    for_knative = _assumed("k8s-api", "charms/knative-serving/charmcraft.yaml")
    program = shutil.which("kubectl")
    try:
        argv = [program or "kubectl", "version", "-o", "json", "--request-timeout=10s"]
        said = json.loads(_output(argv))["serverVersion"]
        # a provider may write 30+
        numbers = int(said["major"]), int(said["minor"].rstrip("+"))
        text = said["gitVersion"]
    except (KeyError, ValueError, OSError):
        text = "not looked at: kubectl does not reach a cluster"
        return Finding("warning", "kubernetes", text)
    if numbers < _numbers(least):
        return Finding("error", "kubernetes", f"{text}, {least} wanted: upgrade the cluster")
    if numbers < _numbers(for_knative):
        text += f": enough for all but Knative, which wants {for_knative}"
        return Finding("warning", "kubernetes", text)
    return Finding("ok", "kubernetes", text)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def storage_class() -> Finding:
    """Without a default StorageClass no volume is ever bound."""
    names = _kubernetes("storageclasses.storage.k8s.io", _is_default_class)
    if names is None:
        return Finding("warning", "storage", "not looked at: kubectl does not reach a cluster")
    if not names:
        return Finding(
            "error",
            "storage",
            "no default StorageClass: microk8s enable hostpath-storage, or kubectl annotate "
            "storageclass NAME storageclass.kubernetes.io/is-default-class=true",
        )
    return Finding("ok", "storage", f"default StorageClass {names[0]}")


def _is_default_class(item: dict) -> bool:
    annotations = item["metadata"].get("annotations") or {}
    return annotations.get("storageclass.kubernetes.io/is-default-class") == "true"


def load_balancer() -> Finding:
    """A Service of type LoadBalancer needs something that gives it an address."""
    pools = _kubernetes("ipaddresspools.metallb.io", lambda _: True)
    services = _kubernetes("services", _has_address)
    if pools or services:
        return Finding("ok", "load balancer", f"{len(pools or services or [])} found")
    if services is None:
        text = "not looked at: kubectl does not reach a cluster"
        return Finding("warning", "load balancer", text)
    return Finding(
        "warning",
        "load balancer",
        "none seen; applications are reached by ./mlops open: microk8s enable metallb:FROM-TO",
    )


def _has_address(item: dict) -> bool:
    given = item.get("status", {}).get("loadBalancer", {}).get("ingress")
    return item["spec"].get("type") == "LoadBalancer" and bool(given)


def trust(chosen: target.Target) -> Finding:
    """The broker alone acts for the others in the cluster, so it alone has to be trusted."""
    try:
        settings = chosen.json("config", "resource-broker", timeout=60)
    except EngineError as error:
        return Finding("ok", "trust", f"resource-broker is not deployed yet ({error})")
    if settings.get("application-config", {}).get("trust", {}).get("value") is True:
        return Finding("ok", "trust", "resource-broker is trusted")
    return Finding("error", "trust", "juju trust resource-broker --scope=cluster")


def _kubernetes(kind: str, wanted: Callable[[dict], bool]) -> list[str] | None:
    """Names of the objects of a kind in all namespaces; None without a cluster."""
    program = shutil.which("kubectl")
    if program is None:
        return None
    try:
        text = _output(
            [program, "get", kind, "-A", "-o", "json", "--ignore-not-found",
             "--request-timeout=10s"]
        )  # fmt: skip
        items = json.loads(text or "{}").get("items", [])
    except (ValueError, OSError):
        return None
    return [item["metadata"]["name"] for item in items if wanted(item)]


def _output(argv: list[str]) -> str:
    """Standard output; OSError where the program fails."""
    try:
        result = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
        )
    except subprocess.TimeoutExpired:
        raise OSError(f"{argv[0]} did not answer") from None
    if result.returncode:
        raise OSError(result.stderr.strip())
    return result.stdout
