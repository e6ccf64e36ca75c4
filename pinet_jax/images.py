"""Picture files -> upright uint8 RGB arrays.

JPEGs are decoded by OpenCV, whose pixels the reference's networks were trained on and whose poses
the golden figures hold; everything else by Pillow. Both take the EXIF orientation from here, so
that a header's size and the decoded picture never disagree.

Legend for shapes: H rows, W columns of the upright picture.
"""

from __future__ import annotations

import functools
import io
import logging
import threading
import warnings
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from pinet_jax.errors import InputError

# Formats of pixels alone: Pillow would also run a PostScript interpreter on a file that asks.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO")


# Header reading sets Python's warning filters, which all threads share.
_warnings_lock = threading.Lock()

_DARK = 2**14  # 16-bit pixels below it use no more than 14 bits: thermal and depth cameras' files


def read_image(path: str | Path, *, ignore_orientation: bool = False) -> np.ndarray:
    """Reads any picture file.

    Transparency is laid over white, 16-bit grey is scaled to 8 bits (with a warning where it uses a
    quarter of them or less), an animation gives its first frame. Colour profiles are not applied,
    as the reference does not.

    Args:
        path: the file.
        ignore_orientation: leave the pixels as stored, for datasets whose annotations do so.

    Returns:
        uint8 [H, W, 3], RGB, upright.

    Raises:
        InputError: there is no such file, or it is no picture, damaged, or too large.
    """
    path = _checked_file(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return decode_image(data, str(path), ignore_orientation=ignore_orientation)


def decode_image(data: bytes, name: str, *, ignore_orientation: bool = False) -> np.ndarray:
    """Decodes a picture file's bytes; `read_image` says how.

    Args:
        data: the whole file.
        name: what error messages call it.
        ignore_orientation: leave the pixels as stored.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        InputError: it is no picture, damaged, or too large.
    """
    picture, orientation = _open(io.BytesIO(data), name)
    with picture:
        if picture.format in ("JPEG", "MPO"):  # MPO: a JPEG with more pictures behind it
            pixels = _decode_jpeg(data, name)
        else:
            pixels = _decode_with_pillow(picture, name)
            if picture.format == "TIFF":  # its decoder has turned it
                pixels = _stored(pixels, orientation)
    return pixels if ignore_orientation else np.ascontiguousarray(_upright(pixels, orientation))


def pixels_of(picture: Image.Image, name: str = "picture") -> np.ndarray:
    """The pixels that `read_image` would return of a picture that Pillow has opened.

    (Of a JPEG, as Pillow decodes it; a level may differ.)

    Args:
        picture: Pillow's; not changed.
        name: what error messages call it.

    Returns:
        uint8 [H, W, 3], RGB, upright.

    Raises:
        InputError: it is damaged.
    """
    pixels = _decode_with_pillow(picture, name)
    return np.ascontiguousarray(_upright(pixels, _orientation(picture)))


def check_image(path: str | Path) -> None:
    """Finds out whether a picture is whole; of a JPEG, an eighth of its size is computed.

    Raises:
        InputError: `read_image` says when; a JPEG that ends too early is also refused.
    """
    picture, _ = _open(_checked_file(path), str(path))
    with picture:
        if picture.format not in ("JPEG", "MPO"):
            _decode_with_pillow(picture, str(path))
            return
        try:
            picture.draft("RGB", (1, 1))
            picture.load()
        except Exception as error:  # decoders of foreign bytes raise anything
            raise InputError(f"{path}: a damaged picture ({_one_line(error)})") from error


class Header(NamedTuple):
    """What a picture's file says before its pixels.

    Attributes:
        stored: height and width of the stored pixels.
        orientation: EXIF's, 1 to 8; 1 is upright.
    """

    stored: tuple[int, int]
    orientation: int

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width once it is turned as EXIF says."""
        return self.stored[::-1] if self.orientation >= 5 else self.stored


def read_header(path: str | Path) -> Header:
    """Reads a picture's header.

    Raises:
        InputError: there is no such file, or its header is no picture's.
    """
    picture, orientation = _open(_checked_file(path), str(path))
    with picture:
        return header_of(picture, orientation)


def header_of(picture: Image.Image, orientation: int | None = None) -> Header:
    """Of a picture that Pillow has opened, and its orientation, if known; nothing is decoded."""
    orientation = _orientation(picture) if orientation is None else orientation
    width, height = picture.size
    turned = picture.format == "TIFF" and orientation >= 5  # Pillow has exchanged the two
    return Header((width, height) if turned else (height, width), orientation)


def image_size(path: str | Path, *, ignore_orientation: bool = False) -> tuple[int, int]:
    """The (H, W) that `read_image` would return, from the file's header alone.

    Raises:
        InputError: there is no such file, or its header is no picture's.
    """
    header = read_header(path)
    return header.stored if ignore_orientation else header.upright


def is_plain(data: bytes) -> bool:
    """Whether any decoder gives a file's stored pixels as `decode_image` does.

    So are JPEGs, and PNGs of 8-bit grey or RGB without transparency.
    """
    if data[:2] == b"\xff\xd8":
        return True
    depth_and_kind = data[24:26]  # of the header chunk, which is a PNG's first
    plain = data[:8] == b"\x89PNG\r\n\x1a\n" and depth_and_kind in (b"\x08\x00", b"\x08\x02")
    return plain and b"tRNS" not in data[: max(data.find(b"IDAT"), 0)]


def _checked_file(path: str | Path) -> Path:
    """Refuses what is no file; reading a pipe or a device could wait for ever."""
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"{path}: a folder, not a picture")
        if not path.exists():
            address = str(path).startswith(("http:/", "https:/"))
            what = "a web address; fetch the file first" if address else "no such file"
            raise InputError(f"{path}: {what}")
        if not path.is_file():
            raise InputError(f"{path}: not a regular file")
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty")
    except OSError as error:  # a name too long, a folder that may not be entered
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return path


def _open(source: Path | BinaryIO, name: str) -> tuple[Image.Image, int]:
    """Reads a header: Pillow's picture, not decoded yet, and its EXIF orientation, 1 to 8."""
    # Pillow's warnings (a large picture, a strange tag) would be noise: what matters raises.
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            picture = Image.open(source, formats=FORMATS)
        except Image.UnidentifiedImageError as error:
            what = "not a picture (JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, JPEG 2000, AVIF or ICO)"
            what = "a HEIC picture; convert it to JPEG" if _is_heic(source) else what
            raise InputError(f"{name}: {what}") from error
        except Image.DecompressionBombError as error:
            limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
            raise InputError(
                f"{name}: more than {limit:.0f} megapixels; make it smaller first"
            ) from error
        except Exception as error:  # parsers of foreign bytes raise anything
            raise InputError(f"{name}: not a readable picture ({_one_line(error)})") from error
        return picture, _orientation(picture)


def _is_heic(source: Path | BinaryIO) -> bool:
    """Whether a file begins as phones' HEIC pictures do, whatever its name."""
    with source.open("rb") if isinstance(source, Path) else source as file:
        file.seek(4)
        return file.read(8) in (b"ftypheic", b"ftypheix", b"ftypmif1")


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation in what was read with the header; 1, upright, where there is none."""
    exif = Image.Exif()
    try:
        if isinstance(picture, TiffImagePlugin.TiffImageFile):
            value = picture.tag_v2.get(ExifTags.Base.Orientation, 1)
        else:
            exif.load(picture.info.get("exif", b""))
            value = exif.get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF does not hurt the pixels
        return 1
    return value if value in range(1, 9) else 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes an EXIF orientation: 5 to 8 are transposed, then rows or columns are reversed."""
    return _reversed(pixels.swapaxes(0, 1) if orientation >= 5 else pixels, orientation)


def _stored(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The inverse of `_upright`."""
    pixels = _reversed(pixels, orientation)
    return np.ascontiguousarray(pixels.swapaxes(0, 1) if orientation >= 5 else pixels)


def _reversed(pixels: np.ndarray, orientation: int) -> np.ndarray:
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return pixels[::rows, ::columns]


def _decode_jpeg(data: bytes, name: str) -> np.ndarray:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise InputError(f"{name}: a damaged picture ({_one_line(error)})") from error
    if pixels is None:
        raise InputError(f"{name}: a truncated or damaged JPEG; get the file anew")
    return pixels


def _decode_with_pillow(picture: Image.Image, name: str) -> np.ndarray:
    wide = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PPM")
    if picture.mode in ("I", "F") and not wide:
        raise InputError(f"{name}: 32-bit pixels have no agreed white; save it with 8 or 16")
    try:
        picture.load()
        if wide:
            grey = np.asarray(picture)
            if 255 < grey.max() < _DARK:
                _warn_of_dark_pixels(name, int(grey.min()), int(grey.max()))
            return _from_16_bit(grey)
        picture = picture.convert("LA") if picture.mode == "La" else picture
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            white = Image.new("RGBA", picture.size, "white")
            picture = Image.alpha_composite(white, picture)
        return np.array(picture.convert("RGB"))
    except Exception as error:  # decoders of foreign bytes raise anything
        raise InputError(f"{name}: a damaged picture ({_one_line(error)})") from error


def _from_16_bit(grey: np.ndarray) -> np.ndarray:
    """uint16 (or wider) [H, W] of 0..65535 -> uint8 [H, W, 3]; Pillow's own conversion clips."""
    grey = np.rint(grey / 257).astype(np.uint8)  # 65535 / 257 = 255
    return np.repeat(grey[:, :, None], 3, axis=2)


@functools.cache  # a file may be read several times
def _warn_of_dark_pixels(name: str, low: int, high: int) -> None:
    logging.getLogger(__name__).warning(
        "%s: 16-bit pixels of %d to %d become %d to %d of 255; stretch them to 0..65535 first",
        name, low, high, round(low / 257), round(high / 257),
    )  # fmt: skip


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
