"""The other side of a relation `certificates`: an authority that signs what a charm asks for."""

from __future__ import annotations

import dataclasses
import datetime
import json

from charmlibs.interfaces import tls_certificates as tls
from ops import testing

ENDPOINT, CA = "certificates", "self-signed-certificates"


def authority() -> tuple[tls.Certificate, tls.PrivateKey]:
    key = tls.PrivateKey.generate()
    wanted = tls.CertificateRequestAttributes(common_name="a CA", is_ca=True)
    validity = datetime.timedelta(days=365)
    return tls.Certificate.generate_self_signed_ca(wanted, key, validity), key


def request(out: testing.State) -> tls.CertificateSigningRequest:
    (found,) = out.get_relations(ENDPOINT)
    (wanted,) = json.loads(found.local_unit_data["certificate_signing_requests"])
    return tls.CertificateSigningRequest.from_string(wanted["certificate_signing_request"])


def answered(charm, out: testing.State, **data: str) -> testing.State:
    """The state after the provider has written into its databag."""
    (found,) = out.get_relations(ENDPOINT)
    changed = dataclasses.replace(found, remote_app_data=data)
    others = [each for each in out.relations if each.id != found.id]
    context = charm.context()
    state = dataclasses.replace(out, relations=[*others, changed])
    return charm.applied(context.run(context.on.relation_changed(changed), state))


def signed(
    charm, out: testing.State, by: tuple[tls.Certificate, tls.PrivateKey] | None = None
) -> tuple[testing.State, tls.Certificate, tls.Certificate]:
    """The state with a certificate, the certificate, and its CA's: `by`, or one of its own."""
    ca, key = by or authority()
    wanted = request(out)
    certificate = wanted.sign(ca=ca, ca_private_key=key, validity=datetime.timedelta(days=90))
    entry = {
        "certificate_signing_request": str(wanted),
        "certificate": str(certificate),
        "ca": str(ca),
        "chain": [str(certificate), str(ca)],
    }
    return answered(charm, out, certificates=json.dumps([entry])), certificate, ca
