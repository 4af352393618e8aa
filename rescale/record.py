"""What an LR picture says about itself: a few hundred bytes of JSON in the picture's own metadata.

A record is hostile input: at most 4 KB, a strict schema, and it may only name a model id and a size that fits.
PNG carries it as a text chunk, the other formats inside their XMP.
"""

import hashlib
import html
import re
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rescale.errors import RecordError
from rescale.images import Picture

KEY = "rescale"
_LIMIT_BYTES = 4096
_ID = r"^[a-z0-9][a-z0-9._-]{0,63}$"
_IN_XMP = re.compile(rb'rescale:record="([^"]{0,8192})"')
_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    "</rdf:RDF></x:xmpmeta>"
)
_DESCRIPTION = '<rdf:Description rdf:about="" xmlns:rescale="urn:rescale:1.0" rescale:record="{}"/>'
_OURS = re.compile(rb'<rdf:Description rdf:about="" xmlns:rescale="urn:rescale:1.0" rescale:record="[^"]*"/>')


class Record(BaseModel):
    """All that `up` needs to know; unknown further fields are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    version: Literal[1] = 1
    model: str = Field(pattern=_ID)
    """Model id."""
    weights: str = Field(pattern=r"^[0-9a-f]{16}$")
    """First half of the first half of the SHA-256 of the weight file."""
    size: tuple[int, int]
    """Height and width of the original."""
    depth: Literal[8, 16] = 8
    grey: bool = False
    alpha: bool = False
    pixels: str = Field(pattern=r"^[0-9a-f]{16}$")
    """Digest of the LR pixels, see `digest`."""

    @classmethod
    def parse(cls, text: str | bytes) -> "Record":
        """Raises: RecordError for what is too long, damaged, or written by a newer version."""
        raw = text.encode() if isinstance(text, str) else text
        if len(raw) > _LIMIT_BYTES:
            raise RecordError(f"the record is damaged: expected at most {_LIMIT_BYTES} bytes, got {len(raw)}")
        try:
            record = cls.model_validate_json(raw)
        except ValidationError as error:
            problem = error.errors()[0]
            if problem["loc"] == ("version",) and isinstance(problem["input"], int):
                raise RecordError(
                    f"the record has version {problem['input']}, this rescale knows 1; update it"
                ) from error
            where = ".".join(str(part) for part in problem["loc"]) or "its JSON"
            raise RecordError(f"the record is damaged: {where}: {problem['msg']}") from error
        if min(record.size) < 1:
            raise RecordError(f"the record is damaged: expected a size of at least 1x1, got {record.size}")
        return record


def digest(picture: Picture) -> str:
    """16 hex digits over size, depth and every sample; grey counts as RGB, as some formats store it so."""
    total = hashlib.sha256(f"{picture.size} {picture.depth}".encode())
    total.update(picture.pixels.repeat(3 if picture.is_grey else 1, axis=2).tobytes())
    if picture.alpha is not None:
        total.update(picture.alpha.tobytes())
    return total.hexdigest()[:16]


def embed(picture: Picture, record: Record, format: str) -> Picture:
    """The picture carrying a record where this format keeps such things."""
    picture = strip(picture)
    text = record.model_dump_json()
    if format == "PNG":
        return replace(picture, text=(*picture.text, (KEY, text)))
    xmp = picture.xmp if picture.xmp and b"</rdf:RDF>" in picture.xmp else _XMP.encode()
    before, mark, after = xmp.rpartition(b"</rdf:RDF>")
    return replace(picture, xmp=before + _DESCRIPTION.format(html.escape(text)).encode() + mark + after)


def extract(picture: Picture) -> Record | None:
    """The record that a picture carries, or None: the opposite of `embed`. Raises: RecordError if it is damaged."""
    for key, value in picture.text:
        if key == KEY:
            return Record.parse(value)
    found = _IN_XMP.search(picture.xmp or b"")
    return Record.parse(html.unescape(found[1].decode("utf-8", "replace"))) if found else None


def strip(picture: Picture) -> Picture:
    """The picture without any record, its other metadata as before."""
    xmp = _OURS.sub(b"", picture.xmp) if picture.xmp else None
    text = tuple(item for item in picture.text if item[0] != KEY)
    return replace(picture, text=text, xmp=None if xmp == _XMP.encode() else xmp)
