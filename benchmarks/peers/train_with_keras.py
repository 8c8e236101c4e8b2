"""Keras' usual flow: ImageDataGenerator, MobileNetV2 without its top, a dense layer, Adam, five epochs.

python train_with_keras.py HOME SIZE EPOCHS BATCH [all]: prints a JSON line per epoch, `{"epoch": 1, "top1": 0.9}`. The
base is frozen, as in Keras' guide to transfer learning; with `all` its layers are trained too.
"""

import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """The flow, timed by whoever reads the lines."""
    home, size, epochs, batch = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    import keras
    from keras.applications import MobileNetV2
    from keras.applications.imagenet_utils import preprocess_input
    from keras.src.legacy.preprocessing.image import ImageDataGenerator  # its public name imports TensorFlow

    def scaled(pixels: Any) -> Any:
        return preprocess_input(pixels, data_format="channels_last", mode="torch")  # as these weights were trained

    class Told(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            print(json.dumps({"epoch": epoch + 1, "top1": (logs or {})["val_accuracy"]}), flush=True)

    keras.utils.set_random_seed(0)
    varied = ImageDataGenerator(
        preprocessing_function=scaled,
        rotation_range=20,
        width_shift_range=0.1,
        height_shift_range=0.1,
        zoom_range=0.2,
        horizontal_flip=True,
    )
    plain = ImageDataGenerator(preprocessing_function=scaled)
    flow = {"target_size": (size, size), "batch_size": batch}
    train = varied.flow_from_directory(home / "pictures/train", seed=0, **flow)
    held = plain.flow_from_directory(home / "pictures/val", shuffle=False, **flow)
    whole = MobileNetV2(input_shape=(size, size, 3), weights=None)
    whole.load_weights(home / "keras.weights.h5")
    base = keras.Model(whole.input, whole.layers[-2].output)  # up to the mean over the last map
    base.trainable = "all" in sys.argv[5:]
    model = keras.Sequential(
        [base, keras.layers.Dropout(0.2), keras.layers.Dense(train.num_classes, activation="softmax")]
    )
    model.compile(keras.optimizers.Adam(1e-3), "categorical_crossentropy", metrics=["accuracy"])
    model.fit(train, epochs=epochs, validation_data=held, callbacks=[Told()], verbose=0)


if __name__ == "__main__":
    main()
