"""``kill -9`` at random moments, then ``resume``: the weights are the undisturbed run's, bit for bit."""

import os
import random
import signal
import time
import traceback
from importlib import import_module
from pathlib import Path

import pytest

from conftest import make_bundle
from labelled import QUICK, checkpoint, colours, same

torch = pytest.importorskip("torch")
train, resume = (getattr(import_module("eyespot.learn"), name) for name in ("train", "resume"))

SETTINGS = (
    *QUICK,
    "speed.checkpoint=0.02",
    "augment.mixup=0.2",
    "augment.policy=trivial",
    "regularisation.dropout=0.3",
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")


def _go_on(data: Path, out: Path, model: Path, epochs: int) -> None:
    if (out / "recipe.toml").is_file():
        resume(out)
    else:
        train(data, out, model=str(model), epochs=epochs, settings=SETTINGS, threads=1, device="cpu")


def _in_child(*arguments: object, kill_after: float | None = None) -> tuple[bool, float]:
    """Goes on in a process of its own, killed after so many seconds. Whether it came to its end, and when."""
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            torch.set_num_threads(1)
            _go_on(*arguments)  # type: ignore[arg-type]
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    status = None
    while status is None:
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            status = code
        elif kill_after is not None and time.monotonic() - began > kill_after:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False, time.monotonic() - began
        else:
            time.sleep(0.005)
    assert os.waitstatus_to_exitcode(status) == 0
    return True, time.monotonic() - began


def _survives(folder: Path, *, kills: int, epochs: int) -> None:
    data, model = colours(folder / "data"), make_bundle(folder / "tiny").path
    ended, seconds = _in_child(data, folder / "undisturbed", model, epochs)
    assert ended
    rng, done = random.Random(0), 0
    places = set()
    for _ in range(10 * kills):
        if done >= kills and places:
            break
        ended, _ = _in_child(data, folder / "killed", model, epochs, kill_after=rng.uniform(0.02, 1) * seconds)
        done += not ended
        if (folder / "killed" / "last.pt").is_file():
            state = checkpoint(folder / "killed")["state"]
            places.add((state["epoch"], state["step"]))
        if ended:  # a run that is over has no moment left to be killed at: the next kills hit another one
            assert same(checkpoint(folder / "killed"), checkpoint(folder / "undisturbed"))
            (folder / "killed").rename(folder / f"over {len(list(folder.iterdir()))}")
    assert done >= kills
    assert places  # at least one kill came after a checkpoint
    ended, _ = _in_child(data, folder / "killed", model, epochs)
    assert ended
    assert same(checkpoint(folder / "killed"), checkpoint(folder / "undisturbed"))
    name = "weights.safetensors"
    assert (folder / "killed/best" / name).read_bytes() == (folder / "undisturbed/best" / name).read_bytes()


def test_two_kills(tmp_path):
    _survives(tmp_path, kills=2, epochs=3)


@pytest.mark.slow
def test_twenty_kills(tmp_path):
    _survives(tmp_path, kills=20, epochs=12)


def test_ctrl_c_waits_for_a_whole_step_and_a_checkpoint(tmp_path):
    data, model, out = colours(tmp_path / "data"), make_bundle(tmp_path / "tiny").path, tmp_path / "run"
    Watch = import_module("eyespot.learn").Watch  # noqa: N806

    class Press(Watch):
        """Presses Ctrl-C in the second step."""

        steps = 0

        def step(self, count=1):
            self.steps += count == 8
            if self.steps == 2 and count == 8:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(data, out, model=str(model), epochs=2, settings=QUICK, threads=1, watch=Press())
    assert checkpoint(out)["state"]["taken"] == 2
    assert resume(out).result is not None
