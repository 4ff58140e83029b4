"""Prints results: tables as Juju's, JSON, YAML."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from localkube.host.errors import EngineError


def format_option(parser: argparse.ArgumentParser, *formats: str) -> None:
    """Adds --format and -o; the first format is the default."""
    parser.add_argument("--format", choices=formats, default=formats[0],
                        help=f"how it is printed: {formats[0]} unless given")  # fmt: skip
    parser.add_argument("-o", "--output", metavar="FILE", help="write to a file")


def show(options: argparse.Namespace, value: Any, text: Callable[[], str] | None = None) -> None:
    """Prints a value in the format asked for; `text` makes the plain one."""
    if options.format == "json":
        shown = json.dumps(value, separators=(",", ":"))
    elif options.format == "yaml" or text is None:
        import yaml

        shown = yaml.safe_dump(value, sort_keys=False, default_flow_style=False).rstrip("\n")
    else:
        shown = text()
    if getattr(options, "output", None):
        try:
            Path(options.output).write_text(f"{shown}\n")
        except OSError as error:
            raise EngineError(f"cannot write {options.output}: {error.strerror}") from None
    elif shown:
        print(shown)
    sys.stdout.flush()


def table(rows: Sequence[Sequence[object]], right: Sequence[int] = ()) -> str:
    """Columns two spaces apart, without spaces at the ends of lines.

    Args:
        rows: the first one is the header.
        right: the columns that are set to the right.
    """
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    lines = []
    for row in texts:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
