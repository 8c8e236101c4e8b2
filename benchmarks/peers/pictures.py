"""The pictures of the benchmark, made from one photograph at run time: `pictures.py PHOTOGRAPH HOME`."""

import sys
from pathlib import Path

from PIL import Image, ImageOps

QUALITY = 90
SMALL, LARGE = (640, 427), (4000, 3000)
FOLDER = 200


def main(photograph: Path, home: Path) -> None:
    """Writes small.jpg, large.jpg, detailed.jpg and folder/0000.jpg … into `home`.

    large.jpg is the photograph enlarged, as soft as a phone's night picture; detailed.jpg is the photograph repeated,
    mirrored, at its own sharpness, so that the entropy decoder has about three times as much to read.
    """
    photo = Image.open(photograph).convert("RGB")
    small = ImageOps.fit(photo, SMALL, Image.Resampling.LANCZOS)
    small.save(home / "small.jpg", quality=QUALITY)
    photo.resize(LARGE, Image.Resampling.BICUBIC).save(home / "large.jpg", quality=QUALITY)
    _repeated(photo).save(home / "detailed.jpg", quality=QUALITY)
    (home / "folder").mkdir()
    for index in range(FOLDER):
        turned = small.rotate(index % 20 - 10, Image.Resampling.BILINEAR)
        turned.save(home / "folder" / f"{index:04}.jpg", quality=QUALITY)


def _repeated(photo: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", LARGE)
    for row, top in enumerate(range(0, LARGE[1], photo.height)):
        for column, left in enumerate(range(0, LARGE[0], photo.width)):
            tile = ImageOps.mirror(photo) if column % 2 else photo
            canvas.paste(ImageOps.flip(tile) if row % 2 else tile, (left, top))
    return canvas


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
