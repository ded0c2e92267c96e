"""A miniature of Pascal VOC 2007 whose bytes no library's encoder decides."""

import random

CLASSES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor"
).split()
WIDTH, HEIGHT = 40, 24


def make_miniature(root):
    """Class c is on image i if (i + c) % 3 == 0; pictures are noise, as plain bitmaps."""
    folder = root / "VOCdevkit" / "VOC2007"
    lists, pictures = folder / "ImageSets" / "Main", folder / "JPEGImages"
    lists.mkdir(parents=True)
    pictures.mkdir()
    for split, first, count in (("trainval", 0, 40), ("test", 100, 20)):
        names = [f"{number:06d}" for number in range(first, first + count)]
        for c, kind in enumerate(CLASSES):
            lines = "".join(
                f"{name} {1 if (i + c) % 3 == 0 else -1:>2}\n" for i, name in enumerate(names)
            )
            (lists / f"{kind}_{split}.txt").write_text(lines, encoding="utf-8", newline="\n")
        for number, name in enumerate(names):
            noise = random.Random(first + number).randbytes(3 * WIDTH * HEIGHT)
            picture = b"P6 %d %d 255\n" % (WIDTH, HEIGHT) + noise
            (pictures / f"{name}.jpg").write_bytes(picture)
