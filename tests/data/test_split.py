"""Splits: shares, classes, groups and the parts that a source gives."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyespot.core.labels import Labels
from eyespot.data.source import Sample
from eyespot.data.split import notes, split
from eyespot.errors import UsageError


def made(*counts, part=None):
    return [Sample(f"{label}/{i:04}.jpg", label, None, part) for label, n in enumerate(counts) for i in range(n)]


def counts(parts):
    return {
        part: [count for _, count in sorted(Counter(s.label for s in rows).items())] for part, rows in parts.items()
    }


def test_each_class_has_its_share():
    parts = split(made(100, 50, 10), validation=0.2, test=0.1)
    assert counts(parts) == {"train": [70, 35, 7], "val": [20, 10, 2], "test": [10, 5, 1]}
    assert counts(split(made(1000, 7))) == {"train": [800, 6], "val": [200, 1]}


def test_rare_classes_share_what_is_left():
    """20 classes of 2: a fifth of 40 pictures are 8, each of another class."""
    parts = split(made(*[2] * 20))
    assert (len(parts["train"]), len(parts["val"])) == (32, 8)
    assert len({s.label for s in parts["val"]}) == 8


def test_the_same_every_time_and_in_any_order():
    samples = made(30, 30)
    first = split(samples)
    assert split(samples) == first
    backwards = split(samples[::-1])
    assert {k: set(v) for k, v in backwards.items()} == {k: set(v) for k, v in first.items()}
    assert split(samples, seed=1)["val"] != first["val"]
    assert [s.name for s in first["val"]][:3] == ["0/0003.jpg", "0/0013.jpg", "0/0015.jpg"]


def test_a_picture_more_moves_few():
    before, after = (set(split(made(n, n))["val"]) for n in (100, 101))
    assert len(before - after) <= 2


def test_a_class_with_one_picture_goes_to_training():
    parts = split(made(10, 1), validation=0.5, test=0.4)
    assert counts(parts)["train"][1] == 1
    labels = Labels(("a", "b"))
    assert notes(parts, labels) == [
        f"'b': a single picture, which went to train, none in {part}" for part in ("val", "test")
    ]
    lonely = split(made(1, 1))
    assert counts(lonely) == {"train": [1, 1], "val": []}
    assert notes(lonely, labels) == ["val is empty: too few pictures to take any from training"]


def test_groups_stay_on_one_side_and_shares_hold():
    samples = [Sample(f"{i}.jpg", (i // 7) % 3, f"patient {i // 10}") for i in range(1000)]
    parts = split(samples, validation=0.2, test=0.1)
    sides = {}
    for part, rows in parts.items():
        for sample in rows:
            assert sides.setdefault(sample.group, part) == part
    for part, share in (("val", 0.2), ("test", 0.1)):
        assert abs(len(parts[part]) - share * 1000) <= 10  # one patient
        for label, count in Counter(s.label for s in parts[part]).items():
            whole = sum(s.label == label for s in samples)
            assert abs(count - share * whole) <= 10


def test_groups_of_all_sizes_are_mixed():
    """Validation is not made of the largest groups, nor of the smallest ones."""
    samples = [Sample(f"{g}/{i}.jpg", 0, str(g)) for g in range(60) for i in range(1 + g % 20)]
    parts = split(samples)
    assert abs(len(parts["val"]) - 0.2 * len(samples)) <= 10
    sizes = Counter(s.group for s in parts["val"]).values()
    assert min(sizes) < 8
    assert max(sizes) > 12


def test_sets_that_stay_together():
    samples = made(20, 20)
    sets = [["0/0000.jpg", "1/0000.jpg"], ["1/0000.jpg", "0/0019.jpg", "none.jpg"], ["0/0003.jpg", "0/0004.jpg"]]
    for seed in range(10):
        side = {s.name: part for part, rows in split(samples, together=sets, seed=seed).items() for s in rows}
        assert side["0/0000.jpg"] == side["1/0000.jpg"] == side["0/0019.jpg"]
        assert side["0/0003.jpg"] == side["0/0004.jpg"]


def test_a_class_in_one_group_is_learnt():
    samples = [Sample(f"a{i}", 0, "g1") for i in range(5)] + [Sample(f"b{i}", 1, f"g{2 + i // 2}") for i in range(20)]
    parts = split(samples)
    assert Counter(s.label for s in parts["train"])[0] == 5
    assert notes(parts, Labels(("a", "b"))) == ["'a': none in val, so nothing there says how well it is known"]


def test_parts_of_the_source_are_kept():
    whole = [*made(10, part="train"), Sample("v", 0, None, "val")]
    assert counts(split(whole)) == {"train": [10], "val": [1]}
    tested = [*made(10, part="train"), Sample("t", 0, None, "test")]
    assert counts(split(tested)) == {"train": [8], "val": [2], "test": [1]}
    mixed = [*whole, Sample("w", 0, None, None), Sample("x", 0, "g", None), Sample("y", 0, "g", "val")]
    parts = split(mixed, together=[["v", "w"]])
    assert [s.name for s in parts["val"]] == ["v", "w", "x", "y"]


def test_shares_that_cannot_be():
    for shares in ({"validation": 1.0}, {"validation": -0.1}, {"validation": 0.5, "test": 0.5}, {"test": float("nan")}):
        with pytest.raises(UsageError, match="from 0 to 1"):
            split(made(10), **shares)
    with pytest.raises(UsageError, match="no picture of 3 is left for training"):
        split(made(3, part="test"))


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8)), min_size=1, max_size=60),
    st.sampled_from([(0.2, 0.0), (0.3, 0.3), (0.0, 0.0), (0.5, 0.1)]),
    st.integers(0, 3),
)
def test_any_split_is_whole(rows, shares, seed):
    """Every picture once, no group divided, every class in training."""
    samples = [Sample(str(i), label, str(group) if group else None) for i, (label, group) in enumerate(rows)]
    parts = split(samples, validation=shares[0], test=shares[1], seed=seed)
    assert sorted(s.name for rows in parts.values() for s in rows) == sorted(s.name for s in samples)
    assert {s.label for s in parts["train"]} == {s.label for s in samples}
    side = {}
    for part, found in parts.items():
        for sample in found:
            if sample.group:
                assert side.setdefault(sample.group, part) == part
