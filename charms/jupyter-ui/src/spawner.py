"""The spawner's form, from the charm's options: the file spawner_ui_config.yaml of the web app."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import yaml
from msgspec.structs import asdict

from charmed_mlops import Blocked, Quantity
from charmed_mlops.fields import Parsed

_REFERENCE = re.compile(r"[a-z0-9][\w.-]*([/:@][\w.:/@-]*)")
# What users can be kept from changing, by the names of the form's fields. Volumes are not among
# them: upstream's page sends them all the same, and its back end then refuses every notebook.
FIELDS = {
    "images": ("image", "imageGroupOne", "imageGroupTwo"),
    "image-pull-policy": ("imagePullPolicy",),
    "cpu": ("cpu",),
    "memory": ("memory",),
    "gpus": ("gpus",),
    "affinity": ("affinityConfig",),
    "tolerations": ("tolerationGroup",),
    "shared-memory": ("shm",),
    "configurations": ("configurations",),
}

Item = TypeVar("Item")


def _yaml(text: Any) -> Any:
    try:
        return (yaml.safe_load(text) or []) if isinstance(text, str) else text
    except yaml.YAMLError:
        raise ValueError("not YAML") from None


def _words(text: Any) -> Any:
    return text.split() if isinstance(text, str) else text


def _factor(text: str) -> str:
    if text != "none" and not (re.fullmatch(r"\d+(\.\d+)?", text) and float(text) >= 1):
        raise ValueError("must be a number from 1, or none")
    return text


def _number(text: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?", text) or not float(text):
        raise ValueError("must be a number of CPUs such as 0.5")
    return text


def _gibibytes(text: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?Gi", text) or not float(text[:-2]):
        raise ValueError("must be in Gi, such as 1.5Gi")  # the page computes with that unit only
    return text


Words = Annotated[list[str], Parsed(_words)]
Images = Annotated[Words, msgspec.Meta(min_length=1)]
Yaml = Annotated[list[Item], Parsed(_yaml)]
Factor = Annotated[str, Parsed(_factor)]


class Vendor(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A kind of GPU."""

    limitsKey: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9.-]+/[\w.-]+\Z")]  # noqa: N815 (upstream's)
    uiName: str  # noqa: N815


class Tolerations(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A group of tolerations."""

    groupKey: str  # noqa: N815
    displayName: str  # noqa: N815
    tolerations: list[dict[str, Any]]


class Affinity(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An affinity."""

    configKey: str  # noqa: N815
    displayName: str  # noqa: N815
    affinity: dict[str, Any]


class Volume(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A volume that the form starts with."""

    mount: Annotated[str, msgspec.Meta(pattern=r"^/")]
    newPvc: dict[str, Any] | None = None  # noqa: N815
    existingSource: dict[str, Any] | None = None  # noqa: N815

    def __post_init__(self) -> None:
        if (self.newPvc is None) == (self.existingSource is None):
            raise ValueError("needs either newPvc or existingSource")


class Options(msgspec.Struct, kw_only=True):
    """The charm's options."""

    jupyter_images: Images
    vscode_images: Images
    rstudio_images: Images
    allow_custom_image: bool
    hide_registry: bool
    hide_tag: bool
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"]
    cpu: Annotated[str, Parsed(_number)]
    cpu_limit_factor: Factor
    memory: Annotated[str, Parsed(_gibibytes)]
    memory_limit_factor: Factor
    gpu_vendors: Yaml[Vendor]
    gpu_vendor: str
    gpus: Literal["none", "1", "2", "4", "8"]
    workspace_mount: Annotated[str, msgspec.Meta(pattern=r"^/")]
    workspace_size: Quantity
    workspace_storage_class: str
    data_volumes: Yaml[Volume]
    tolerations: Yaml[Tolerations]
    toleration_group: str
    affinities: Yaml[Affinity]
    affinity: str
    configurations: Words
    shared_memory: bool
    read_only: Words

    def __post_init__(self) -> None:
        for option, chosen, known in (
            ("gpu-vendor", self.gpu_vendor, [each.limitsKey for each in self.gpu_vendors]),
            ("toleration-group", self.toleration_group, [g.groupKey for g in self.tolerations]),
            ("affinity", self.affinity, [each.configKey for each in self.affinities]),
            *(("read-only", each, [*FIELDS]) for each in self.read_only),
        ):
            if chosen and chosen not in known:
                listed = ", ".join(known) or "nothing, as none is on offer"
                raise ValueError(f"config {option}={chosen}: must be one of {listed}")
        if self.gpus != "none" and not self.gpu_vendor:
            raise ValueError(f"config gpus={self.gpus}: set gpu-vendor too")


def render(options: Options, images: Mapping[str, str]) -> str:
    """The file's text.

    Args:
        options: what the form offers.
        images: references by the names that the options use.

    Raises:
        Blocked: an image is neither of these nor a reference.
    """

    def group(option: str, names: list[str]) -> dict[str, Any]:
        found = [_reference(option, name, images) for name in names]
        return {"value": found[0], "options": found}

    claim: dict[str, Any] = {
        "resources": {"requests": {"storage": options.workspace_size}},
        "accessModes": ["ReadWriteOnce"],
    }
    if options.workspace_storage_class:
        claim["storageClassName"] = options.workspace_storage_class
    form: dict[str, Any] = {
        "allowCustomImage": options.allow_custom_image,
        "hideRegistry": options.hide_registry,
        "hideTag": options.hide_tag,
        "imagePullPolicy": {"value": options.image_pull_policy},
        "image": group("jupyter-images", options.jupyter_images),
        "imageGroupOne": group("vscode-images", options.vscode_images),
        "imageGroupTwo": group("rstudio-images", options.rstudio_images),
        "cpu": {"value": options.cpu, "limitFactor": options.cpu_limit_factor},
        "memory": {"value": options.memory, "limitFactor": options.memory_limit_factor},
        "gpus": {
            "value": {
                "vendor": options.gpu_vendor,
                "vendors": [asdict(each) for each in options.gpu_vendors],
                "num": options.gpus,
            }
        },
        "workspaceVolume": {
            "value": {
                "mount": options.workspace_mount,
                "newPvc": {"metadata": {"name": "{notebook-name}-workspace"}, "spec": claim},
            }
        },
        "dataVolumes": {
            "value": [
                {key: value for key, value in asdict(each).items() if value is not None}
                for each in options.data_volumes
            ]
        },
        "affinityConfig": {
            "value": options.affinity,
            "options": [asdict(each) for each in options.affinities],
        },
        "tolerationGroup": {
            "value": options.toleration_group,
            "options": [asdict(each) for each in options.tolerations],
        },
        "shm": {"value": options.shared_memory},
        "configurations": {"value": options.configurations},
        "environment": {"value": {}, "readOnly": False},  # PodDefaults are for that
    }
    for field in ("workspaceVolume", "dataVolumes"):
        form[field]["readOnly"] = False
    for option, fields in FIELDS.items():
        for field in fields:
            form[field]["readOnly"] = option in options.read_only
    return yaml.safe_dump({"spawnerFormDefaults": form}, sort_keys=False)


def _reference(option: str, name: str, images: Mapping[str, str]) -> str:
    if name in images:
        return images[name]
    if not _REFERENCE.fullmatch(name):
        raise Blocked(
            f"config {option}: {name!r} is neither a reference such as HOST/PATH:TAG "
            "nor a name that option images lists"
        )
    return name
