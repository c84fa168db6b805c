"""Passwords: argon2id, two at a time; long ones that nobody would try first."""

import asyncio
import functools
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from starlette.concurrency import run_in_threadpool

from instructloop.core.errors import DataError

SHORTEST = 12
LONGEST = 200
_LOOKED_AT = 72
"""The estimator's time grows with the square of the length; what stands beyond makes a password only better."""


class Passwords:
    """Hashes and checks passwords, at most two at a time: each takes 64 MiB and all cores, and pages must stay quick meanwhile."""

    def __init__(self, hasher: PasswordHasher | None = None, at_once: int = 2) -> None:
        """Argon2id with argon2-cffi's defaults (RFC 9106, low memory) unless another hasher is given."""
        self._hasher = hasher or PasswordHasher()
        self._turns = asyncio.Semaphore(at_once)
        self._decoy = self._hasher.hash("nobody has this password")

    def hash_now(self, password: str) -> str:
        """The hash, computed in this thread (commands; pages use :meth:`hash`)."""
        return self._hasher.hash(_normal(password))

    async def hash(self, password: str) -> str:
        """The hash, computed in the thread pool."""
        async with self._turns:
            return await run_in_threadpool(self.hash_now, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password is right. An unknown account costs the same work as a known one."""
        async with self._turns:
            return await run_in_threadpool(self._verify, stored, password)

    def outdated(self, stored: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    def _verify(self, stored: str | None, password: str) -> bool:
        if len(password) > LONGEST * 4:
            password = ""  # a megabyte of password is not worth hashing
        try:
            right = self._hasher.verify(stored or self._decoy, _normal(password))
        except (VerificationError, InvalidHashError):
            return False
        return right and stored is not None


def check_strength(password: str, *about: str) -> None:
    """Refuse a password that is short, common or easily guessed.

    Args:
        password: as typed.
        about: what an attacker knows: address, name, project.

    Raises:
        DataError: says what is wrong with it.
    """
    remedy = "four unrelated words make a good one"
    if len(password) < SHORTEST:
        raise DataError(f"the password has {len(password)} characters; it needs at least {SHORTEST}", hint=remedy)
    if len(password) > LONGEST:
        raise DataError(f"the password has {len(password)} characters; at most {LONGEST} are kept", hint="shorten it")
    if password.lower() in _common():
        raise DataError("this is one of the most common passwords", hint=remedy)
    from zxcvbn import zxcvbn

    known = [part for text in about for part in (text, *text.replace("@", " ").replace(".", " ").split()) if len(part) > 2]
    found = zxcvbn(_normal(password)[:_LOOKED_AT], user_inputs=known)
    if found["score"] < 3:
        raise DataError("this password is easy to guess", hint=found["feedback"]["warning"] or remedy)


@functools.cache
def _common() -> frozenset[str]:
    """The 10,000 most common passwords, from the offline lists of the zxcvbn package."""
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    return frozenset(FREQUENCY_LISTS["passwords"][:10_000])


def _normal(password: str) -> str:
    """The same password from every keyboard: Unicode NFKC (NIST SP 800-63B)."""
    return unicodedata.normalize("NFKC", password)
