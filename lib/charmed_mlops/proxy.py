"""The way to the internet where there is only a proxy: the model's, or the charm's own options."""

from __future__ import annotations

import os
from collections.abc import Mapping

from charmed_mlops.errors import Blocked

# what is inside the cluster is never asked through the proxy
_INSIDE = ("localhost", "127.0.0.1", ".svc", ".svc.cluster.local", ".cluster.local")


def variables(
    http: str = "", https: str = "", direct: str = "", environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The variables that programs read, in both cases; empty where there is no proxy.

    Args:
        http: the option `http-proxy`; empty is the model's setting juju-http-proxy, which Juju
            gives to hooks.
        https: the same of `https-proxy`.
        direct: the same of `no-proxy`: hosts that are asked without, separated by commas.
        environ: of the hook.

    Raises:
        Blocked: an address has a password in it, which everyone could read in the pods.
    """
    found = {}
    for name, own in (("http-proxy", http), ("https-proxy", https), ("no-proxy", direct)):
        found[name] = own or environ.get(f"JUJU_CHARM_{name.upper().replace('-', '_')}", "")
        if "@" in found[name]:
            where = f"config {name}" if own else f"model-config juju-{name}"
            raise Blocked(f"{where}: give a proxy that asks for no password")
    if not found["http-proxy"] and not found["https-proxy"]:
        return {}
    outside = [each.strip() for each in found["no-proxy"].split(",") if each.strip()]
    host = environ.get("KUBERNETES_SERVICE_HOST", "")
    found["no-proxy"] = ",".join(dict.fromkeys([*outside, *_INSIDE, *([host] if host else [])]))
    upper = {name.upper().replace("-", "_"): value for name, value in found.items() if value}
    return {**upper, **{name.lower(): value for name, value in upper.items()}}
