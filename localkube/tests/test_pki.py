"""The control plane's certificates."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

from localkube.controlplane.pki import Authority


def test_a_strict_client_trusts_them(tmp_path: Path):
    """As Python's are from 3.13 on: with VERIFY_X509_STRICT."""
    authority = Authority(tmp_path)
    pair = authority.issue("apiserver", "kube-apiserver", hosts=("kubernetes", "127.0.0.1"))
    user = authority.issue("admin", "admin", group="system:masters")
    serving = ssl.create_default_context(
        ssl.Purpose.CLIENT_AUTH, cafile=authority.pair.certificate
    )
    serving.verify_mode = ssl.CERT_REQUIRED
    asking = ssl.create_default_context(cafile=authority.pair.certificate)
    for context, own in ((serving, pair), (asking, user)):
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_cert_chain(own.certificate, own.key)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(back, there, server_hostname="127.0.0.1")
    server = serving.wrap_bio(there, back, server_side=True)
    for side in (client, server, client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert server.getpeercert()
