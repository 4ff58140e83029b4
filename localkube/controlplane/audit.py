"""The API server's audit log: what service accounts asked for, and what was refused to them.

Off unless LOCALJUJU_AUDIT is set when the engine starts: it takes some CPU and disk.
https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/
"""

from __future__ import annotations

import json
import os
from pathlib import Path

VARIABLE = "LOCALJUJU_AUDIT"
FILE = "audit.jsonl"
"""In the state's folder `log`; an event of audit.k8s.io/v1 in each line."""
_MEBIBYTES = 1024
_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
        {"level": "None"},
    ],
}


def arguments(state: Path) -> list[str]:
    """What kube-apiserver is told; nothing where no log is asked for."""
    if not os.environ.get(VARIABLE):
        return []
    policy = state / "audit-policy.json"
    policy.write_text(json.dumps(_POLICY))
    return [
        f"--audit-policy-file={policy}",
        f"--audit-log-path={state / 'log' / FILE}",
        "--audit-log-mode=batch",
        f"--audit-log-maxsize={_MEBIBYTES}",
        "--audit-log-maxbackup=1",
    ]
