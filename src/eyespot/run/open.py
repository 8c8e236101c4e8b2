"""Opens a bundle on a runtime, with as many threads as the work wants."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from eyespot.bundle.store import Bundle
from eyespot.core.cores import cores
from eyespot.errors import MissingExtra, UsageError
from eyespot.run.session import Session

Runtime = Literal["onnxruntime", "openvino", "reference"]
_SEARCHED = 64 << 20  # bytes of a model that may be held twice, to find the better number of threads


def open_session(bundle: Bundle, *, runtime: str = "onnxruntime", threads: int | None = None) -> Session:
    """A session; close it, or use ``with``.

    threads: inside one call. None is for latency, one image at a time: one thread, or one per core up to eight (past
    which light networks gain nothing), whichever turns out faster while it works; see ``thread_search``. A number is
    obeyed. For throughput open it with 1 and call it from as many threads as there are cores.

    BundleError for a network that is not that of the bundle's card and weights (looked at once; ``same_network``).
    RuntimeFailure for a bundle in int8 that this processor's kernels get wrong; see ``first_use``.
    """
    if runtime != "reference":
        from eyespot.run.same_network import check_network_once

        check_network_once(bundle)
    session = open_unchecked(bundle, runtime=runtime, threads=threads)
    if bundle.card.precision == "int8" and runtime != "reference":
        from eyespot.run.first_use import check_first_use

        try:
            check_first_use(bundle, session, runtime=runtime)
        except BaseException:
            session.close()
            raise
    return session


def open_unchecked(bundle: Bundle, *, runtime: str = "onnxruntime", threads: int | None = None) -> Session:
    """A session as ``open_session`` opens it, whatever it answers: for those who compare the answers themselves."""
    if runtime == "openvino":
        from eyespot.run.first_use import refuse_overflow

        refuse_overflow(bundle, runtime=runtime)
    if threads is not None and threads < 1:
        raise UsageError(f"{threads} threads cannot run anything; pass 1 or more")
    if runtime == "reference":
        from eyespot.run.numpy_session import NumpySession

        return NumpySession(bundle)
    several = min(cores(), 8)
    if threads is None and several > 1 and runtime == "onnxruntime" and bundle.model.stat().st_size <= _SEARCHED:
        from eyespot.run.thread_search import SearchingSession

        return SearchingSession(lambda count: open_model(bundle.model, runtime=runtime, threads=count), several)
    return open_model(bundle.model, runtime=runtime, threads=threads or several)


def open_model(model: Path, *, runtime: str, threads: int) -> Session:
    """A session on a bundle's ONNX file alone. UsageError for a runtime that reads none, MissingExtra."""
    if runtime == "onnxruntime":
        from eyespot.run.ort import OrtSession

        return OrtSession(model, threads=threads)
    if runtime == "openvino":
        if find_spec("openvino") is None:
            raise MissingExtra("the runtime openvino", "openvino")
        from eyespot.run.openvino import OpenVinoSession

        return OpenVinoSession(model, threads=threads)
    raise UsageError(f"there is no runtime {runtime!r}; choose one of {', '.join(get_args(Runtime))}")
