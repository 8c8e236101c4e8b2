"""The fresh process of a cold start: ``python -m eyespot.measure.once BUNDLE RUNTIME THREADS PICTURE``.

PICTURE is a JPEG, which needs Pillow, or prepared pixels as .npy, which need nothing but the runtime.
"""

from __future__ import annotations

import sys


def main(bundle: str, runtime: str, threads: str, picture: str) -> None:
    """Prints the label of one picture, or the index of it for prepared pixels."""
    if picture.endswith(".npy"):
        import numpy as np

        from eyespot.bundle.store import read
        from eyespot.run.open import open_unchecked

        with open_unchecked(read(bundle), runtime=runtime, threads=int(threads)) as session:
            print(int(session.run(np.load(picture))[0].argmax()), flush=True)
    else:
        from eyespot.run.predict import load

        with load(bundle, runtime=runtime, threads=int(threads)) as model:
            print(model(picture).label, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
