"""Tests of the program's parts are beside them, in Go."""

from __future__ import annotations

from localjuju.inpod.tests.program import go_command


def test_go_finds_nothing_suspicious():
    go_command("vet", "./...")


def test_the_parts_do_what_they_should():
    go_command("test", "./...")
