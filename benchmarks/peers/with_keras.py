"""Keras: MobileNetV2 of keras.applications as its documentation shows, on TensorFlow or torch (`KERAS_BACKEND`)."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worker import main

BACKEND = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
WEIGHTS = f"keras-{BACKEND}.weights.h5"
BATCH = 32


class Keras:
    """load_img → img_to_array → preprocess_input → predict → the five likeliest."""

    packages = ("keras", "tensorflow|tensorflow-cpu" if BACKEND == "tensorflow" else BACKEND)

    def __init__(self, home: Path) -> None:
        """`decode_predictions` would download its list of labels; a local one does the same work."""
        from keras.applications import MobileNetV2

        self.model = MobileNetV2(weights=str(home / WEIGHTS))
        self.labels = (home / "labels.txt").read_text().splitlines()[1:]

    @staticmethod
    def build(home: Path) -> None:
        """Random weights in Keras' own file: the published ones are a download, and the arithmetic is the same."""
        from keras.applications import MobileNetV2

        MobileNetV2(weights=None).save_weights(home / WEIGHTS)

    def classify(self, data: bytes) -> str:
        """One picture."""
        return self._decode(self.model.predict(_pixels(io.BytesIO(data)), verbose=0))[0][0][0]

    def folder(self, paths: Sequence[Path]) -> list[str]:
        """Batches of 32."""
        import numpy as np

        found: list[str] = []
        for start in range(0, len(paths), BATCH):
            batch = np.concatenate([_pixels(path) for path in paths[start : start + BATCH]])
            found += [top[0][0] for top in self._decode(self.model.predict(batch, verbose=0))]
        return found

    def _decode(self, predictions: Any) -> list[list[tuple[str, float]]]:
        return [[(self.labels[i], float(row[i])) for i in row.argsort()[-5:][::-1]] for row in predictions]


def _pixels(source: Any) -> Any:
    import numpy as np
    from keras.applications.mobilenet_v2 import preprocess_input
    from keras.utils import img_to_array, load_img

    return preprocess_input(np.expand_dims(img_to_array(load_img(source, target_size=(224, 224))), axis=0))


if __name__ == "__main__":
    main(Keras)
