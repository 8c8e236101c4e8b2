"""Files of a run that were damaged or edited: each is refused in one line, and none is believed."""

import json
import random
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")
from eyespot.core.recipe import Recipe
from eyespot.data.split import TRAIN, VALIDATION
from eyespot.errors import EyespotError
from eyespot.learn import material
from eyespot.learn.run import EVENTS, FACTS, RECIPE, SPLIT, Facts, begin, open_run

FACTS_OF_IT = Facts("/images", "0" * 64, "1" * 64, 2, "cpu", "0.1", "2.9")
NAMES = ["a.jpg", "b.jpg", "c.jpg"]
ODD = ["", "[" * 100_000, "{" * 100, "null", "[]", "{}", "1", '"x"', '{"format": 1}', "\0", "\ud800", '{"event": 3}']


@pytest.fixture
def run(tmp_path):
    run = begin(tmp_path / "run", Recipe(), FACTS_OF_IT, "eyespot train images")
    split = {
        "parts": {TRAIN: NAMES[:2], VALIDATION: NAMES[2:]}, "duplicates": [],
        "files": dict.fromkeys(NAMES, "00" * 8),
    }  # fmt: skip
    (run.path / SPLIT).write_text(json.dumps(split))
    (run.path / EVENTS).write_text('{"event": "begin"}\n{"event": "done", "top1": 1.0}\n{"half')
    return run


def look_at(path):
    """All that a verb reads of a run before it computes anything."""
    run = open_run(path)
    assert isinstance(run.events(), list)
    assert run.result is None or run.result["event"] == "done"
    run.training_images()
    source = SimpleNamespace(samples=[SimpleNamespace(name=name) for name in NAMES])
    assert {TRAIN, VALIDATION} <= material.parts_of(run, source, None).keys()


def test_a_sound_one_is_read(run):
    look_at(run.path)
    assert open_run(run.path).result == {"event": "done", "top1": 1.0}


def attempt(path, faults, about):
    """Whether it was refused."""
    try:
        look_at(path)
    except EyespotError as error:
        return len(str(error).splitlines()) == 1
    except Exception as error:
        faults.append(f"{about}: {type(error).__name__}: {error}")
    return False


@pytest.mark.parametrize("name", [RECIPE, FACTS, SPLIT, EVENTS])
def test_each_file_in_many_ways(run, name):
    place, chance, faults, refused = run.path / name, random.Random(0), [], 0
    sound = place.read_bytes()
    changed = [text.encode("utf-8", "surrogatepass") + b"\n" for text in ODD]
    changed += [sound[: len(sound) * part // 40] for part in range(40)]
    for _ in range(400):
        data = bytearray(sound)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.choice(b'0x"[]{},:=\n\xff-')
        changed.append(bytes(data))
    for data in changed:
        place.write_bytes(data)
        refused += attempt(run.path, faults, data[:60])
    assert faults == []
    assert refused > 50


def test_each_value_of_its_json(run):
    faults = []
    for name in (FACTS, SPLIT):
        place = run.path / name
        sound = place.read_bytes()
        data = json.loads(sound)
        for key in data:
            for new in (None, 0, -1, "x", [], {}, [1], {"x": 1}, {"train": 3, "validation": None}, 1e308, True):
                place.write_text(json.dumps(data | {key: new}))
                attempt(run.path, faults, (key, new))
            place.write_text(json.dumps({k: v for k, v in data.items() if k != key}))
            attempt(run.path, faults, f"without {key}")
        place.write_bytes(sound)
    assert faults == []
