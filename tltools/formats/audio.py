"""Sounds become rows: a folder or zip of class folders with clips, or of clips and a table of labels."""

from __future__ import annotations

from functools import partial

from tltools.formats import Format, _collection, _sound

_KIND = _collection.Kind(
    column="audio",
    word="sound",
    endings=_sound.ALL_SOUNDS,
    facts=("seconds", "rate", "level"),
    how="Put one folder of sounds per class (dog/1.wav, cat/2.wav), or sounds and a CSV with their names and labels.",
    decode=_sound.decode,
)
recognise = partial(_collection.recognise, kind=_KIND)
read = partial(_collection.read, kind=_KIND)

AUDIO = Format(
    key="audio",
    title="Sounds in class folders, or with a table of labels",
    extensions=(".zip",),
    recognise=recognise,
    read=read,
    order=30,
)
