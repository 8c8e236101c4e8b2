"""How much memory this process may still take: what the machine has left, and what a container's limit leaves."""

from __future__ import annotations

import re
from pathlib import Path

from eyespot.core.cores import cpu_groups

_ROOT = Path("/")


def available_memory(root: Path = _ROOT) -> int | None:
    """Bytes that can be taken before the machine, or the process's control group, has none left; None: not known.

    ``root``: where /proc and /sys are looked for.
    """
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    left = [int(found[1]) << 10] if found else []
    groups = [*cpu_groups(root), root / "sys/fs/cgroup/memory"]
    for group in groups:
        limit = _number(group / "memory.max") or _number(group / "memory.limit_in_bytes")
        used = _number(group / "memory.current") or _number(group / "memory.usage_in_bytes") or 0
        if limit is not None:
            left.append(max(0, limit - used))
    return min(left, default=None)


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isascii() and text.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
