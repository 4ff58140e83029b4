"""Passwords' hashes of the form sha512-crypt, as `openssl passwd -6` writes them.

Source: "Unix crypt using SHA-256 and SHA-512" by Ulrich Drepper. Python 3.13 has no `crypt`.
"""

from __future__ import annotations

import hashlib
import hmac
import re

_FORM = re.compile(r"\$6\$(?:rounds=(\d+)\$)?([^$]*)\$([./0-9A-Za-z]{86})")
_LETTERS = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_USUAL_ROUNDS, _FEWEST_ROUNDS, _MOST_ROUNDS = 5000, 1000, 999_999_999
_LONGEST_SALT = 16
_SIZE = 64  # bytes of a digest


def fits(password: str, hashed: str) -> bool:
    """Whether it is the password of that hash; False for a hash of another form."""
    match = _FORM.fullmatch(hashed)
    if match is None:
        return False
    rounds = int(match[1] or _USUAL_ROUNDS)
    rounds = min(max(rounds, _FEWEST_ROUNDS), _MOST_ROUNDS)
    made = _hash(password.encode(), match[2].encode()[:_LONGEST_SALT], rounds)
    return hmac.compare_digest(made, match[3])


def _hash(password: bytes, salt: bytes, rounds: int) -> str:
    other = _digest(password, salt, password)
    first = hashlib.sha512(password + salt + _repeated(other, len(password)))
    bits = len(password)
    while bits:
        first.update(other if bits & 1 else password)
        bits >>= 1
    digest = first.digest()
    word = _repeated(_digest(password * len(password)), len(password))
    grain = _repeated(_digest(salt * (16 + digest[0])), len(salt))
    for number in range(rounds):
        parts = [word if number % 2 else digest]
        if number % 3:
            parts.append(grain)
        if number % 7:
            parts.append(word)
        parts.append(digest if number % 2 else word)
        digest = _digest(*parts)
    return _text(digest)


def _digest(*parts: bytes) -> bytes:
    return hashlib.sha512(b"".join(parts)).digest()


def _repeated(digest: bytes, length: int) -> bytes:
    """As many bytes of it, from the start again where it is too short."""
    return (digest * (length // _SIZE + 1))[:length]


def _text(digest: bytes) -> str:
    """Four letters for three bytes, which are taken 21 apart and in turn."""
    found = []
    at = (0, 21, 42)
    for _ in range(21):
        found.append(_letters(digest[at[0]] << 16 | digest[at[1]] << 8 | digest[at[2]], 4))
        at = (at[1] + 1, at[2] + 1, at[0] + 1)
    return "".join(found) + _letters(digest[63], 2)


def _letters(number: int, count: int) -> str:
    return "".join(_LETTERS[number >> 6 * place & 63] for place in range(count))
