"""Passwords: argon2 hashes, comparing with as much work for a name that does not exist, what will do as one.

Hashing takes a tenth of a second on purpose: never within a transaction.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import unicodedata
from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

SHORTEST, LONGEST = 12, 200
"""Characters of a password."""

_hasher = PasswordHasher()
# Each hash takes 64 MB: a flood of sign-ins waits here instead of taking the server's memory.
_hashing = threading.BoundedSemaphore(2)


class PasswordError(ValueError):
    """A password that will not do, or is wrong; one sentence."""


def check(password: str, again: str, *, name: str) -> None:
    """Nothing where a password will do.

    Raises:
        PasswordError: it will not; one sentence that says why.
    """
    password, again = normal(password), normal(again)
    if password != again:
        raise PasswordError("The two new passwords differ: type the same one twice.")
    if not SHORTEST <= len(password) <= LONGEST:
        raise PasswordError(f"A password has {SHORTEST} to {LONGEST} characters.")
    if len(set(password)) < 6:
        raise PasswordError("A password needs at least six different characters.")
    if len(name) > 3 and name.lower() in password.lower():
        raise PasswordError("A password does not contain the account's name.")


def made() -> str:
    """A password that nobody chose: 20 characters without those that look alike."""
    letters = "abcdefghijkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(5)) for _ in range(4))


def same(one: str, other: str) -> bool:
    """Whether two codes are the same, in a time that tells nothing."""
    return hmac.compare_digest(one.encode(), other.encode())


def hashed(password: str) -> str:
    """Its argon2 hash, as the table keeps it."""
    with _hashing:
        return _hasher.hash(normal(password))


def outdated(kept: str) -> bool:
    """Whether a hash was made with other parameters than those of today."""
    return _hasher.check_needs_rehash(kept)


def matches(kept: str | None, password: str) -> bool:
    """Whether a password is the one; as much work where there is none to compare with."""
    if len(password) > LONGEST:
        password = password[: LONGEST + 1]
    against = _nobodys_hash() if kept is None else kept
    try:
        with _hashing:
            right = _hasher.verify(against, normal(password))
    except (VerificationError, InvalidHashError):
        return False
    return right if kept is not None else False


@lru_cache(maxsize=1)
def _nobodys_hash() -> str:
    return hashed(secrets.token_hex(16))


def normal(text: str) -> str:
    """The same characters however a keyboard has put them together."""
    return unicodedata.normalize("NFKC", text)
