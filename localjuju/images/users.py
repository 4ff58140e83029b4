"""Users of an image: those of the base, and those that the upstream image has."""

from __future__ import annotations

from pathlib import Path

from localjuju.images.entries import Entry


def add(entry: Entry, tree: Path, known: Path) -> None:
    """Gives a tree the users that a root has, and those that the upstream image has.

    Args:
        entry: says which those are.
        tree: the tree.
        known: the root.
    """
    accounts, groups = [], []
    for user, given in entry.users.items():
        number, _, group = given.partition(":")
        home = entry.env.get("HOME", "/nonexistent")
        accounts.append(f"{user}:x:{number}:{group or number}::{home}:/usr/sbin/nologin\n")
        if not group:
            groups.append(f"{user}:x:{number}:\n")
    for name, added in (("passwd", accounts), ("group", groups)):
        taken = {(row.split(":")[0], row.split(":")[2]) for row in added}
        kept = [
            row
            for row in (known / "etc" / name).read_text().splitlines(keepends=True)
            # The root may have another user of that id: the image has not.
            if not any(row.split(":")[0] == n or row.split(":")[2:3] == [i] for n, i in taken)
        ]
        target = tree / "etc" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_text("".join(kept + added))
        target.chmod(0o644)
