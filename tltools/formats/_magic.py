"""What a file really is, by its first bytes: names for people, and what to do when it is not what was expected."""

from __future__ import annotations

import zlib
from pathlib import Path

_IMAGES = "Put images into one folder per class and add the folder or a zip of it."
_PHONE = "Save it as JPEG (on an iPhone: Settings, Camera, Formats, Most Compatible)."
_WINDOW = "Save it as TIFF or PNG, all images with one window (Fiji: Image, Adjust, Window/Level)."
_PLANES = "Export its planes as TIFF or PNG, all scaled alike (Fiji: File, Import, Bio-Formats)."
_SLICES = "Save the slices to be judged as TIFF or PNG, all scaled alike (nibabel.load(FILE).get_fdata()[:, :, SLICE])."
# (offset, bytes, what it is, how to make it readable)
_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89PNG\r\n", "a PNG image", _IMAGES),
    (0, b"\xff\xd8\xff", "a JPEG image", _IMAGES),
    (8, b"WEBP", "a WebP image", _IMAGES),
    (0, b"GIF8", "a GIF image", "Save it as PNG or JPEG."),
    (0, b"BM", "a BMP image", _IMAGES),
    (0, b"II*\x00", "a TIFF image", _IMAGES),
    (0, b"MM\x00*", "a TIFF image", _IMAGES),
    (0, b"II+\x00", "a TIFF image", _IMAGES),
    (0, b"MM\x00+", "a TIFF image", _IMAGES),
    (4, b"jP  \r\n", "a JPEG 2000 image", "Save it as PNG or TIFF."),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image", "Save it as PNG or TIFF."),
    (128, b"DICM", "a DICOM image", _WINDOW),
    (344, b"n+1\x00", "a NIfTI image", _SLICES),
    (344, b"ni1\x00", "a NIfTI image", _SLICES),
    (0, b"ZISRAWFILE", "a CZI image of a microscope", _PLANES),
    (0, b"\xda\xce\xbe\x0a", "an ND2 image of a microscope", _PLANES),
    (4, b"ftypheic", "a HEIC image", _PHONE),
    (4, b"ftypheix", "a HEIC image", _PHONE),
    (4, b"ftypmif1", "a HEIF image", _PHONE),
    (4, b"ftypavif", "an AVIF image", "Save it as PNG or JPEG."),
    (4, b"ftypM4A", "an M4A sound", "Save it as WAV or FLAC."),
    (4, b"ftyp", "a video", "Videos are not read; extract frames as JPEG into one folder per class."),
    (8, b"WAVEfmt", "a WAV sound", "Put sounds into one folder per class and add the folder or a zip of it."),
    (0, b"fLaC", "a FLAC sound", "Put sounds into one folder per class and add the folder or a zip of it."),
    (0, b"OggS", "an OGG sound", "Put sounds into one folder per class and add the folder or a zip of it."),
    (0, b"ID3", "an MP3 sound", "Put sounds into one folder per class and add the folder or a zip of it."),
    (30, b"mimetypeapplication/vnd.oasis", "an OpenDocument file", "Save the sheet as .xlsx or CSV."),
    (0, b"PK\x03\x04", "a zip archive", "Give it its own ending (.zip, .xlsx) and add it again."),
    (0, b"PK\x05\x06", "an empty zip archive", "Put files into it and add it again."),
    (0, b"\x1f\x8b", "a gzip archive", "Unpack it and add the file inside."),
    (0, b"7z\xbc\xaf", "a 7-Zip archive", "Unpack it and add the folder, or a zip of it."),
    (0, b"Rar!", "a RAR archive", "Unpack it and add the folder, or a zip of it."),
    (0, b"BZh", "a bzip2 archive", "Unpack it and add the file inside."),
    (0, b"\xfd7zXZ", "an xz archive", "Unpack it and add the file inside."),
    (257, b"ustar", "a tar archive", "Unpack it and add the folder, or a zip of it."),
    (0, b"%PDF", "a PDF document", "Export the table in it as CSV."),
    (0, b"PAR1", "a Parquet file", "Give it the ending .parquet and add it again."),
    (0, b"ARROW1", "an Arrow file", "Save it as Parquet: df.to_parquet('data.parquet')."),
    (
        0,
        b"\x89HDF",
        "an HDF5 file",
        "Save the table as CSV or Parquet: pandas.read_hdf(...).to_parquet('data.parquet').",
    ),
    (0, b"\x93NUMPY", "a NumPy array", "Save it as CSV: numpy.savetxt('data.csv', array, delimiter=',')."),
    (0, b"SQLite format 3", "an SQLite database", "Export the table as CSV."),
    (0, b"\xd0\xcf\x11\xe0", "an old Office file (.xls or .doc)", "Save the sheet as .xlsx or CSV."),
    (0, b"\x80\x02", "a Python pickle", "Pickles can run code and are never opened; save the table as CSV or Parquet."),
    (0, b"\x80\x03", "a Python pickle", "Pickles can run code and are never opened; save the table as CSV or Parquet."),
    (0, b"\x80\x04", "a Python pickle", "Pickles can run code and are never opened; save the table as CSV or Parquet."),
    (0, b"\x80\x05", "a Python pickle", "Pickles can run code and are never opened; save the table as CSV or Parquet."),
    (0, b"\x7fELF", "a program", "Add a table, a folder of images, or a zip."),
    (0, b"MZ", "a Windows program", "Add a table, a folder of images, or a zip."),
)


def head_of(path: Path, count: int = 65_536) -> bytes:
    """Returns the first bytes of a file."""
    with path.open("rb") as file:
        return file.read(count)


def looks_like(head: bytes) -> tuple[str, str] | None:
    """Returns (what the bytes are, what to do) where the signature is known, else None."""
    if head[:2] == b"\x1f\x8b" and _unpacked(head)[344:348] in (b"n+1\x00", b"ni1\x00"):
        return "a NIfTI image", _SLICES
    for offset, signature, what, remedy in _SIGNATURES:
        # two letters are no proof: a text may begin with "BM" or "MZ"
        proof = len(signature) > 2 or not _reads_as_text(head[:512])
        if proof and head[offset : offset + len(signature)] == signature:
            return what, remedy
    lower = head[:512].lstrip().lower()
    if lower.startswith((b"<!doctype html", b"<html")):
        return "a web page", "Download the file itself, not the page about it."
    if b"<svg" in lower:
        return "an SVG drawing", "Save it as PNG."
    return None


def _unpacked(head: bytes) -> bytes:
    """The first 512 bytes of what a gzip file holds; none of a damaged one."""
    try:
        return zlib.decompressobj(31).decompress(head, 512)
    except zlib.error:
        return b""


def _reads_as_text(head: bytes) -> bool:
    return not any(byte < 9 or 13 < byte < 32 for byte in head)


def share_of_controls(text: str) -> float:
    """Returns the share of control characters, which text files do not have."""
    if not text:
        return 0.0
    return sum(char < " " and char not in "\t\n\r\f\v\x1c\x1d\x1e\x1f" or char == "\x7f" for char in text) / len(text)
