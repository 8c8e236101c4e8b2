"""A model in other processes: pickled, copied, spawned and forked, it is the same model or refused in one line."""

import copy
import multiprocessing
import os
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor

import pytest

import eyespot
from conftest import make_bundle
from eyespot.errors import BundleError


def answer(model, path):
    return model(path).logits.tolist()


@pytest.fixture
def picture(examples):
    return str(examples / "coffee.jpg")


def test_it_comes_back_with_its_bundle_runtime_and_threads(tiny, picture):
    with eyespot.load(tiny.path, threads=1) as model, pickle.loads(pickle.dumps(model)) as other:
        assert (other.bundle.path, other.runtime, other.threads) == (tiny.path, "onnxruntime", 1)
        assert answer(other, picture) == answer(model, picture)


def test_a_pickle_is_small(tiny):
    with eyespot.load(tiny.path) as model:
        assert len(pickle.dumps(model)) < 1000


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_outlives_its_original(tiny, picture, copied):
    model = eyespot.load(tiny.path, runtime="reference")
    with copied(model) as other:
        expected = answer(model, picture)
        model.close()
        assert other.runtime == "reference"
        assert answer(other, picture) == expected


def test_a_result_pickles(tiny, picture):
    with eyespot.load(tiny.path) as model:
        result = model(picture)
    assert pickle.loads(pickle.dumps(result)).logits.tolist() == result.logits.tolist()


def test_spawned_workers(tiny, picture):
    spawn = multiprocessing.get_context("spawn")
    with eyespot.load(tiny.path, threads=1) as model, ProcessPoolExecutor(1, spawn) as pool:
        assert list(pool.map(answer, [model], [picture])) == [answer(model, picture)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("threads", [1, 2, None])
def test_a_forked_child_answers(tiny, picture, threads):
    with eyespot.load(tiny.path, threads=threads) as model:
        expected = answer(model, picture)
        reader, writer = multiprocessing.get_context("fork").Pipe(duplex=False)

        def child():
            writer.send([answer(model, picture) for _ in range(3)])

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        try:
            assert reader.poll(60), "the forked child does not answer"
            assert reader.recv() == [expected] * 3
        finally:
            process.kill()
            process.join()


def test_another_bundle_in_its_place_is_refused(tmp_path):
    path = make_bundle(tmp_path / "b").path
    with eyespot.load(path) as model:
        pickled = pickle.dumps(model)
    make_bundle(tmp_path / "other", seed=1)
    shutil.rmtree(path)
    shutil.move(tmp_path / "other", path)
    with pytest.raises(BundleError, match=r"is not the bundle that was pickled as .*; load the model here instead"):
        pickle.loads(pickled)


def test_a_bundle_that_is_gone_is_refused(tmp_path):
    path = make_bundle(tmp_path / "b", name="gone.test").path
    with eyespot.load(path) as model:
        pickled = pickle.dumps(model)
    shutil.rmtree(path)
    with pytest.raises(BundleError, match="is not on this machine; copy it"):
        pickle.loads(pickled)
