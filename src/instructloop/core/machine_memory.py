"""How much main memory there is, and how much of it is free, without a package for it."""

import os
from pathlib import Path

_GROUP = Path("/sys/fs/cgroup")


def physical_bytes() -> int:
    """Main memory, or the container's share where that is smaller."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(physical, _number(_GROUP / "memory.max") or physical)


def available_bytes() -> int:
    """What a new program can have without swapping: free memory and caches that can be given up."""
    total = physical_bytes()
    limit, used = _number(_GROUP / "memory.max"), _number(_GROUP / "memory.current")
    left = limit - used + _cached() if limit and used else total
    return max(0, min(total, left, _meminfo("MemAvailable") or total))


def _cached() -> int:
    """Page cache that counts as used by the container and can be given up."""
    file = _GROUP / "memory.stat"
    for line in file.read_text(encoding="ascii").splitlines() if file.is_file() else ():
        if line.startswith("inactive_file "):
            return int(line.split()[1])
    return 0


def _number(file: Path) -> int:
    text = file.read_text(encoding="ascii").strip() if file.is_file() else ""
    return int(text) if text.isdigit() else 0


def _meminfo(name: str) -> int:
    file = Path("/proc/meminfo")
    for line in file.read_text(encoding="ascii").splitlines() if file.is_file() else ():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0
