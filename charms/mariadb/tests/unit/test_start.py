"""The script that starts MariaDB, run by bash with doubles of MariaDB's programs."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "src/templates/start.sh"
CONFIG = "/etc/mysql/charm.cnf"
SERVER = """
case " $* " in
*" --version "*) echo "mariadbd  Ver $VERSION-MariaDB for Linux on x86_64"; exit;;
esac
echo "mariadbd $*" >>"$CALLS"
case " $* " in
*" --skip-networking "*) trap 'exit 0' TERM; while :; do sleep 0.05; done;;
esac
"""
PROGRAMS = {
    "mariadbd": SERVER,
    "chown": """
        echo "chown $*" >>"$CALLS"
        [ "$1" = root: ] || exit "$CHOWN"
    """,
    "mariadb-install-db": """
        echo "install $*" >>"$CALLS"
        echo -n "$VERSION-MariaDB" >"$DATA/mysql_upgrade_info"
    """,
    "mariadb-admin": 'grep -q skip-networking "$CALLS"',
    "mariadb-upgrade": """
        echo "upgrade $*" >>"$CALLS"
        [ "$UPGRADE" = 0 ] || exit "$UPGRADE"
        echo -n "$VERSION-MariaDB" >"$DATA/mysql_upgrade_info"
    """,
}


class Start:
    """Starts with doubles; `calls` is what they were asked since."""

    def __init__(self, folder: Path):
        self.data = folder / "data"
        self.data.mkdir()
        self._folder = folder
        self.certificate = folder / "certificate.pem"
        self.certificate.write_text("chain and key\n")
        (folder / "bin").mkdir()
        for name, text in PROGRAMS.items():
            program = folder / "bin" / name
            program.write_text(f"#!/bin/bash\n{text}")
            program.chmod(0o755)

    def __call__(
        self, version: str = "10.11.19", chown: int = 0, upgrade: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run it; `chown` and `upgrade` are those programs' exit codes."""
        (self._folder / "calls").write_text("")
        return subprocess.run(
            ["/bin/bash", str(SCRIPT), str(self.data), CONFIG, str(self.certificate)],
            env={
                "PATH": f"{self._folder / 'bin'}:{os.environ['PATH']}",
                "CALLS": str(self._folder / "calls"),
                "DATA": str(self.data),
                "VERSION": version,
                "CHOWN": str(chown),
                "UPGRADE": str(upgrade),
            },
            capture_output=True,
            text=True,
            timeout=60,
        )

    @property
    def calls(self) -> list[str]:
        """The programs' names and arguments."""
        return (self._folder / "calls").read_text().splitlines()

    def asked(self, program: str) -> list[str]:
        """The calls of one program."""
        return [call for call in self.calls if call.startswith(f"{program} ")]

    def text(self, name: str) -> str:
        """A file beside the data."""
        return (self.data / name).read_text().strip()


@pytest.fixture
def start(tmp_path: Path) -> Start:
    return Start(tmp_path)


def test_the_first_start_makes_the_data_directory_and_upgrades_nothing(start):
    assert start().returncode == 0
    (install,) = start.asked("install")
    assert "--user=mysql" in install
    assert "--auth-root-authentication-method=socket" in install
    assert not start.asked("upgrade")
    assert start.calls[-1] == "mariadbd --defaults-file=/etc/mysql/charm.cnf --user=mysql"
    assert start.text(".charmed-mlops-version") == "10.11.19"


def test_the_second_start_makes_nothing_again(start):
    start()
    assert start().returncode == 0
    assert not start.asked("install")
    assert len(start.asked("mariadbd")) == 1


def test_a_volume_that_takes_no_other_owner_has_root_run_the_server(start):
    assert start(chown=1).returncode == 0
    assert "--user=root" in start.asked("install")[0]
    assert start.calls[-1].endswith("--user=root")
    assert start.asked("chown")[-1] == f"chown root: {start.certificate}"


def test_who_runs_the_server_owns_the_key_and_what_is_loaded_is_noted(start):
    assert start().returncode == 0
    assert f"chown mysql: {start.certificate}" in start.calls
    digest = hashlib.sha256(start.certificate.read_bytes()).hexdigest()
    assert start.text(".charmed-mlops-certificate").split()[0] == digest


def test_tables_of_an_older_series_are_upgraded_once_and_before_clients_get_in(start):
    start("10.6.18")
    assert start("10.11.19").returncode == 0
    offline, serving = start.asked("mariadbd")
    assert "--skip-networking" in offline
    assert "--skip-networking" not in serving
    (upgrade,) = start.asked("upgrade")
    # the health check asks the other socket: it fails until the server is open
    assert f"--socket={start.data}/upgrade.sock" in upgrade
    assert not (start.data / ".charmed-mlops-upgrading").exists()
    start("10.11.19")
    assert not start.asked("upgrade")


def test_another_patch_release_needs_no_upgrade(start):
    """MariaDB says so itself, as both are of one series."""
    start("10.11.5")
    start("10.11.19")
    assert not start.asked("upgrade")


def test_the_newer_name_of_the_version_s_file_is_known(start):
    start("10.6.18")
    (start.data / "mysql_upgrade_info").rename(start.data / "mariadb_upgrade_info")
    (start.data / "mariadb_upgrade_info").write_text("11.4.5-MariaDB")
    start("11.4.5")
    assert not start.asked("upgrade")


def test_an_upgrade_that_fails_opens_no_server_and_is_tried_again(start):
    start("10.6.18")
    assert start("10.11.19", upgrade=1).returncode == 1
    assert len(start.asked("mariadbd")) == 1  # the one without network
    assert start.text(".charmed-mlops-upgrading") == "10.6.18 failed"
    assert start("10.11.19").returncode == 0
    assert start.asked("upgrade")
    assert not (start.data / ".charmed-mlops-upgrading").exists()


def test_data_of_a_newer_series_is_left_alone(start):
    start("11.4.5")
    out = start("10.11.19")
    assert out.returncode == 1
    assert "11.4.5-MariaDB, which 10.11.19 cannot read" in out.stderr
    assert not start.asked("mariadbd")
