"""Every image file gives the picture that a person sees, or is refused by name."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from labelattack.datasets.images import FileImages
from labelattack.errors import DatasetError

GREY = np.linspace(0, 255, 10 * 12).reshape(10, 12).astype(np.uint8)
COLOUR = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
SIXTEEN = GREY.astype(np.uint16) * 257
ORIENTATION = 0x0112


def read(folder, name):
    return FileImages(folder, [name])[0]


@pytest.mark.parametrize("name", ["g.png", "g.tif", "big-endian.tif", "g.pgm", "12-bit.pgm"])
def test_sixteen_bits_of_grey_are_the_same_picture_as_eight(tmp_path, name):
    path = tmp_path / name
    if name == "12-bit.pgm":
        numbers = np.rint(GREY / 255 * 4095).astype(">u2")
        path.write_bytes(b"P5\n12 10\n4095\n" + numbers.tobytes())
    elif name == "g.pgm":
        path.write_bytes(b"P5\n12 10\n65535\n" + SIXTEEN.astype(">u2").tobytes())
    else:
        Image.fromarray(SIXTEEN.astype(">u2") if "big" in name else SIXTEEN).save(path)
    Image.fromarray(GREY).save(tmp_path / "eight.png")
    found = read(tmp_path, name)
    assert found.dtype == np.uint8 and found.shape == (10, 12, 3)
    assert np.array_equal(found, read(tmp_path, "eight.png"))


def tiff(numbers, *, photometric=1, bits=16, code="<"):
    """An uncompressed little-endian TIFF of one strip."""
    data = numbers.astype(f"{code}u2").tobytes()
    height, width = numbers.shape
    tags = [(256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric),
            (273, 4, 8), (277, 3, 1), (278, 3, height), (279, 4, len(data))]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(data))
        + data
        + struct.pack("<H", len(tags))
        + entries
        + bytes(4)
    )


def test_white_is_zero_in_some_tiffs(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(65535 - SIXTEEN, photometric=0))
    assert np.array_equal(read(tmp_path, "a.tif")[..., 0], GREY)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_exif_orientation_is_applied(tmp_path, orientation, suffix):
    upright = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 50, np.ones((8, 8), np.uint8))
    # What the camera stored: turned back by the inverse of what the tag asks for.
    back = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
        6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, 3),
    }  # fmt: skip
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = (
        {"quality": 100} if suffix == "jpg" else {"lossless": True} if suffix == "webp" else {}
    )
    stored = Image.fromarray(np.ascontiguousarray(back[orientation])).convert("RGB")
    stored.save(tmp_path / f"a.{suffix}", exif=exif, **options)
    found = read(tmp_path, f"a.{suffix}")
    assert found.shape == (16, 24, 3)
    assert np.abs(found[..., 0].astype(int) - upright).max() <= 4


def test_what_is_transparent_shows_white(tmp_path):
    alpha = np.zeros((10, 12, 1), np.uint8)
    alpha[:5] = 255
    Image.fromarray(np.concatenate([COLOUR, alpha], axis=2)).save(tmp_path / "a.png")
    Image.fromarray(np.concatenate([GREY[..., None], alpha], axis=2)).save(tmp_path / "la.png")
    for name, seen in (("a.png", COLOUR), ("la.png", np.repeat(GREY[..., None], 3, 2))):
        found = read(tmp_path, name)
        assert np.array_equal(found[:5], seen[:5]) and (found[5:] == 255).all()


def test_a_transparent_colour_shows_white(tmp_path):
    palette = Image.fromarray(GREY // 128 * 255).convert("P")
    for suffix in ("png", "gif"):
        palette.save(tmp_path / f"a.{suffix}", transparency=palette.getpixel((0, 0)))
        assert (read(tmp_path, f"a.{suffix}") == 255).all()
    Image.fromarray(SIXTEEN).save(tmp_path / "b.png")
    # Pillow writes no such chunk for 16 bits.
    content = (tmp_path / "b.png").read_bytes()
    chunk = b"tRNS" + struct.pack(">H", 0)
    whole = struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk))
    place = content.index(b"IDAT") - 4
    (tmp_path / "b.png").write_bytes(content[:place] + whole + content[place:])
    found = read(tmp_path, "b.png")[..., 0]
    assert found[0, 0] == 255 and np.array_equal(found[1:], GREY[1:])


@pytest.mark.parametrize("mode", ["F", "I"])
def test_modes_without_black_and_white_are_refused_by_name(tmp_path, mode):
    Image.fromarray(GREY.astype(np.float32 if mode == "F" else np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(DatasetError, match=rf"a\.tif.*mode '{mode}'.*8 or 16 bits"):
        read(tmp_path, "a.tif")
