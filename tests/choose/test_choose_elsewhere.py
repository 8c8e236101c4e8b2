"""Candidates measured on another machine, against stand-ins for ssh and scp that do here what they would do there."""

import os
import stat
import sys
import time

from choosing import QUICK, candidate
from eyespot.choose.budget import Budget
from eyespot.choose.device import Ssh
from eyespot.choose.kept import Kept
from eyespot.choose.search import Bench, Search

SSH = '#!/bin/sh\necho "$1" >> "$STANDIN/log"\nexec sh -c "$2"\n'
SCP = '#!/bin/sh\ncp "$2" "${3#*:}"\n'


def test_candidates_are_measured_there_and_kept_for_that_machine(tmp_path, monkeypatch, examples):
    for name, text in (("ssh", SSH), ("scp", SCP)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STANDIN", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    picture = (examples / "chelsea.jpg").read_bytes()
    budget = Budget(latency_ms=60_000.0)
    some = [candidate(32, top1=60.0, precision="int8"), candidate(32, top1=50.0)]

    def search(host):
        bench = Bench(Ssh(host, python=sys.executable), Kept(tmp_path / "kept.jsonl"), QUICK, picture)
        return Search(budget, some, bench, each=False).run(time.monotonic() + 60, most=1)

    found = search("board")
    assert set((tmp_path / "log").read_text().split()) == {"board"}
    first = found.tried[0]
    assert (first.candidate.precision, first.figures.timed, first.kept) == ("int8", "JPEG to label", False)
    assert first.figures.median_ms > 0
    again = search("board")
    assert again.tried[0].kept
    assert again.tried[0].figures.to_json() == first.figures.to_json()
    assert "board" not in (tmp_path / "kept.jsonl").read_text()
    key = Ssh("board", python=sys.executable).key
    assert key != Ssh("other", python=sys.executable).key
