"""The registries that images come from elsewhere: which of them answer, and their mirrors."""

from __future__ import annotations

import http.client
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from urllib.parse import urlsplit

from localkube.host.errors import EngineError

VARIABLE = "LOCALJUJU_MIRRORS"
"""Names who is asked in place of registries: `docker.io=https://mirror.example.org …`."""

_SERVERS = {"docker.io": "registry-1.docker.io"}  # who serves a registry of another name
_SECONDS = 3.0
_ANSWERS = (200, 401)  # OCI distribution specification 1.1, end-1; 401 asks for a token


def mirrors() -> dict[str, str]:
    """The server's URL by the registry that it is asked in place of.

    Raises:
        EngineError: the variable is not as it has to be.
    """
    found = {}
    for pair in os.environ.get(VARIABLE, "").split():
        registry, _, url = pair.partition("=")
        parts = urlsplit(url)
        if not registry or parts.scheme not in ("http", "https") or not parts.hostname:
            raise EngineError(
                f"{VARIABLE}: {pair} is not REGISTRY=URL, such as "
                "docker.io=https://mirror.example.org"
            )
        if not all(char.isalnum() or char in ".:-_" for char in registry):
            raise EngineError(f"{VARIABLE}: {registry} is no registry's name")
        found[registry] = url.rstrip("/")
    return found


def answering(registries: Iterable[str]) -> list[str]:
    """Those of some registries, and of all that have a mirror, that answer this process.

    Raises:
        EngineError: the mirrors are not as they have to be.
    """
    known = mirrors()
    servers = {
        one: known.get(one) or f"https://{_SERVERS.get(one, one)}"
        for one in sorted({*registries, *known})
    }
    found: dict[str, bool] = {}
    # Not a pool, whose end waits for all: names are looked up without an end in sight at times.
    threads = [
        threading.Thread(
            target=lambda one=one, at=at: found.update({one: _answers(at)}), daemon=True
        )
        for one, at in servers.items()
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [one for one in servers if found.get(one)]


def _answers(server: str) -> bool:
    # The node does not go by a proxy, so neither does this question.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    question = urllib.request.Request(f"{server}/v2/", method="HEAD")
    try:
        with direct.open(question, timeout=_SECONDS) as answer:
            return answer.status in _ANSWERS
    except urllib.error.HTTPError as error:
        return error.code in _ANSWERS
    except (OSError, http.client.HTTPException, ValueError):
        return False
