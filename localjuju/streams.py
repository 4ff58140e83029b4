"""A program's streams over one connection: messages, each on a channel.

A message is the channel in one byte, its length in four (big endian), and so many bytes. The
channels are those of Kubernetes' exec, so that what goes over them needs no other names. Standard
library only: the client reads it at every start.
"""

from __future__ import annotations

import json
import struct
from typing import Any

STDIN, STDOUT, STDERR, END, SIZE, REQUEST = 0, 1, 2, 3, 4, 5
"""An empty STDIN is its end. In JSON: END is how it ended, SIZE a terminal's size, and REQUEST,
the first message, what is to be run."""
HEADER = struct.Struct(">BI")
BLOCK = 1 << 15
"""Bytes that are read from a stream at once."""

Message = tuple[int, bytes]


def packed(channel: int, data: bytes) -> bytes:
    return HEADER.pack(channel, len(data)) + data


def packed_json(channel: int, value: Any) -> bytes:
    return packed(channel, json.dumps(value).encode())
