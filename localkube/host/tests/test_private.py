"""What the node's own folders hide, and what stays to be seen."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

_INSIDE = textwrap.dedent("""
    import os, sys
    from pathlib import Path
    from localkube.host import namespaces
    from localkube.host import private

    def main() -> int:
        host = Path(sys.argv[1])
        private.HIDDEN = (host,)
        private.hide(host / "lib" / "state", [host / "kept"])
        (host / "new").write_text("")
        (host / "lib" / "state" / "kept").write_text("")
        for name in ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops"):
            Path("/proc/sys", name).write_text("7")
        print(*sorted(str(path.relative_to(host)) for path in host.rglob("*")), flush=True)
        return 0

    namespaces.enter(main, hostname="inside", parent=os.getppid())
""")
_SYSCTLS = [Path("/proc/sys", name) for name in ("vm/overcommit_memory", "kernel/panic")]


def test_the_hosts_folder_and_settings_are_as_they_were(tmp_path: Path):
    host = tmp_path / "host"
    for folder in ("lib/state", "lib/other", "kept/inner"):
        (host / folder).mkdir(parents=True)
    before = [file.read_text() for file in _SYSCTLS]
    done = subprocess.run(
        [sys.executable, "-c", _INSIDE, host],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    seen = {word for word in done.stdout.split() if "sysctls" not in word}
    assert seen == {"kept", "kept/inner", "lib", "lib/state", "lib/state/kept", "new"}
    assert [file.read_text() for file in _SYSCTLS] == before
    assert not (host / "new").exists()
    assert (host / "lib" / "state" / "kept").exists()
