"""Owners of prompts: whose they are, at most how many of each are drawn, and which split each belongs to (spec A4, A5, J-P1).

The paper says "user ID" in one place and "organization" in another: an owner is the organisation where one is named, else the
user. The cap works when prompts are drawn, never by deletion; the split is a function of the owner, never of the row.
"""

import hashlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from instructloop.core.errors import ConfigError
from instructloop.core.seeds import derive

T = TypeVar("T")
PER_OWNER = 200
OWNER_FIELDS = ("owner", "owner_id", "organization", "organisation", "org", "user", "user_id")
"""Fields of an imported row that may name the owner, the first one found wins."""
_SCALE = 1 << 64


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitShares:
    """Shares of owners in the three splits; they sum to 1."""

    train: float = 0.8
    valid: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        """Check the shares.

        Raises:
            ConfigError: a share below 0, or another sum than 1.
        """
        if min(self.train, self.valid, self.test) < 0 or abs(self.train + self.valid + self.test - 1) > 1e-9:
            raise ConfigError(f"shares of the splits must be at least 0 and sum to 1, got {self.train}, {self.valid}, {self.test}")


def owner_of(row: Mapping[str, Any]) -> str | None:
    """The owner named in a row, as text: the organisation first, the user as fallback; None where nobody is named."""
    for field in OWNER_FIELDS:
        value = row.get(field)
        if value is not None and str(value).strip():
            return str(value).strip()
    return None


def split_of(owner: str, shares: SplitShares | None = None) -> str:
    """The split of an owner hash (``Project.pseudonym("owner", name)``): ``train``, ``valid`` or ``test``, the same today and after any further import."""
    shares = shares or SplitShares()
    place = int.from_bytes(hashlib.sha256(f"split\0{owner}".encode()).digest()[:8], "big") / _SCALE
    if place < shares.train:
        return "train"
    return "valid" if place < shares.train + shares.valid else "test"


def at_most_per_owner(items: Iterable[T], owner: Callable[[T], Hashable], *, cap: int = PER_OWNER, seed: int = 0,
                      key: Callable[[T], str]) -> list[T]:  # fmt: skip
    """At most ``cap`` items of each owner, in their given order; which ones is a matter of ``seed`` and of their own keys alone.

    Args:
        items: anything.
        owner: the owner of an item.
        cap: how many of one owner may come through.
        seed: another seed draws others.
        key: an identifier of the item that does not depend on its place, e.g. its content hash.

    Raises:
        ConfigError: a cap below 1.
    """
    if cap < 1:
        raise ConfigError(f"the cap per owner must be at least 1, got {cap}")
    listed: Sequence[T] = list(items)
    places: dict[Hashable, list[int]] = {}
    for place, item in enumerate(listed):
        places.setdefault(owner(item), []).append(place)
    kept: set[int] = set()
    for mine in places.values():
        if len(mine) > cap:
            mine.sort(key=lambda place: (derive(seed, "owner cap", key(listed[place])), place))
        kept.update(mine[:cap])
    return [item for place, item in enumerate(listed) if place in kept]
