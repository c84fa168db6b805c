"""Control 1: argon2id, two at a time, the same work for everybody, nothing that is tried first."""

import asyncio
import threading
import time

import pytest

pytest.importorskip("argon2")

from argon2 import PasswordHasher

from instructloop.core.errors import DataError
from instructloop.web.passwords import Passwords, check_strength

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
GOOD = "seven tall cranes dance"


def test_hashes_are_argon2id_with_64_mib_three_passes_four_lanes() -> None:
    assert Passwords().hash_now(GOOD).startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_the_right_password_is_let_in_and_no_other() -> None:
    passwords = Passwords(CHEAP)
    stored = passwords.hash_now(GOOD)
    assert asyncio.run(passwords.verify(stored, GOOD))
    assert not asyncio.run(passwords.verify(stored, GOOD + "!"))
    assert not asyncio.run(passwords.verify(None, "nobody has this password"))
    assert not asyncio.run(passwords.verify("not a hash", GOOD))


def test_a_hash_of_other_cost_is_outdated() -> None:
    passwords = Passwords(CHEAP)
    older = PasswordHasher(time_cost=2, memory_cost=8, parallelism=1).hash(GOOD)
    assert passwords.outdated(older)
    assert not passwords.outdated(passwords.hash_now(GOOD))


def test_the_same_password_typed_with_composed_and_decomposed_letters_is_one_password() -> None:
    passwords = Passwords(CHEAP)
    assert asyncio.run(passwords.verify(passwords.hash_now("Grüße aus dem Süden"), "Gru\u0308ße aus dem Su\u0308den"))


class Slow(PasswordHasher):
    """Counts how many checks run at the same time."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.running = self.most = self.calls = 0
        self.guard = threading.Lock()

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # noqa: A002 - the parameter's name above
        with self.guard:
            self.calls += 1
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(0.01)
        with self.guard:
            self.running -= 1
        return True


def test_at_most_two_passwords_are_checked_at_a_time() -> None:
    hasher = Slow()
    passwords = Passwords(hasher)

    async def storm() -> None:
        await asyncio.gather(*(passwords.verify("x", "y") for _ in range(20)))

    asyncio.run(storm())
    assert (hasher.most, hasher.calls) == (2, 20)


def test_an_unknown_account_costs_one_verification_too() -> None:
    hasher = Slow()
    assert not asyncio.run(Passwords(hasher).verify(None, "anything at all"))
    assert hasher.calls == 1


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("short", "at least 12"),
        ("elevenchars", "at least 12"),
        ("x" * 201, "at most 200"),
        ("1234567890qwerty", "easy to guess"),
        ("administrator", "most common|easy to guess"),
        ("123456789012", "most common|easy to guess"),
        ("ada.lovelace@example.org", "easy to guess"),
        ("aaaaaaaaaaaaaaaaaaaa", "easy to guess"),
        ("password1password1", "easy to guess"),
    ],
)
def test_passwords_that_would_be_tried_first_are_refused(password: str, why: str) -> None:
    with pytest.raises(DataError, match=why):
        check_strength(password, "ada.lovelace@example.org", "Ada Lovelace", "Harbour questions")


@pytest.mark.parametrize("password", [GOOD, "correcte paard batterij nietje", "Tr0mb0ne-am-Kanal-17", "z" * 3 + GOOD * 8])
def test_long_unrelated_words_are_accepted(password: str) -> None:
    check_strength(password, "ada@example.org")
