"""The pieces of a training run, each alone: choices, rates, batches, the store of pictures, what is saved."""

import math
import random
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from eyespot.arch.catalogue import draw
from eyespot.core.pixels import Preprocess
from eyespot.core.recipe import Augment, Loss, Optimizer, Recipe, Schedule
from eyespot.errors import TrainingError, UsageError

torch = pytest.importorskip("torch")
batches, checkpoint, choices = (import_module(f"eyespot.learn.{n}") for n in ("batches", "checkpoint", "choices"))
module, optim, origin = (import_module(f"eyespot.learn.{n}") for n in ("module", "optim", "origin"))
pictures, probe = (import_module(f"eyespot.learn.{n}") for n in ("pictures", "probe"))

SIDE = 16


def store_of(arrays, folder, limit=None):
    store = pictures.Store(folder, limit)
    for array in arrays:
        store.append(array)
    return store


def some_pictures(count=10, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (20, 24, 3), np.uint8) for _ in range(count)]


@pytest.fixture
def make(tmp_path):
    """Batches over ten pictures of three classes."""

    def made(**changes):
        recipe = Recipe(batch=4, seed=3, augment=Augment(mixup=0.2, policy="trivial"))
        recipe = replace(recipe, **changes)
        targets = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 2])
        return batches.Batches(
            store_of(some_pictures(), tmp_path), targets, 3, Preprocess((SIDE, SIDE)), recipe, workers=2
        )

    return made


def test_a_batch_depends_on_seed_epoch_and_step_alone(make):
    whole = list(make().epoch(5))
    assert len(whole) == make().steps == 2
    ((later, targets),) = make().epoch(5, 1)  # as a resumed run begins
    assert torch.equal(later, whole[1][0])
    assert torch.equal(targets, whole[1][1])
    assert not torch.equal(whole[0][0], next(make().epoch(6))[0])
    assert not torch.equal(whole[0][0], next(make(seed=4).epoch(5))[0])


def test_an_epoch_takes_no_picture_twice(make):
    plain = Augment(area=(1.0, 1.0), aspect=(1.0, 1.0), flip=0.0)
    seen = torch.cat([inputs for inputs, _ in make(augment=plain, batch=5).epoch(0)])
    assert len(torch.unique(seen.flatten(1), dim=0)) == 10


def test_targets_are_smoothed_probabilities(make):
    _, targets = next(make(augment=Augment(), loss=Loss(smoothing=0.3)).epoch(0))
    assert torch.allclose(targets.sum(1), torch.ones(4))
    assert sorted(set(targets.flatten().tolist())) == pytest.approx([0.1, 0.8])


def test_sampling_shows_rare_classes_as_often(make):
    drawn = make(augment=Augment(), loss=Loss(balance="sampling"), batch=10)
    counts = sum(next(drawn.epoch(epoch))[1].sum(0) for epoch in range(30))
    assert counts.min() > 70  # of 300, where the rarest class has one picture of ten


def test_several_processes_share_a_batch(make, tmp_path):
    ranks = import_module("eyespot.learn.ranks").Ranks
    plain = replace(make().recipe, augment=Augment())
    one = replace(make(), recipe=plain)
    parts = [next(replace(one, ranks=ranks(rank, 2)).epoch(0))[0] for rank in (0, 1)]
    together = next(one.epoch(0))[0]
    assert torch.equal(parts[0], together[0::2])
    assert torch.equal(parts[1], together[1::2])


def test_inputs_are_what_the_bundle_makes_of_pixels():
    from eyespot.bundle.build import normalise

    pixels = np.stack(some_pictures(3))
    for channels in ("rgb", "bgr"):
        spec = Preprocess((20, 24), channels=channels, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
        assert np.array_equal(batches.to_inputs(pixels, spec).numpy(), normalise(pixels, spec))


def test_pictures_that_memory_does_not_hold_are_the_same_from_the_file(tmp_path):
    arrays = some_pictures()
    held, spilled = store_of(arrays, tmp_path), store_of(arrays, tmp_path, limit=3 * arrays[0].nbytes)
    assert len(held) == len(spilled) == 10
    assert all(np.array_equal(held[i], spilled[i]) for i in range(10))
    assert list(tmp_path.iterdir()) == []  # nothing that a killed process would leave behind


def test_a_picture_is_kept_whole_and_no_larger_than_crops_need(examples):
    data = next(examples.glob("*.jpg")).read_bytes()
    kept = pictures.to_store(data, Preprocess((100, 100)))
    assert min(kept.shape[:2]) == 125
    from eyespot.image.decode import open_picture

    height, width = open_picture(data).size
    assert kept.shape[1] / kept.shape[0] == pytest.approx(width / height, rel=0.01)


def test_rates_rise_fall_and_differ_by_stage():
    spec = Schedule("cosine", warmup=0.25, end=0.1)
    rates = [optim.rate(spec, 2.0, step / 100) for step in range(101)]
    assert rates[0] == 0
    assert max(rates) == rates[25] == 2.0
    assert rates[100] == pytest.approx(0.2)
    assert rates[25:] == sorted(rates[25:], reverse=True)
    network = module.Network(draw("mobilenet_v1_0.25", {"classes": 3, "size": 32}))
    optimizer = optim.optimizer_for(network, Optimizer(stage_decay=0.5, decay=0.1))
    optim.set_rate(optimizer, 1.0)
    by_parameter = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    names = {name: by_parameter[id(p)] for name, p in network.named_parameters()}
    assert len(names) == len(by_parameter)
    assert names["classifier.weight"]["lr"] == 1.0
    assert names["stem.conv.weight"]["lr"] < 0.1
    assert names["stem.conv.weight"]["weight_decay"] == 0.1
    assert names["stem.norm.weight"]["weight_decay"] == names["classifier.bias"]["weight_decay"] == 0.0


def test_the_choices_follow_the_data(tiny):
    found = origin.open_origin(str(tiny.path))
    recipe = Recipe(kind="finetune")
    resolve = choices.resolve
    sides = {side: resolve(recipe, found, pictures=3000, side=side, classes=4).size for side in (0, 28, 64, 128, 4000)}
    assert sides == {0: 160, 28: 64, 64: 96, 128: 160, 4000: 160}
    few, many = (resolve(recipe, found, pictures=n, side=64, classes=4) for n in (100, 1_000_000))
    assert few.epochs > many.epochs
    assert few.batch < many.batch
    given = resolve(replace(recipe, size=96, epochs=3, batch=7), found, pictures=100, side=64, classes=4)
    assert (given.size, given.epochs, given.batch, given.norm.frozen) == (96, 3, 7, True)
    assert resolve(replace(recipe, kind="probe"), found, pictures=100, side=64, classes=4).epochs == 0
    fresh = origin.open_origin("mobilenet_v1_0.25")
    assert resolve(Recipe(kind="scratch"), fresh, pictures=100, side=500, classes=4).size == 224
    with pytest.raises(UsageError, match="without weights"):
        resolve(recipe, fresh, pictures=100, side=64, classes=4)


def test_an_origin_takes_other_classes_and_another_size(tiny, tmp_path):
    sized = origin.open_origin(str(tiny.path)).at(size=64, classes=5)
    assert sized.graph == draw("mobilenet_v1_0.25", {"classes": 5, "size": 64})
    assert sized.preprocess.size == (64, 64)
    assert dict(sized.arguments) == {"classes": 5, "size": 64}
    (tmp_path / "nets.py").write_text("def a(*, classes=10): ...\n")
    with pytest.raises(UsageError, match="takes no argument 'size'"):
        origin.open_origin(f"{tmp_path}/nets.py:a")


def test_a_head_separates_what_can_be_separated():
    rng = np.random.default_rng(0)
    targets = np.arange(180) % 3
    features = (rng.normal(size=(180, 8)) * 5 + 100 + 40 * np.eye(3, 8)[targets]).astype(np.float32)
    parts = (features[:60], targets[:60]), (features[60:], targets[60:])
    head = probe.fit_head(*parts, 3, Recipe())
    assert head.top1 == 1.0
    answers = features[60:] @ head.weight.T + head.bias
    assert (answers.argmax(1) == targets[60:]).all()
    again = probe.fit_head(*parts, 3, Recipe())
    assert np.array_equal(head.weight, again.weight)


def test_a_feature_that_hardly_varied_in_training_is_not_blown_up():
    """A feature that was always off, but for a trace in one image, is on in service: nothing must follow from it."""
    rng = np.random.default_rng(1)
    targets = np.arange(60) % 2
    features = (rng.normal(size=(60, 6)) + 2 * np.eye(2, 6)[targets]).astype(np.float32)
    features[:, 5] = 0
    features[0, 5] = 1e-4
    head = probe.fit_head((features, targets), (features[:0], targets[:0]), 2, Recipe())
    served = features.copy()
    served[:, 5] = 3.0
    moved = np.abs((served - features) @ head.weight.T).max()
    assert moved < 0.1 * np.abs(features @ head.weight.T + head.bias).max()


def test_a_head_without_a_bias_separates_features_far_from_zero():
    rng = np.random.default_rng(2)
    targets = np.arange(150) % 3
    features = (rng.normal(size=(150, 8)) + 10 + 8 * np.eye(3, 8)[targets]).astype(np.float32)
    head = probe.fit_head((features, targets), (features[:0], targets[:0]), 3, Recipe(), bias=False)
    assert (head.bias == 0).all()
    assert ((features @ head.weight.T).argmax(1) == targets).mean() > 0.95


def test_folds_are_stratified_and_the_same_every_time():
    targets = np.array([0] * 10 + [1] * 5 + [2] * 2)
    folds = probe.stratified_folds(targets, 5, seed=3)
    assert sorted(np.bincount(folds[targets == 0], minlength=5)) == [2, 2, 2, 2, 2]
    assert sorted(np.bincount(folds[targets == 1], minlength=5)) == [1, 1, 1, 1, 1]
    assert max(np.bincount(folds)) - min(np.bincount(folds)) <= 1
    assert np.array_equal(folds, probe.stratified_folds(targets, 5, seed=3))
    assert not np.array_equal(folds, probe.stratified_folds(targets, 5, seed=4))


def test_few_held_images_do_not_choose_the_decay():
    """Nine held images that a large decay would suit; the folds of the training images say otherwise."""
    rng = np.random.default_rng(4)
    targets = np.arange(90) % 3
    features = (rng.normal(size=(90, 20)) + 5 * np.eye(3, 20)[targets]).astype(np.float32)
    train, wrong = (features, targets), (features[:9], (targets[:9] + 1) % 3)
    assert probe.fit_head(train, wrong, 3, Recipe()).decay < 1
    many = np.tile(wrong[0], (12, 1)), np.tile(wrong[1], 12)
    assert probe.fit_head(train, many, 3, Recipe()).decay == 1


def test_the_average_spans_a_share_of_the_run():
    keep = checkpoint.share_kept
    assert keep(0.1, 900, 1000) == pytest.approx(1 - 1 / 100)  # a tenth of 1,000 steps: 100 of them
    assert keep(0.1, 90, 100) == pytest.approx(1 - 1 / 10)
    assert keep(0.1, 1, 1000) == pytest.approx(2 / 11)  # a young average moves faster
    assert keep(0.1, 5, 5) == 0.0  # half a step: no average


def test_when_a_finetune_is_hopeless():
    """Two classes: guessing has a loss of ln 2 = 0.693."""
    why = import_module("eyespot.learn.recorder").why_hopeless
    assert "guessing has 0.69" in why(0.70, 0.2, classes=2, progress=0.34)
    assert why(0.69, 0.2, classes=2, progress=0.34) == ""
    assert why(1.21, 0.2, classes=2, progress=0.33) == ""  # the first epochs may cost something
    assert why(5.0, math.inf, classes=2, progress=1) == ""  # no finetune, or no classifier that knew anything


def test_what_is_better_of_many_images_has_the_lesser_loss_and_no_lower_top1():
    better = import_module("eyespot.learn.validation").is_better
    best, less, more = [0.31] * 100, [0.30] * 100, [0.32] * 100
    assert better(less, best, top1=0.9, floor=0.9, epoch=True)
    assert not better(best, best, top1=0.9, floor=0.9, epoch=True)
    assert not better(more, best, top1=0.9, floor=0.9, epoch=True)
    assert not better(less, best, top1=0.89, floor=0.9, epoch=True)


def test_few_images_keep_the_later_epoch_unless_it_is_worse_by_a_standard_error():
    """Differences 0.4, 0, 0, 0: their mean is 0.1, their deviation √0.03 = 0.1732, the standard error that over √3."""
    better = import_module("eyespot.learn.validation").is_better
    best = [0.2] * 4
    assert better([0.59, 0.2, 0.2, 0.2], best, top1=0.5, floor=0.9, epoch=True)
    assert not better([0.6, 0.21, 0.2, 0.2], best, top1=0.5, floor=0.9, epoch=True)
    assert not better([0.59, 0.2, 0.2, 0.2], best, top1=1, floor=0, epoch=False)  # no epoch: must be better by as much
    assert not better([0.02, 0.2, 0.2, 0.21], best, top1=1, floor=0, epoch=False)
    assert better([0.1, 0.1, 0.1, 0.11], best, top1=1, floor=0, epoch=False)
    assert better([0.1], [0.2], top1=1.0, floor=1.0, epoch=True)


def test_class_weights_make_classes_equal():
    weights = probe.class_weights(np.array([0, 0, 0, 1]), 3)
    assert weights.tolist() == pytest.approx([2 / 3, 2, 0])


def test_a_damaged_checkpoint_is_one_line(tmp_path):
    assert checkpoint.read(tmp_path) is None
    network = module.Network(draw("mobilenet_v1_0.25", {"classes": 3, "size": 32}))
    optimizer = torch.optim.SGD(network.parameters(), 0.1, 0.9)
    state = checkpoint.State(epoch=2, step=5)
    checkpoint.save(tmp_path, network, network, optimizer, state)
    assert checkpoint.restore(checkpoint.read(tmp_path), network, network, optimizer) == state
    place = tmp_path / "last.pt"
    whole = place.read_bytes()
    for damaged in (whole[:1000], b"", b"x" * 1000, whole[: len(whole) // 2]):
        place.write_bytes(damaged)
        with pytest.raises(TrainingError, match="cannot be read") as error:
            checkpoint.read(tmp_path)
        assert "\n" not in str(error.value)


def test_flipped_bits_of_a_checkpoint_change_nothing_unnoticed(tmp_path):
    """Either it is refused in one line, or all of it is what was saved."""
    network = module.Network(draw("mobilenet_v1_0.25", {"classes": 3, "size": 32}))
    optimizer = torch.optim.SGD(network.parameters(), 0.1, 0.9)
    checkpoint.save(tmp_path, network, network, optimizer, checkpoint.State(epoch=2, step=5))
    place, chance, refused = tmp_path / "last.pt", random.Random(0), 0
    whole, sound = place.read_bytes(), checkpoint.read(tmp_path)
    for _ in range(200):
        flipped = bytearray(whole)
        flipped[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        place.write_bytes(flipped)
        try:
            data = checkpoint.read(tmp_path)
        except TrainingError as error:
            refused += str(error).count("\n") == 0
            continue
        assert data["state"] == sound["state"]
        assert all(torch.equal(data["network"][name], tensor) for name, tensor in sound["network"].items())
    assert refused > 150  # what lies between the tensors may change: it is never read


def test_weights_that_are_no_numbers_are_never_saved(tmp_path):
    network = module.Network(draw("mobilenet_v1_0.25", {"classes": 3, "size": 32}))
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    checkpoint.save(tmp_path, network, network, optimizer, checkpoint.State())
    before = (tmp_path / "last.pt").read_bytes()
    with torch.no_grad():
        network.get_parameter("classifier.bias")[0] = float("nan")
    with pytest.raises(TrainingError, match="no longer a number"):
        checkpoint.save(tmp_path, network, network, optimizer, checkpoint.State())
    assert (tmp_path / "last.pt").read_bytes() == before


def test_what_is_doubtful_about_labels_is_said_when_training_begins(tmp_path):
    from types import SimpleNamespace

    from collections_made import fill, picture
    from eyespot.data.source import open_source
    from eyespot.learn.events import Watch
    from eyespot.learn.material import parts_of

    class Heard(Watch):
        def __init__(self):
            self.notes = []

        def note(self, text):
            self.notes.append(text)

    files = {"train/cat/1.png": picture(1), "train/cat|dog/2.png": picture(2), "test/owl/3.png": picture(3)}
    run = SimpleNamespace(
        path=tmp_path, facts=SimpleNamespace(threads=1), recipe=SimpleNamespace(validation=0.2, seed=0)
    )
    heard = Heard()
    parts_of(run, open_source(fill(tmp_path / "x", files)), heard)
    assert heard.notes[0].startswith("The label 'cat|dog' looks like several labels in one")
    assert "nothing to learn 'owl' from: no pictures in train" in heard.notes
    assert "val is empty: too few pictures to take any from training" in heard.notes
