"""One image from a stranger: judged by its header, decoded, made upright RGB, stored under a name of its pixels."""

from __future__ import annotations

import hashlib
import io
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltools import pictures
from tltools.formats import Limits
from tltools.formats._collection import Decoded, NotTaken
from tltools.formats._magic import looks_like

if TYPE_CHECKING:
    from PIL import Image

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".ppm", ".pgm")
ALL_IMAGES = (
    *EXTENSIONS, ".jfif", ".pnm", ".heic", ".heif", ".avif", ".svg", ".ico", ".jp2", ".j2k", ".dcm", ".dicom", ".nii",
    ".nii.gz", ".czi", ".nd2",
)  # fmt: skip
LONGEST = 768  # pixels that are kept of the longer side: more than any backbone here reads
SMALLEST = 6  # pixels of the shorter side; less shows nothing
_READ = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM")
_MUST = "must be JPEG, PNG, WebP, TIFF, BMP or PPM"
# comments and what applications add, but how colours are meant (Adobe's 0xEE)
_NO_PICTURE = {0xFE, *range(0xE1, 0xEE), 0xEF}
_WITHIN = {b"\x00", *(bytes([code]) for code in range(0xD0, 0xD8))}
# what Pillow's decoders raise on damaged files
DAMAGED = (
    OSError, ValueError, SyntaxError, EOFError, struct.error, IndexError, TypeError, ZeroDivisionError, MemoryError,
    AttributeError, KeyError, OverflowError,
)  # fmt: skip


def decode(content: bytes, media: Path, limits: Limits) -> Decoded:
    """Decodes one image file and stores it below `media`.

    Raises:
        NotTaken: another format, damaged, too large or too small, with the reason.
    """
    from PIL import Image, UnidentifiedImageError

    most_pixels = limits.pixels
    if not content:
        raise NotTaken("the file is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(content), formats=_READ) as first:
            _judge_size(first.size, most_pixels)
            kind = first.format or ""
            first.verify()
        with Image.open(io.BytesIO(content), formats=_READ) as image:
            width, height = image.size
            remarks = _remarks(image)
            if image.mode == "RGB":
                image.draft("RGB", (2 * LONGEST, 2 * LONGEST))  # a JPEG is decoded smaller, which is much faster
            image.load()
            turn = image.getexif().get(0x0112, 1)
            whole = image.mode == "RGB" and image.size == (width, height)
            plain = _plain(image)
    except UnidentifiedImageError:
        raise NotTaken(_foreign(content)) from None
    except Image.DecompressionBombError:
        raise NotTaken(f"it has more than {most_pixels / 1e6:.0f} million pixels; make it smaller") from None
    except NotTaken:
        raise
    except DAMAGED as error:
        raise NotTaken(f"it is damaged and cannot be decoded ({str(error)[:80] or type(error).__name__})") from None
    if turn in range(2, 9):
        remarks.append("turned upright")
        width, height = (height, width) if turn >= 5 else (width, height)
    if max(plain.size) > LONGEST:
        plain.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS, reducing_gap=3.0)
        remarks.append("made smaller")
    untouched = whole and kind == "JPEG" and not remarks
    return Decoded(_store(plain, kind, media, _bare(content) if untouched else None), (width, height), tuple(remarks))


def _judge_size(size: tuple[int, int], most_pixels: int) -> None:
    width, height = size
    if width * height > most_pixels:
        what = f"it has {width} x {height} pixels; at most {most_pixels / 1e6:.0f} million are read, make it smaller"
        raise NotTaken(what)
    if min(size) < SMALLEST:
        raise NotTaken(f"it has {width} x {height} pixels; at least {SMALLEST} x {SMALLEST} are needed")


def _remarks(image: Image.Image) -> list[str]:
    remarks = []
    if getattr(image, "is_animated", False) and image.format != "MPO":
        remarks.append(
            "of several pages or sizes: the first was taken"
            if image.format == "TIFF"
            else "animated: the first picture was taken"
        )
    bands, taken = getattr(image, "tag_v2", {}).get(277, 0), len(image.getbands())
    if bands > taken:
        remarks.append(f"with {bands} bands: the first {taken} were taken")
    if image.mode in ("CMYK", "YCCK"):
        remarks.append("CMYK turned into RGB")
    elif image.mode[0] in "IF":
        remarks.append("of 16 bits or decimals a channel turned into 8 bits")
    elif image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        remarks.append("transparency laid on white")
    return remarks


def _plain(image: Image.Image) -> Image.Image:
    try:
        return pictures.plain(image)
    except ValueError as error:
        raise NotTaken(str(error)) from None


def _bare(content: bytes) -> bytes | None:
    """A JPEG file without what is no picture (places, names and thumbnails of cameras, comments, what follows its end),
    its pixels as they are; None where it is built in another way than the standard says (ITU-T T.81, annex B)."""
    kept, at = bytearray(content[:2]), 2
    while at + 2 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xD9:
            return bytes(kept + b"\xff\xd9")
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4])
        if marker == 0xDA:  # its data go on to the next marker; FF00 is a byte of theirs, FFD0 to FFD7 part them
            while (end := content.find(b"\xff", end)) >= 0 and content[end + 1 : end + 2] in _WITHIN:
                end += 2
        if end < at + 4:
            return None
        if marker not in _NO_PICTURE:
            kept += content[at:end]
        at = end
    return None


def _store(image: Any, kind: str, media: Path, bare: bytes | None) -> str:
    """Stores JPEG photos as JPEG, `bare` where they are as they came, else at quality 95; all else without loss. Equal
    pixels get one name and one file."""
    seen = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
    lossy = kind == "JPEG" or (kind == "WEBP" and image.width * image.height > 65_536)
    name = f"{seen[:2]}/{seen[:32]}.{'jpg' if lossy else 'png'}"
    target = media / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        stored = io.BytesIO()
        if bare is not None:
            stored.write(bare)
        elif lossy:
            image.save(stored, "JPEG", quality=95, subsampling=0)
        else:
            image.save(stored, "PNG", compress_level=4)
        half = target.with_name(f".{target.name}.{id(stored)}")  # two threads may hold equal images
        half.write_bytes(stored.getvalue())
        half.replace(target)
    return name


def _foreign(content: bytes) -> str:
    found = looks_like(content[:65_536])
    if not found:
        return f"{_MUST}; its first bytes are those of no known image"
    what, remedy = found
    if what == "a TIFF image":
        return _other_tiff(content)
    picture = "image" in what or "drawing" in what
    return f"{_MUST}; it is {what}{'; ' + remedy[0].lower() + remedy[1:].rstrip('.') if picture else ''}"


def _other_tiff(content: bytes) -> str:
    """Why Pillow does not take a TIFF file, by its first directory."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    try:
        directory = ImageFileDirectory_v2(content[: 16 if 43 in content[2:4] else 8])
        file = io.BytesIO(content)
        file.seek(directory.next)
        directory.load(file)
        _ = directory[256]  # a picture has a width
        bands, bits = int(directory.get(277, 1)), int(directory.get(258, (1,))[0])
        held = "decimals" if directory.get(339, (1,))[0] == 3 else "whole numbers"
    except DAMAGED:
        return "it is damaged and cannot be decoded (its first directory is no picture's)"
    if bands == 1:
        read = "a TIFF of one band must hold 8 or 16 bits, or decimals of 32 bits"
        return f"{read}; this one holds {held} of {bits} bits, save it so"
    read = f"a TIFF of several bands must be RGB of 8 or 16 bits; this one holds {bands} bands, {held} of {bits} bits"
    how = "save three of them as RGB, scaled alike in all images"
    return f"{read}: {how} (gdal_translate -ot Byte -scale LOW HIGH 0 255 -b 4 -b 3 -b 2 IN OUT)"
