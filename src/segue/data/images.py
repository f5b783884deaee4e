"""Picture files and arrays to tensors: the only decoder of the package."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from segue.data.quiet import without_warnings
from segue.errors import ImageError, UsageError

MAX_PIXELS = 178_956_970
"""Larger pictures are refused before decoding: half a gigabyte as RGB, and the limit of Pillow itself."""

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000", "PPM", "AVIF")
"""What is decoded. Others stay out on purpose: Pillow would run a separate program for EPS, for instance."""

EXIF_ORIENTATION = 0x0112
TIFF_PHOTOMETRIC = 0x0106
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What to do with the stored pixels for each EXIF orientation (Exif 2.32, section 4.6.4 A); 1 is upright."""

Path_ = str | os.PathLike[str]


def read_image(path: Path_) -> Tensor:
    """The picture in a file, upright by its EXIF orientation, as (3, H, W) uint8 RGB in [0, 255].

    Scales and transparency are those of `to_tensor`.

    Raises:
        ImageError: missing, empty, damaged, animated, not a picture, or over `MAX_PIXELS`.
    """
    with _opened(path) as image:
        return to_tensor(image)


def resize_bytes(image: Tensor, size: tuple[int, int]) -> Tensor:
    """A picture (3, H, W) uint8 -> (3, *size) uint8: bilinear, with a filter where it shrinks, by Pillow.

    That is what public networks were trained with; PyTorch's kernel for bytes differs by up to two grey levels.
    """
    resized = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).resize(size[::-1], Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()


def image_size(path: Path_) -> tuple[int, int]:
    """(height, width) in pixels of the picture that `read_image` gives, from the header alone.

    Raises:
        ImageError: as in `read_image`, for what the header shows.
    """
    with _opened(path) as image:
        width, height = image.size
        if image.format == "TIFF" or (image.format == "PNG" and not _png_has_metadata(Path(path))):
            return height, width  # Pillow itself turns TIFF; asked for the EXIF of a PNG without, it decodes the pixels
        return (width, height) if _orientation(image) >= 5 else (height, width)


def read_stored(path: Path_) -> NDArray[Any]:
    """The numbers in a picture file as they are stored, for label maps: palette indices stay indices, 16 bits stay 16.

    Returns:
        (H, W) bytes or wider integers, or (H, W, 3) uint8 RGB; transparency is dropped, EXIF orientation not heeded.

    Raises:
        ImageError: as in `read_image`, and for floats and colours other than gray, palette and RGB.
    """
    with _opened(path) as image:
        step = _gray_step(image)  # asked first, since decoding forgets the layout of the file
        pixels = np.asarray(image)
        if image.mode in ("LA", "PA"):
            pixels = pixels[:, :, 0]
        elif image.mode in ("RGB", "RGBA"):
            pixels = pixels[:, :, :3]
        elif pixels.ndim != 2 or pixels.dtype.kind not in "bui":
            raise ImageError(f"pixels of kind {image.mode} are no labels", cure="save whole numbers, as gray PNG")
        return pixels.astype(np.uint8) if pixels.dtype == bool else pixels // step


def to_tensor(image: Image.Image | NDArray[Any]) -> Tensor:
    """A picture in memory as (3, H, W) uint8 RGB in [0, 255].

    Pillow images are turned upright by their EXIF orientation, transparent parts lie over white. Pixels wider than 8
    bits get one scale for the whole picture: see `to_bytes`.

    Args:
        image: a Pillow image of any mode, or an array (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA.

    Raises:
        UsageError: an array of another shape, or neither array nor picture.
        ImageError: pixels that are not numbers, or colours that cannot become RGB.
    """
    pixels = _pixels(image) if isinstance(image, Image.Image) else to_bytes(_checked(image))
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] == 4:
        alpha = pixels[:, :, 3:].astype(np.float32) / 255
        pixels = np.rint(pixels[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    planes = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)  # (C, H, W)
    return planes.expand(3, -1, -1).contiguous()


def to_pil(image: Tensor) -> Image.Image:
    """(3, H, W) uint8 RGB as a Pillow image."""
    return Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy())


def to_bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels of any number type, in [0, 255].

    - bool: 0 and 255;
    - integers: as they are if they fit 8 bits, else divided by the full scale of 12 bits (cameras store those in 16)
      or of 16 bits, whichever is the smallest that holds the brightest pixel;
    - floats in [0, 1]: times 255;
    - all else (negative numbers, more than 16 bits, other floats) has no known scale: its smallest value becomes 0,
      its largest 255.

    Raises:
        ImageError: NaN or infinite pixels.
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise ImageError("pixels are NaN or infinite", cure="replace them by numbers")
    low, high = float(pixels.min()), float(pixels.max())
    if pixels.dtype.kind in "fb":
        full = 1.0 if low >= 0 and high <= 1 else None
    else:
        full = next((top for top in (255.0, 4095.0, 65535.0) if low >= 0 and high <= top), None)
    low, full = (0.0, full) if full else (low, high - low)
    scaled = (pixels.astype(np.float64) - low) * (255 / full if full else 0.0)
    return np.rint(scaled).astype(np.uint8)


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """(H, W), (H, W, 3) or (H, W, 4) bytes of a Pillow image, upright."""
    image.load()  # first, since Pillow turns TIFF as it decodes, and takes the tag away
    turn = UPRIGHT.get(_orientation(image))
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        pixels = to_bytes(np.asarray(image))
        if getattr(image, "tag_v2", {}).get(TIFF_PHOTOMETRIC) == 0:
            pixels = 255 - pixels  # white is zero, which Pillow heeds only up to 8 bits
        return pixels if turn is None else np.asarray(Image.fromarray(pixels).transpose(turn))
    try:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    except ValueError as error:
        raise ImageError(f"colours of kind {image.mode} cannot be read", cure="save it as RGB") from error
    return np.asarray(image if turn is None else image.transpose(turn))


def _checked(image: Any) -> NDArray[Any]:
    if not isinstance(image, np.ndarray) or image.dtype.kind not in "buif":
        kind = f"an array of {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UsageError(f"{kind} is not a picture", cure="pass a path, a Pillow image or an array of numbers")
    if image.size == 0 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4))):
        raise UsageError(f"an array of shape {image.shape} is not a picture", cure="pass (H, W) or (H, W, 3)")
    return image


def _gray_step(image: Image.Image) -> int:
    """By what Pillow multiplies gray pixels of 2 or 4 bits, to fill a byte."""
    tiles = getattr(image, "tile", None)
    layout = tiles[0].args if tiles else None
    raw = layout[0] if isinstance(layout, tuple) and layout else layout
    return {"L;2": 85, "L;4": 17}.get(str(raw), 1)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or it makes no sense."""
    try:
        value = image.getexif().get(EXIF_ORIENTATION, 1)
    except (SyntaxError, ValueError, TypeError, IndexError, struct.error):  # damaged EXIF, maybe over sound pixels
        return 1
    return value if value in UPRIGHT else 1


def _png_has_metadata(path: Path) -> bool:
    """Whether a PNG file has a chunk, before or after its pixels, that can carry EXIF or XMP."""
    with path.open("rb") as file:
        file.seek(8)  # the signature
        while len(header := file.read(8)) == 8:
            if header[4:] in (b"eXIf", b"iTXt", b"tEXt", b"zTXt"):
                return True
            file.seek(int.from_bytes(header[:4], "big") + 4, os.SEEK_CUR)  # the content and its checksum
    return False


@contextmanager
def _opened(path: Path_) -> Iterator[Image.Image]:
    """The open file with its header checked; whatever goes wrong inside becomes an `ImageError` that names it."""
    _check_file(Path(path))
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]  # not every build of Pillow has all
    try:
        with without_warnings(), Image.open(path, formats=formats) as image:
            _check_header(image)
            yield image
    except ImageError as error:
        raise ImageError(error.what, where=path, cure=error.cure) from error
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except UnidentifiedImageError as error:
        cure = f"give one of {', '.join(FORMATS)}"
        raise ImageError("not a picture in a known format", where=path, cure=cure) from error
    except MemoryError as error:
        raise ImageError("the picture does not fit into memory", where=path, cure="scale it down") from error
    except Exception as error:  # damaged files make Pillow's decoders raise errors of nearly every class
        raise ImageError(f"the picture is damaged ({error})", where=path, cure="copy it again") from error


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise ImageError("a folder, not a picture", where=path, cure="name the pictures inside it")
        if not path.exists():
            raise ImageError("no such file", where=path, cure="check the path")
        if not path.is_file():
            raise ImageError("not a regular file", where=path, cure="save the picture to a file first")
        if path.stat().st_size == 0:
            raise ImageError("the file is empty", where=path, cure="copy it again")
    except (OSError, ValueError) as error:  # a name that is too long, or holds a zero byte
        raise ImageError(f"no such file ({error})", where=repr(str(path)[:80]), cure="check the path") from error


def _check_header(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(None)
    if image.format != "MPO" and getattr(image, "is_animated", False):  # MPO: a photo with previews or a second lens
        raise ImageError("holds several frames", cure="save one of them as PNG, or pass all as a video file")


def _too_large(path: Path_ | None) -> ImageError:
    return ImageError(f"more than {MAX_PIXELS:,} pixels", where=path, cure="scale it down or cut it into tiles")
