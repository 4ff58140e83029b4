"""Writes the whole bundle, of the charms that were packed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from installer import bundle as bundles

ROOT = Path(__file__).parents[2]


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
