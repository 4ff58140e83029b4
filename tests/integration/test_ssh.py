"""`juju ssh` and `juju scp` reach into a pod's containers: with a terminal, and as a stream."""

from __future__ import annotations

import fcntl
import os
import secrets
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import jubilant
import pytest

IMAGE = "docker.io/library/mariadb:10.11.19"
SETTLE_SECONDS = 600.0
_READ_SECONDS = 60.0


@pytest.fixture(scope="module")
def juju(charms: Path) -> Iterator[jubilant.Juju]:
    """A model with a database that works."""
    juju = jubilant.Juju()
    juju.add_model(f"ssh-{secrets.token_hex(3)}")
    juju.deploy(charms / "mariadb.charm", "mariadb", resources={"oci-image": IMAGE})
    juju.wait(jubilant.all_active, error=jubilant.any_error, timeout=SETTLE_SECONDS)
    yield juju
    assert juju.model is not None
    juju.destroy_model(juju.model, destroy_storage=True, force=True)


class Terminal:
    """A terminal of this machine at which `juju ssh` runs."""

    def __init__(self, juju: jubilant.Juju, container: str, rows: int, columns: int):
        assert juju.model is not None
        self._end, other = os.openpty()
        self.resize(rows, columns)
        argv = [juju.cli_binary, "ssh", "-m", juju.model, "--container", container, "mariadb/0"]
        self.process = subprocess.Popen(argv, stdin=other, stdout=other, stderr=other)
        os.close(other)
        self.seen = ""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, line: str) -> None:
        os.write(self._end, line.encode() + b"\r")

    def until(self, text: str) -> None:
        """Reads until that has been printed."""
        while text not in self.seen:
            ready, _, _ = select.select([self._end], [], [], _READ_SECONDS)
            assert ready, f"nothing more in {_READ_SECONDS:.0f} s: {self.seen}"
            try:
                self.seen += os.read(self._end, 4096).decode()
            except OSError:  # pty(7): the other end is closed
                pytest.fail(f"ssh ended with {self.process.wait(10)} first: {self.seen}")

    def close(self) -> None:
        os.close(self._end)
        self.process.kill()
        self.process.wait()


@pytest.fixture(params=["charm", "mariadb"])
def terminal(juju: jubilant.Juju, request: pytest.FixtureRequest) -> Iterator[Terminal]:
    made = Terminal(juju, request.param, 31, 101)
    yield made
    made.close()


def test_a_shell_at_a_terminal_has_its_size_and_another_when_it_changes(terminal: Terminal):
    # Kubernetes sends a size only once the shell runs, which may be asked before it is told.
    terminal.type("until stty size | grep '^31'; do sleep 1; done; echo kind=$TERM")
    terminal.until("31 101\r\n")
    terminal.until(f"kind={os.environ.get('TERM', 'dumb')}\r\n")
    terminal.resize(40, 90)
    terminal.process.send_signal(signal.SIGWINCH)
    terminal.type("until stty size | grep '^40'; do sleep 1; done")
    terminal.until("40 90\r\n")
    terminal.type("exit 3")
    assert terminal.process.wait(timeout=60) == 3


def test_a_key_interrupts_the_program_and_not_the_terminal(terminal: Terminal):
    terminal.type("sleep 1000; echo ended-$((1 + 1))")
    terminal.until("sleep 1000")
    terminal.type("\x03")
    terminal.type("echo still-$((1 + 2))")
    terminal.until("still-3\r\n")


def test_what_a_program_prints_comes_while_it_runs_and_input_reaches_it(juju: jubilant.Juju):
    assert juju.model is not None
    pipe = subprocess.PIPE
    argv = [juju.cli_binary, "ssh", "-m", juju.model, "mariadb/0",
            "echo ready; read line; echo got $line >&2; exit 7"]  # fmt: skip
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == b"ready\n"
        _, errors = shell.communicate(b"this\n", timeout=60)
    assert (errors, shell.returncode) == (b"got this\n", 7)


def test_a_file_of_any_size_goes_into_a_pod_and_comes_out(juju: jubilant.Juju, tmp_path: Path):
    sent, got = tmp_path / "sent.bin", tmp_path / "got.bin"
    sent.write_bytes(os.urandom(1 << 20) * 100)
    juju.scp(sent, "mariadb/0:/tmp/large.bin")
    juju.scp("mariadb/0:/tmp/large.bin", got)
    assert subprocess.run(["cmp", sent, got], check=False).returncode == 0
