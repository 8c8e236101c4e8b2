"""How many threads: affinity and CPU quotas, of nested control groups in both versions, on hosts and in containers."""

import os
from pathlib import Path

import pytest

from eyespot.core import cores as module
from eyespot.core.cores import allowed_cores, cores, cpu_quota


def tree(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


V2 = "29 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "32 31 0:29 {} {} rw,relatime - cgroup cgroup rw,cpu,cpuacct\n35 31 0:30 / /x rw - cgroup c rw,memory\n"
HYBRID = V1.format("/", "/sys/fs/cgroup/cpu,cpuacct") + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
CASES = {
    "nothing known": ({}, None),
    "version 2, its own group": (
        {"proc/self/cgroup": "0::/a\n", "proc/self/mountinfo": V2, "sys/fs/cgroup/a/cpu.max": "150000 100000\n"},
        1.5,
    ),
    "version 2, a group around it is smaller": (
        {
            "proc/self/cgroup": "0::/pods/one/box\n",
            "proc/self/mountinfo": V2,
            "sys/fs/cgroup/pods/cpu.max": "400000 100000\n",
            "sys/fs/cgroup/pods/one/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/pods/one/box/cpu.max": "max 100000\n",
        },
        2.0,
    ),
    "version 2, a namespace of its own": (
        {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": V2, "sys/fs/cgroup/cpu.max": "50000 100000\n"},
        0.5,
    ),
    "version 2, without mountinfo": (
        {"proc/self/cgroup": "0::/docker/abc\n", "sys/fs/cgroup/docker/abc/cpu.max": "300000 100000\n"},
        3.0,
    ),
    "version 2, no limit": (
        {"proc/self/cgroup": "0::/a\n", "proc/self/mountinfo": V2, "sys/fs/cgroup/a/cpu.max": "max 100000\n"},
        None,
    ),
    "version 1, a container at the mount's top": (
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/docker/abc\n5:memory:/docker/abc\n",
            "proc/self/mountinfo": V1.format("/docker/abc", "/sys/fs/cgroup/cpu,cpuacct"),
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "50000\n",
        },
        2.0,
    ),
    "version 1, nested, the mount somewhere else": (
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/slice/job\n",
            "proc/self/mountinfo": V1.format("/", "/cgroups/cpu"),
            "cgroups/cpu/slice/cpu.cfs_quota_us": "100000\n",
            "cgroups/cpu/slice/cpu.cfs_period_us": "100000\n",
            "cgroups/cpu/slice/job/cpu.cfs_quota_us": "-1\n",
            "cgroups/cpu/slice/job/cpu.cfs_period_us": "100000\n",
        },
        1.0,
    ),
    "both versions, the first limits": (
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/job\n0::/job\n",
            "proc/self/mountinfo": HYBRID,
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/unified/job/cgroup.procs": "1\n",
        },
        2.5,
    ),
    "damaged": (
        {"proc/self/cgroup": "0::/a\n", "proc/self/mountinfo": "x\n - \n", "sys/fs/cgroup/a/cpu.max": "x 0\n"},
        None,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_quotas(tmp_path, case):
    files, quota = CASES[case]
    assert cpu_quota(tree(tmp_path, files)) == quota


@pytest.mark.parametrize(
    ("quota", "allowed", "threads"), [(None, 16, 16), (1.0, 16, 1), (1.5, 16, 2), (0.25, 16, 1), (32.0, 4, 4)]
)
def test_the_smaller_of_quota_and_affinity(monkeypatch, quota, allowed, threads):
    monkeypatch.setattr(module, "cpu_quota", lambda: quota)
    monkeypatch.setattr(module, "allowed_cores", lambda: set(range(allowed)))
    assert cores() == threads


def test_a_taskset_counts(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert allowed_cores() == {3, 5}


def _quota_of_one(monkeypatch):
    """Sixteen cores and a quota of one, as docker --cpus 1 shows them."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    files = {"cpu.max": "100000 100000\n", "cpu.cfs_quota_us": "100000\n", "cpu.cfs_period_us": "100000\n"}
    read = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda s, *a, **k: files.get(s.name) or read(s, *a, **k))


def test_a_quota_of_one_is_one_thread_everywhere(monkeypatch):
    from eyespot.bundle.resolve import open_default
    from eyespot.measure.record import Effort
    from eyespot.run import ort, overlap

    _quota_of_one(monkeypatch)
    given, usual = [], ort.session_options
    monkeypatch.setattr(ort, "session_options", lambda threads: given.append(threads) or usual(threads))
    workers, pool = [], overlap.ThreadPoolExecutor
    monkeypatch.setattr(overlap, "ThreadPoolExecutor", lambda n, **k: workers.append(n) or pool(n, **k))
    from eyespot.run.open import open_session

    open_session(open_default()).close()
    assert list(overlap.overlapped(str, [1, 2])) == ["1", "2"]
    assert (given, workers, Effort().inside()) == ([1], [1], 1)


def test_training_has_the_quotas_threads(monkeypatch):
    torch = pytest.importorskip("torch")
    from eyespot.learn.threads import torch_threads

    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    set_to = []
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    _quota_of_one(monkeypatch)
    with torch_threads():
        pass
    assert set_to == [1, 16]
