"""How many cores this process may use: what the scheduler allows, and what a container's quota leaves of it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")


def cores() -> int:
    """The number of threads that keep this process's cores busy, 1 or more.

    Affinity (taskset, cpusets) and CPU quotas (``docker --cpus``, Kubernetes limits) both count: the smaller one. Part
    of a core counts as a core.
    """
    quota = cpu_quota()
    present = len(allowed_cores())
    return present if quota is None else max(1, min(present, math.ceil(quota)))


def allowed_cores() -> set[int]:
    """The numbers of the cores that the scheduler may run this process on; never empty."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0)) or {0}
    return set(range(os.cpu_count() or 1))


def cpu_quota(root: Path = _ROOT) -> float | None:
    """How many cores' worth of time the control groups leave this process, None for no limit.

    The smallest quota counts, of the process's own group and of all groups around it, in version 1 and 2. ``root``:
    where /proc and /sys are looked for.
    """
    quotas = [quota for group in cpu_groups(root) if (quota := _quota(group)) is not None]
    return min(quotas, default=None)


def cpu_groups(root: Path = _ROOT) -> Iterator[Path]:
    """The folders of the control groups that limit this process's processor time, the innermost first.

    A container may see its own group as the root of the mount, under a path that does not exist inside, or at its full
    path: mountinfo says which, and where it does not, folders that do not exist hold no files.
    """
    entries = dict(re.findall(r"^\d+:(.*?):(.*)$", _read(root / "proc/self/cgroup"), re.MULTILINE))
    groups = {(): entries[""]} if "" in entries else {}
    groups |= {tuple(key.split(",")): group for key, group in entries.items() if "cpu" in key.split(",")}
    mounts = list(_mounts(root))
    for controllers, group in groups.items() or [((), "/")]:
        for top, mount in [(top, mount) for key, top, mount in mounts if key == bool(controllers)] or [
            ("/", f"/sys/fs/cgroup/{','.join(controllers)}")
        ]:
            inside = os.path.relpath(group, top) if group.startswith(top) else group.lstrip("/")
            folder = root / mount.lstrip("/")
            levels = [part for part in inside.split("/") if part not in ("", ".", "..")]
            for depth in range(len(levels), -1, -1):
                yield folder.joinpath(*levels[:depth])


def _mounts(root: Path) -> Iterator[tuple[bool, str, str]]:
    """(whether it is version 1, the group that is mounted, the folder it is mounted at) of every mount with quotas."""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, *rest) = before.split(), after.split() or [""]
        if len(fields) < 5:
            continue
        first = kind == "cgroup"
        if kind == "cgroup2" or (first and "cpu" in rest[-1].split(",")):
            yield first, fields[3], fields[4]


def _quota(group: Path) -> float | None:
    limit, _, period = _read(group / "cpu.max").partition(" ")
    if not limit:
        limit, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
    try:
        return int(limit) / int(period) if int(limit) > 0 else None
    except (ValueError, ZeroDivisionError):
        return None  # "max", -1, or no such file


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
