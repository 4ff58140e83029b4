"""AWS signature 4 for S3, by the standard library alone.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
from collections.abc import Mapping


def signed(
    method: str,
    host: str,
    path: str,
    digest: str,
    *,
    access: str,
    secret: str,
    region: str,
    headers: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The headers of a signed request, the given ones with them.

    Args:
        method: of the request.
        host: its name, with the port unless that is the scheme's own.
        path: quoted, with the query.
        digest: SHA-256 of the body, in hexadecimal digits.
        access: name of the key.
        secret: the key.
        region: of the service.
        headers: to be sent and signed, too; names in lower case.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    found = {**(headers or {}), "host": host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(sorted(found))
    address, _, query = path.partition("?")
    canonical = "\n".join(
        [method, address, "&".join(sorted(query.split("&")))]
        + [f"{name}:{found[name]}" for name in sorted(found)]
        + ["", names, digest]
    )
    scope = f"{day}/{region}/s3/aws4_request"
    text = "\n".join(
        ["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()]
    )
    key = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    found["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={names}, "
        f"Signature={key.hex()}"
    )
    return found
