"""The action `check-connectors`: whether those that people log in with answer to this unit.

Dex itself asks a connector only when somebody logs in with it, and tells that person alone.
"""

from __future__ import annotations

import datetime
import email.utils
import http.client
import json
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable

import connectors

_TIMEOUT_SECONDS = 10.0
_CLOCK_SECONDS = 120
"""Tokens of an issuer whose clock differs by more are often refused."""
_DISCOVERY = "/.well-known/openid-configuration"


def checked(found: Iterable[connectors.Connector]) -> dict[str, str]:
    """What each connector says to a first contact: `answers`, or what is wrong.

    Args:
        found: the parsed connectors.
    """
    return {each.id: _first_contact(each) or "answers" for each in found}


def _first_contact(connector: connectors.Connector) -> str:
    try:
        trust = ssl.create_default_context(cadata=connector.ca.strip() or None)
    except ssl.SSLError:
        return "its ca is no certificate"
    try:
        if isinstance(connector, connectors.Ldap):
            return _directory(connector.config, trust)
        if isinstance(connector, connectors.Oidc):
            return _issuer(connector.config.issuer, trust)
        if isinstance(connector, connectors.Saml):
            # its CA is for the signature of answers, not for the connection
            return _page(connector.config.ssoURL, ssl.create_default_context())
        return _page(f"https://{connector.config.hostName or 'github.com'}/", trust)
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not trusted: {error.verify_message}; see ca"
    except (OSError, http.client.HTTPException) as error:
        return f"does not answer: {getattr(error, 'reason', None) or error}"


def _directory(config: connectors.LdapConfig, trust: ssl.SSLContext) -> str:
    """Connects, with TLS where the server starts with it; StartTLS and the login are left."""
    plain = config.insecureNoSSL or config.startTLS
    host, _, port = config.host.partition(":")
    address = host, int(port or (389 if plain else 636))
    with socket.create_connection(address, _TIMEOUT_SECONDS) as connection:
        if not plain:
            trust.wrap_socket(connection, server_hostname=host).close()
    return ""


def _issuer(issuer: str, trust: ssl.SSLContext) -> str:
    with _get(issuer.rstrip("/") + _DISCOVERY, trust) as answer:
        clock = _clock(answer.headers.get("Date", ""))
        try:
            named = json.loads(answer.read()).get("issuer")
        except (ValueError, AttributeError):
            return f"has no {_DISCOVERY}"
    if named != issuer:
        return f"names itself {named}: config.issuer has to be just that"
    return clock


def _page(url: str, trust: ssl.SSLContext) -> str:
    with _get(url, trust) as answer:
        return _clock(answer.headers.get("Date", ""))


def _get(url: str, trust: ssl.SSLContext) -> http.client.HTTPResponse:
    """Raises an OSError where there is no answer; one of any status is an answer."""
    try:
        return urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS, context=trust)
    except urllib.error.HTTPError as error:
        return error  # type: ignore[return-value]: it is the response, too
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise error.reason from None
        raise


def _clock(date: str) -> str:
    """What is wrong with its clock, by the Date of an answer."""
    try:
        there = email.utils.parsedate_to_datetime(date)
    except ValueError:
        return ""
    seconds = (there - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    if abs(seconds) <= _CLOCK_SECONDS:
        return ""
    way = "ahead of" if seconds > 0 else "behind"
    return f"its clock is {abs(seconds):.0f} s {way} this one's"
