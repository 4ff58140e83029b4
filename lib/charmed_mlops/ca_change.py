"""Another CA: clients are told of it before the server shows a certificate that it signed."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
from typing import TYPE_CHECKING

from charmed_mlops import certificates
from charmed_mlops.interfaces import _common

if TYPE_CHECKING:
    from cryptography import x509

    from charmed_mlops.certificates import Certificate
    from charmed_mlops.charm import ServiceCharm

_NOTICE = datetime.timedelta(minutes=5)  # for the clients' hooks; as often as update-status is
_STAY = datetime.timedelta(days=1)
_URGENT = datetime.timedelta(hours=1)


class CaChange:
    """Keeps the certificate in use in a secret of the unit, until another may replace it.

    One by the same CA key replaces it at once. One by another key does so in the first hook that
    is five minutes later than the one in which clients were told of its CA; at once where the one
    in use ends within an hour. For a day from then, but not beyond the end of the certificate that
    was replaced, clients are told of the CA before, too: other units may still show what it
    signed. Without such a secret the given certificate is the one in use.

    | field | meaning |
    | --- | --- |
    | server-chain, server-key, ca-cert | the certificate in use, PEM |
    | ca-told, told-at | SHA-256 of the next CA, and when clients were told of it |
    | ca-before, before-until | PEM of the CA before, and how long clients are told of it |
    """

    _label = "certificate-in-use"

    def __init__(self, charm: ServiceCharm):
        self._charm = charm
        self._next = ""

    def current(self, given: Certificate) -> Certificate:
        """The certificate in use; its `ca` holds the next CA and the one before as well.

        Args:
            given: the newest one.
        """
        kept = _common.own_secret(self._charm, self._label) or {}
        before, until = kept.get("ca-before", ""), kept.get("before-until", "")
        self._next = ""
        used = given
        new = {"server-chain": given.chain, "server-key": given.key, "ca-cert": given.ca}
        if not new.items() <= kept.items():
            another = bool(kept) and _ca(kept["ca-cert"]) != _ca(given.ca)
            if another and not self._replaceable(kept, given):
                self._next = _digest(given)
                used = certificates.Certificate(
                    kept["ca-cert"], kept["server-chain"], kept["server-key"]
                )
            else:
                if another:
                    before = kept["ca-cert"]
                    end = min(_end(kept), certificates.now() + _STAY)
                    until = end.isoformat()
                self._keep(new | ({"ca-before": before, "before-until": until} if before else {}))
        if until and certificates.now() >= datetime.datetime.fromisoformat(until):
            before = ""
        others = [*([given.ca] if self._next else []), *([before] if before else [])]
        return dataclasses.replace(used, ca=_together(used.ca, others)) if others else used

    def last(self) -> Certificate | None:
        """The certificate in use, None where there is none or it has ended.

        It is for a unit that is not given one any more. Clients are told of no next CA then, so
        the notice to them begins anew.
        """
        kept = _common.own_secret(self._charm, self._label)
        if kept is None or certificates.now() >= _end(kept):
            return None
        if "ca-told" in kept:
            notice = ("ca-told", "told-at")
            self._keep({key: text for key, text in kept.items() if key not in notice})
        return certificates.Certificate(kept["ca-cert"], kept["server-chain"], kept["server-key"])

    def told(self) -> None:
        """To be called when the `ca` that `current` returned is published."""
        if not self._next:
            return
        kept = _common.own_secret(self._charm, self._label) or {}
        if kept.get("ca-told") != self._next:
            time = certificates.now().isoformat()
            self._keep({**kept, "ca-told": self._next, "told-at": time})

    def _replaceable(self, kept: dict[str, str], given: Certificate) -> bool:
        if certificates.now() >= _end(kept) - _URGENT:
            return True
        if kept.get("ca-told") != _digest(given):
            return False
        return certificates.now() >= datetime.datetime.fromisoformat(kept["told-at"]) + _NOTICE

    def _keep(self, content: dict[str, str]) -> None:
        _common.keep_unit_secret(self._charm, self._label, content)


def _digest(given: Certificate) -> str:
    return hashlib.sha256(given.ca.encode()).hexdigest()


def _end(kept: dict[str, str]) -> datetime.datetime:
    return _certificates(kept["server-chain"])[0].not_valid_after_utc


def _ca(text: str) -> tuple[x509.Name, object]:
    """What a certificate of the same CA has in common with another: its name and its key."""
    first = _certificates(text)[0]
    return first.subject, first.public_key()


def _together(first: str, others: list[str]) -> str:
    """The first text as it is, then what the others have beside it."""
    from cryptography.hazmat.primitives import serialization

    found = _certificates(first)
    for each in _certificates("\n".join(others)):
        if each not in found:
            found.append(each)
            pem = each.public_bytes(serialization.Encoding.PEM).decode()
            first = f"{first.rstrip()}\n{pem}"
    return first


def _certificates(text: str) -> list[x509.Certificate]:
    from cryptography import x509  # here: most hooks need none

    return x509.load_pem_x509_certificates(text.encode())
