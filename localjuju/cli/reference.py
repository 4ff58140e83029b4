"""The page of commands, made from the registry: `python -m localjuju.cli.reference` writes it."""

from __future__ import annotations

from pathlib import Path

from localjuju.cli.registry import ALIASES, NOT_SUPPORTED, every

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "juju-commands.md"


def page() -> str:
    """The page's text."""
    others: dict[str, list[str]] = {}
    for alias, name in sorted(ALIASES.items()):
        others.setdefault(name, []).append(f"`{alias}`")
    rows = [
        f"| `{command.name}` | {command.summary} | {', '.join(others.get(command.name, []))} |"
        for command in every()
    ]
    missing = ", ".join(f"`{name}`" for name in sorted(NOT_SUPPORTED))
    return "\n".join(
        [
            "# The local engine's `juju`",
            "",
            "Made by `python -m localjuju.cli.reference`. `juju help COMMAND` tells a command's",
            "options; an option that means nothing on one machine is taken and ignored, and its",
            "help says so.",
            "",
            "| command | what it does | also called |",
            "| --- | --- | --- |",
            *rows,
            "",
            "Juju has these too; here they say `not supported by localjuju` and exit with 2:",
            f"{missing}.",
            "",
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page())
