"""Processes of this machine by their parents: proc(5), the file `stat`."""

from __future__ import annotations

from pathlib import Path


def descendants(number: int, proc: Path = Path("/proc")) -> list[int]:
    """A process and all that descend from it; those in its namespaces are seen from here too."""
    parents: dict[int, int] = {}
    for folder in proc.iterdir():
        if folder.name.isdigit():
            try:
                text = (folder / "stat").read_text()
            except OSError:  # ended meanwhile
                continue
            parents[int(folder.name)] = int(text.rpartition(")")[2].split()[1])
    found = [number]
    for process in found:  # grows while it is walked
        found += [child for child, parent in parents.items() if parent == process]
    return found
