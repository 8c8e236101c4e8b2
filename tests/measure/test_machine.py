"""The machine's record, read from /proc and /sys as other computers fill them, and what others did meanwhile."""

import os
import time

import pytest

from eyespot.measure import machine
from eyespot.measure.machine import Moment, between, look, probe


def tree(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch):
    monkeypatch.setattr(machine, "allowed_cores", lambda: {0, 2})


XEON = "processor\t: 0\nmodel name\t: Some Xeon\nflags\t\t: fpu avx2 avx512f avx512_vnni amx_int8 amx_tile hypervisor\n"


def test_an_x86_server(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("platform.release", lambda: "6.8.0-45-jane-build")
    root = tree(
        tmp_path,
        {
            "proc/cpuinfo": XEON + "\n" + XEON,
            "proc/self/cgroup": "0::/docker/abc\n",
            "sys/fs/cgroup/docker/abc/cpu.max": "150000 100000\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
        },
    )
    found = probe(root)
    assert found.processor == "Some Xeon"
    assert found.instructions == ("avx2", "avx512f", "avx512_vnni", "amx_tile", "amx_int8")
    assert (found.cores, found.core_limit, found.governor, found.virtual) == (2, 1.5, "powersave", True)
    assert "jane" not in found.system


def test_an_arm_board(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    root = tree(
        tmp_path,
        {
            "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp crc32\nCPU part\t: 0xd0b\n",
            "sys/firmware/devicetree/base/model": "Raspberry Pi 5 Model B\0",
            "proc/self/cgroup": "4:cpu,cpuacct:/x\n0::/\n",
            "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
        },
    )
    found = probe(root)
    assert found.processor == "Raspberry Pi 5 Model B"
    assert found.instructions == ("asimd", "asimdhp", "asimddp")
    assert (found.core_limit, found.governor, found.virtual) == (None, None, None)


def test_this_machine_names_nobody():
    found = probe()
    text = str(found.to_json())
    assert found.processor
    assert os.uname().nodename not in text
    assert os.environ.get("HOME", "/root") not in text


def test_counters_are_of_the_allowed_cores(tmp_path, monkeypatch):
    tick = os.sysconf("SC_CLK_TCK")
    lines = [f"cpu{n} {user * tick} 0 {system * tick} 999 9 0 0 {steal * tick} 0 0" for n, user, system, steal in
             [(0, 10, 5, 1), (1, 500, 500, 50), (2, 3, 2, 2)]]  # fmt: skip
    root = tree(
        tmp_path,
        {
            "proc/stat": "cpu 1 2 3 4\n" + "\n".join(lines) + "\nintr 5\n",
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/cpu.stat": "usage_usec 5\nnr_throttled 2\nthrottled_usec 1500000\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2000000\n",
            "sys/devices/system/cpu/cpu2/cpufreq/scaling_cur_freq": "3000000\n",
        },
    )
    moment = look(root)
    assert (moment.busy, moment.stolen, moment.throttled, moment.megahertz) == (20.0, 3.0, 1.5, 2500.0)
    assert moment.neighbours == 1000.0
    monkeypatch.setattr(machine, "allowed_cores", lambda: {0, 1, 2})
    assert look(root).neighbours is None


def test_what_others_took():
    before = Moment(100.0, 5.0, 0.5, 50.0, 1.0, 0.25, 3000.0, 40.0)
    after = Moment(110.0, 12.0, 1.5, 62.0, 1.5, 0.5, 2400.0, 49.0)
    found = between(before, after)  # 10 s of two cores: 12 s busy, 7 of them this process
    assert (found.others, found.stolen, found.throttled_seconds) == (0.25, 0.025, 0.25)
    assert found.neighbours == 0.9
    assert (found.load_before, found.load_after, found.megahertz) == (0.5, 1.5, (3000.0, 2400.0))


def test_a_system_that_counts_nothing(tmp_path):
    found = between(look(tmp_path), look(tmp_path))
    assert (found.others, found.stolen, found.throttled_seconds, found.megahertz) == (None, None, None, None)
    assert probe(tmp_path).processor


def test_own_work_is_not_others(monkeypatch):
    monkeypatch.undo()
    if look().busy is None:
        pytest.skip("this system does not count what its cores do")
    before = look()
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    after = look()
    assert after.own - before.own >= 0.15
    assert between(before, after).others <= 1.0
