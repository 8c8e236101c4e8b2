"""Copies a data set's pictures into HOME/pictures/{train,val}/CLASS, split 80/20 with duplicates on one side.

python split_pictures.py SOURCE HOME [COUNT]: of COUNT pictures only, evenly taken, for a quick look.
"""

import shutil
import sys
from pathlib import Path

from eyespot.data.duplicates import duplicates
from eyespot.data.source import open_source
from eyespot.data.split import split


def main() -> None:
    """The split that every way is given, so that none has easier pictures than another; seed 0."""
    source, home = open_source(Path(sys.argv[1])), Path(sys.argv[2])
    step = max(len(source) // int(sys.argv[3]), 1) if len(sys.argv) > 3 else 1
    parts = split(source.samples[::step], validation=0.2, seed=0, together=duplicates(source))
    for part in ("train", "val"):
        for sample in parts[part]:
            place = home / "pictures" / part / source.labels.id(sample.label) / Path(sample.name).name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source.folder / sample.name, place)


if __name__ == "__main__":
    main()
