"""Identifiers that sort by time (UUID version 7, RFC 9562), so that exports come out in the order in which things happened."""

import secrets
import threading
import time
import uuid

_last = (0, 0)
_guard = threading.Lock()


def new_id() -> str:
    """A fresh UUIDv7 as text: 48 bits of milliseconds, a 12-bit counter within the millisecond, 62 random bits.

    The counter keeps identifiers of one process in order of creation; 62 random bits make them impossible to guess.
    """
    global _last  # noqa: PLW0603 - the counter is the process's own
    with _guard:
        now = max(time.time_ns() // 1_000_000, _last[0])
        count = _last[1] + 1 if now == _last[0] else secrets.randbelow(256)
        if count > 0xFFF:
            now, count = now + 1, 0
        _last = (now, count)
    value = (now & ((1 << 48) - 1)) << 80 | 0x7 << 76 | count << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=value))


def now_ms() -> int:
    """Milliseconds since 1970 in UTC by this machine's clock: the unit of every time in the store."""
    return time.time_ns() // 1_000_000
