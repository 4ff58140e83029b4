"""Hook commands by themselves: what they read and print."""

from __future__ import annotations

from localjuju.agent.commands.arguments import pairs


def test_values_of_a_file_are_the_texts_that_are_written_there():
    yaml = "a: 010\nb: yes\nc: 1e3\nd: 1.50\ne: ~\nf:\ng: null\nh: 'null'\ni: 2026-01-02\n"
    assert pairs(yaml) == {
        "a": "010", "b": "yes", "c": "1e3", "d": "1.50", "e": "", "f": "", "g": "", "h": "null",
        "i": "2026-01-02",
    }  # fmt: skip
    assert pairs('{"a": "true", "b": null, "c": "", "d": "caf\\u00e9", "e": 5, "f": true}') == {
        "a": "true", "b": "", "c": "", "d": "caf\u00e9", "e": "5", "f": "true",
    }  # fmt: skip
    assert pairs("") == {}
