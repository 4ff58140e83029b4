"""This process's terminal as that of a program elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import termios
import threading
import tty
from collections.abc import Iterator

from localjuju.cli.remote import Remote
from localjuju.streams import SIZE


@contextlib.contextmanager
def at_terminal(run: Remote) -> Iterator[None]:
    """Every key goes to the program, and it is told when the window changes.

    Without a terminal of our own, only what can be read goes there: its terminal has the size that
    the container runtime gives it.
    """
    if not os.isatty(0):
        with run.with_input(0):
            yield
        return

    def tell_sizes() -> None:
        there = True
        while there:
            size = os.get_terminal_size(0)
            there = run.send(
                SIZE, json.dumps({"width": size.columns, "height": size.lines}).encode()
            )
            signal.sigwait({signal.SIGWINCH})

    had = termios.tcgetattr(0)
    # Where every thread blocks the signal, one of them can wait for it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
    threading.Thread(target=tell_sizes, daemon=True).start()
    try:
        tty.setraw(0, termios.TCSADRAIN)  # what was typed meanwhile stays
        with run.with_input(0):
            yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, had)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
