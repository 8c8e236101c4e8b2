"""``kill -9`` at random moments of a long job: after the restart nothing is lost and nothing is there twice."""

import random
import signal
import subprocess
import sys
import time

import pytest

from conftest import make_pictures

PICTURES = 5000
KILLS = 20


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_killed_twenty_times(tiny, tmp_path, suffix):
    folder = tmp_path / "pictures"
    for path in make_pictures(folder, 50):
        for copy in range(1, PICTURES // 50):
            path.with_stem(f"{path.stem}-{copy}").hardlink_to(path)
    (folder / "00007.jpg").write_bytes(b"no picture")

    def job(out):
        return [sys.executable, "-m", "eyespot", "classify", str(folder), "-m", str(tiny.path), "-o", str(out)]

    undisturbed = tmp_path / f"undisturbed{suffix}"
    start = time.monotonic()
    assert subprocess.run(job(undisturbed), capture_output=True, check=False).returncode == 1
    took = time.monotonic() - start

    killed = tmp_path / f"killed{suffix}"
    moments = random.Random(0)
    landed = 0
    for _ in range(KILLS * 10):
        if landed == KILLS:
            break
        process = subprocess.Popen(job(killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(0.3 + moments.random() * took / KILLS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            landed += 1
        else:
            killed.unlink()  # it finished between the kills: begin another round
    assert landed == KILLS
    assert subprocess.run(job(killed), capture_output=True, check=False).returncode == 1
    lines = killed.read_bytes().splitlines()
    assert len(lines) == len(set(lines)) == PICTURES + (suffix == ".csv")
    assert set(lines) == set(undisturbed.read_bytes().splitlines())
