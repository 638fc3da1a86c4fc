"""Images become rows: a folder or zip of class folders, or of images and a table of labels."""

from __future__ import annotations

from functools import partial

from tltools.formats import Format, _collection, _picture

_KIND = _collection.Kind(
    column="image",
    word="image",
    endings=_picture.ALL_IMAGES,
    facts=("width", "height"),
    how="Put one folder of images per class (ants/1.jpg, bees/2.jpg), or images and a CSV with their names and labels.",
    decode=_picture.decode,
)
recognise = partial(_collection.recognise, kind=_KIND)
read = partial(_collection.read, kind=_KIND)

IMAGES = Format(
    key="images",
    title="Images in class folders, or with a table of labels",
    extensions=(".zip",),
    recognise=recognise,
    read=read,
    order=20,
)
