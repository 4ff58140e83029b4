"""Deploys a part of the core bundle and its overlays, with their options and relations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import jubilant
import yaml

from installer import bundle as bundles

ROOT = Path(__file__).parents[2]
_SETTLE_SECONDS = 1800.0


def write_bundle(charms: Path, folder: Path, overlays: Sequence[str]) -> Path:
    """The whole bundle with overlays, as one file.

    Args:
        charms: the folder of packed charms.
        folder: where the bundle is written.
        overlays: names of overlays, such as `training-v1`.
    """
    files = [ROOT / "bundle" / "overlays" / f"{each}.yaml" for each in overlays]
    document = bundles.document(ROOT / "bundle" / "bundle.yaml", files)
    for name, spec in document["applications"].items():
        spec["charm"] = str(charms / f"{name}.charm")
    bundle = folder / "bundle.yaml"
    bundle.write_text(yaml.safe_dump(document))
    return bundle


def deploy_part(
    juju: jubilant.Juju,
    charms: Path,
    folder: Path,
    overlays: Sequence[str],
    is_wanted: Callable[[str], bool],
) -> jubilant.Juju:
    """Deploys some applications of core and overlays, with the relations among them, and waits.

    Args:
        juju: the model to deploy to.
        charms: the folder of packed charms.
        folder: where the bundle is written.
        overlays: names of overlays, such as `tuning`.
        is_wanted: whether an application is deployed.
    """
    files = [ROOT / "bundle" / "overlays" / f"{each}.yaml" for each in overlays]
    document = bundles.document(ROOT / "bundle" / "core.yaml", files)
    applications, relations = document["applications"], document["relations"]
    chosen = {name: spec for name, spec in applications.items() if is_wanted(name)}
    for name, spec in chosen.items():
        spec["charm"] = str(charms / f"{name}.charm")
    kept = [pair for pair in relations if all(end.partition(":")[0] in chosen for end in pair)]
    bundle = folder / "bundle.yaml"
    bundle.write_text(
        yaml.safe_dump({"bundle": "kubernetes", "applications": chosen, "relations": kept})
    )
    juju.deploy(bundle, trust=True)
    juju.wait(
        lambda status: jubilant.all_active(status) and jubilant.all_agents_idle(status),
        error=jubilant.any_error,
        timeout=_SETTLE_SECONDS,
    )
    return juju
