"""Decoding of image files to RGB pixels, as a viewer shows them."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labelattack.errors import DatasetError

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile

Pixels = NDArray[np.uint8]
DECODING = 2
"""Version of the decoding; part of every fingerprint of image files."""
MOST_PIXELS = 1 << 26
"""Largest number of pixels of an image; as RGB they take 192 MiB."""
# Formats decoded by a library in this process; EPS, for one, would start Ghostscript.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_OPAQUE = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr")
_TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # of TIFF


def decoded(path: Path, content: bytes | None = None) -> Pixels:
    """Decodes an image file; of several frames, the first.

    The EXIF orientation is applied, transparent pixels become white, and 16-bit grey is scaled to
    8 bits. Colour profiles are not applied.

    Args:
        path: Image file: BMP, GIF, JPEG, PNG, PPM, TIFF or WEBP.
        content: Its content, where it does not lie on disk; ``path`` then only names it.

    Returns:
        uint8 ``[height, width, 3]``, RGB.

    Raises:
        DatasetError: If it cannot be read or decoded, has more than
            [MOST_PIXELS][labelattack.datasets.decoding.MOST_PIXELS] pixels, or has a mode without
            an agreed black and white.
    """
    from PIL import Image, ImageOps

    try:
        file = path if content is None else BytesIO(content)
        with Image.open(file, formats=_FORMATS) as image:
            # Only the header has been read so far.
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(
                    f"must have at most {MOST_PIXELS:,} pixels, got {image.width} x {image.height}"
                )
            ImageOps.exif_transpose(image, in_place=True)
            return np.asarray(_rgb(image))
    except Exception as error:  # decoders may raise any exception on a damaged file
        raise DatasetError(f"image '{path}' cannot be read: {error}") from error


def _rgb(image: ImageFile) -> Image.Image:
    from PIL import Image

    # PNG and PPM have at most 16 bits; some versions of Pillow hold them in 32.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return Image.fromarray(_grey(image)).convert("RGB")
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        layers = image.convert("LA") if image.mode == "La" else image
        layers = layers.convert("RGBA")
        white = Image.new("RGBA", layers.size, "white")
        return Image.alpha_composite(white, layers).convert("RGB")
    if image.mode in _OPAQUE:
        return image.convert("RGB")
    raise ValueError(
        f"its mode must have an agreed black and white, got mode '{image.mode}' of Pillow; save it "
        "with 8 or 16 bits for each channel"
    )


def _grey(image: ImageFile) -> Pixels:
    """Scales 16-bit grey to 8 bits: 0 is black, the largest value of the format white."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS, (16,))
    most = (1 << int(bits[0] if isinstance(bits, tuple) else bits)) - 1
    values = np.asarray(image).astype(np.float64)
    grey = np.rint(np.clip(values / most, 0, 1) * 255).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return grey
