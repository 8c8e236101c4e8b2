"""``eyespot evaluate results.json instances.json``: COCO's figures from files."""

import json
import subprocess
import sys

import pytest

from terminal import on_a_terminal

BOX = {"image_id": 1, "category_id": 3, "bbox": [20, 20, 50, 50]}


@pytest.fixture
def files(tmp_path):
    instances = {"images": [{"id": 1}, {"id": 2}], "categories": [{"id": 3, "name": "dog"}], "annotations": [BOX]}
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    (tmp_path / "results.json").write_text(json.dumps([{**BOX, "score": 0.9}]))
    return tmp_path


def evaluate(folder, *options):
    command = [sys.executable, "-m", "eyespot", "evaluate", "results.json", "instances.json", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_json_in_a_pipe(files):
    done = evaluate(files)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["map"] == pytest.approx(1)
    assert found["per_class"]["dog"] == {
        "map": pytest.approx(1),
        "map50": pytest.approx(1),
        "objects": 1,
        "detections": 1,
    }
    assert len(found["map_interval"]) == 2


def test_a_table_on_a_terminal(files):
    command = [sys.executable, "-m", "eyespot", "evaluate", "results.json", "instances.json"]
    code, output = on_a_terminal(command, cwd=files)
    assert code == 0
    assert "1 detections of 1 objects in 2 images" in output
    assert "mAP@50:95" in output
    assert "dog" in output


def test_wrong_files_are_usage_errors(files):
    (files / "results.json").write_text("[3]")
    done = evaluate(files)
    assert done.returncode == 2
    assert done.stderr.startswith("eyespot: results.json: expected a list of detections")
    assert len(done.stderr.splitlines()) == 1
    done = evaluate(files, "--report", "page.html")
    assert done.returncode == 2
    assert "got --report, --part or --calibrate; leave them out" in done.stderr
