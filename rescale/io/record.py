"""Record of an LR image: a few hundred bytes of JSON in the image's own metadata, by which it can be restored.

A record is hostile input: at most 4 KB, a strict schema, and it may only name a model id and a size that fits.
It stands in the XMP, which converters keep, and in a PNG also in a text chunk.
"""

import hashlib
import html
import re
from dataclasses import replace
from typing import Annotated, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rescale.errors import RecordError, first_problem
from rescale.io import xmp
from rescale.io.formats import FORMATS
from rescale.io.images import Picture, Pixels

KEY = "rescale"
_LIMIT_BYTES = 4096
_NAME = r"^\w[\w .+()-]{0,63}$"  # of a model or of a weight file, never a path or an address
_IN_XMP = re.compile(rb"""rescale:record(?:\s*=\s*(?:"([^"]*)"|'([^']*)')|>([^<]*)</rescale:record>)""")
_DESCRIPTION = '<rdf:Description rdf:about="" xmlns:rescale="urn:rescale:1.0" rescale:record="{}"/>'
# As other programs rewrite it: an attribute or an element among their own.
_REWRITTEN = re.compile(rb"""rescale:record\s*=\s*(?:"[^"]*"|'[^']*')|<rescale:record>[^<]*</rescale:record>""")
Schema = TypeVar("Schema", bound=BaseModel)
Side = Annotated[int, Field(ge=1, le=2**31)]


class Record(BaseModel):
    """Contents of a record: all that `up` needs; unknown further fields are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    version: Annotated[int, Field(ge=1, le=1)]
    model: str = Field(pattern=_NAME)
    """Model id, or the name of a weight file without its folder and suffix."""
    weights: str = Field(pattern=r"^[0-9a-f]{16}$")
    """First 16 hex digits of the SHA-256 of the weight file."""
    size: tuple[Side, Side]
    """Height and width of the original."""
    small: tuple[Side, Side] | None = None
    """Height and width of the LR image; records of rescale 0.1 leave it out."""
    refined: str = Field("", pattern=r"^[\w.+, ]{0,48}$")
    """How the LR image was refined, in a user's words; empty if it was not."""
    depth: Literal[8, 16] = 8
    grey: bool = False
    alpha: bool = False
    pixels: str = Field(pattern=r"^[0-9a-f]{16}$")
    """Digest of the LR image's pixels, see `digest`."""

    @classmethod
    def parse(cls, text: str | bytes) -> "Record":
        """Parse a record. Raises: RecordError, see `parsed`."""
        return parsed(cls, text)


def parsed(schema: type[Schema], text: str | bytes) -> Schema:
    """Parse JSON by a schema. Raises: RecordError for what is too long, damaged, or written by a newer version."""
    raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
    if len(raw) > _LIMIT_BYTES:
        raise RecordError(f"the record is damaged: expected at most {_LIMIT_BYTES} bytes, got {len(raw)}")
    try:
        return schema.model_validate_json(raw)
    except ValidationError as error:
        if is_newer(error):
            raise RecordError("the record was written by a newer rescale; update this one") from error
        key, problem = first_problem(error)
        raise RecordError(f"the record is damaged: {key or 'its JSON'}: {problem['msg']}") from error


def is_newer(error: ValidationError) -> bool:
    """Tell whether a schema refuses something for its `version`, which only a newer release writes."""
    key, problem = first_problem(error)
    return key == "version" and problem["type"] == "less_than_equal"


def digest(picture: Picture) -> str:
    """Digest of the pixels: 16 hex digits over size, depth and every sample, the same in any lossless format.

    Some formats store grey as RGB and leave out an alpha that is opaque, so neither makes a difference.
    """
    total = hashlib.sha256(f"{picture.size} {picture.depth}".encode())
    total.update(_little_endian(picture.pixels.repeat(3 if picture.is_grey else 1, axis=2)))
    if not is_opaque(picture):
        assert picture.alpha is not None
        total.update(_little_endian(picture.alpha))
    return total.hexdigest()[:16]


def is_opaque(picture: Picture) -> bool:
    """Tell whether nothing shows through, with or without an alpha plane that says so."""
    return picture.alpha is None or bool((picture.alpha == np.iinfo(picture.alpha.dtype).max).all())


def _little_endian(samples: Pixels) -> bytes:
    return samples.astype(samples.dtype.newbyteorder("<"), copy=False).tobytes()


def embed(picture: Picture, record: Record, format: str) -> Picture:
    """Put a record into an image, where this format keeps it: in XMP, which converters keep, and as text."""
    picture = strip(picture)
    text = record.model_dump_json()
    has_text = FORMATS[format].has_text
    described = _DESCRIPTION.format(html.escape(text)).encode()
    packet, notes = xmp.added(picture.xmp or xmp.EMPTY, described), picture.notes
    if packet is None and has_text:  # the text is enough
        packet = picture.xmp
    elif packet is None:
        packet = xmp.added(xmp.EMPTY, described)
        notes = (*notes, "its XMP gave way to the record, as it was no XMP that can be added to")
    texts = (*picture.text, (KEY, text)) if has_text else picture.text
    return replace(picture, xmp=packet, text=texts, notes=notes)


def extract(picture: Picture) -> Record | None:
    """Read the record of an image, or None: the opposite of `embed`. Raises: RecordError if it is damaged."""
    text = find(picture)
    return None if text is None else Record.parse(text)


def find(picture: Picture) -> str | None:
    """Find the text of an image's record, as it stands."""
    for key, value in picture.text:
        if key == KEY:
            return value
    found = _IN_XMP.search(picture.xmp or b"")
    return html.unescape(found[found.lastindex or 0].decode("utf-8", "replace")) if found else None


def strip(picture: Picture) -> Picture:
    """Remove any record from an image; its other metadata stay."""
    text = tuple(item for item in picture.text if item[0] != KEY)
    packet = _REWRITTEN.sub(b"", xmp.RECORD.sub(b"", picture.xmp)) if picture.xmp else picture.xmp
    return replace(picture, text=text, xmp=None if packet == xmp.EMPTY else packet)
