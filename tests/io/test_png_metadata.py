"""Texts of a PNG: all are kept, whatever their size, language and number; EXIF and XMP wherever they stand."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_images import chunk, facts_of, png, rich_exif

from rescale import load
from rescale.inference import files
from rescale.io import images, png_metadata
from rescale.io.images import Picture

KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20).filter(
    lambda key: key != "XML:com.adobe.xmp"
)
LATIN = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=30)


def with_chunks(*chunks: bytes) -> Picture:
    return images.decode(png(1, 1, 8, 0, b"\0\7", *chunks), "x")


def encoded(kind: bytes, key: str, value: str, language: str = "") -> bytes:
    head = key.encode("latin-1") + b"\0"
    if kind == b"tEXt":
        return chunk(kind, head + value.encode("latin-1"))
    if kind == b"zTXt":
        return chunk(kind, head + b"\0" + zlib.compress(value.encode("latin-1")))
    return chunk(b"iTXt", head + b"\1\0" + language.encode() + b"\0word\0" + zlib.compress(value.encode()))


@given(st.lists(st.tuples(st.sampled_from([b"tEXt", b"zTXt", b"iTXt"]), KEYS, LATIN), max_size=5))
def test_every_text_is_kept_in_its_place(texts):
    found = with_chunks(*(encoded(*text) for text in texts))
    assert found.text == tuple((key, value) for _, key, value in texts) and not found.notes
    again = images.decode(images.encode("PNG", found)[0], "x")
    assert again.text == found.text
    assert [getattr(v, "tkey", None) for _, v in again.text] == [getattr(v, "tkey", None) for _, v in found.text]


def test_languages_are_kept():
    texts = [encoded(b"iTXt", "Title", "Bild", "de"), encoded(b"iTXt", "Title", "Picture", "en")]
    data = images.encode("PNG", with_chunks(*texts))[0]
    assert b"Title\0\0\0de\0word\0Bild" in data and b"Title\0\0\0en\0word\0Picture" in data


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
def test_a_text_of_more_than_1_mib_goes_down_and_up(kind):
    rescaler, value = load("bicubic-x4", device="cpu"), "workflow " * 150_000
    data = png(8, 8, 8, 0, b"\0\1\2\3\4\5\6\7\x08" * 8, encoded(kind, "workflow", value))
    small = files.downscale_bytes(rescaler, data, "x", "PNG")
    restored = images.decode(files.upscale_bytes(small.data, "x", "PNG").data, "x")
    assert restored.text == (("workflow", value),) and not small.notes


def test_too_many_texts_are_counted():
    found = with_chunks(*(encoded(b"tEXt", f"k{n}", "x" * 1_000_000) for n in range(40)))
    assert len(found.text) == 33 and found.notes == ("x: not kept: 7 texts beyond 33,554,432 bytes",)


@pytest.mark.parametrize(
    ("body", "kind"), [(b"no separator", b"tEXt"), (b"key\0\0broken", b"zTXt"), (b"key\0\1\0\0\0broken", b"iTXt")]
)
def test_a_damaged_text_costs_itself_only(body, kind):
    found = with_chunks(chunk(kind, body), encoded(b"tEXt", "Author", "Ann"))
    assert found.text == (("Author", "Ann"),) and "damaged" in found.notes[0]


def raw_profile(name: str, content: bytes) -> bytes:
    return encoded(b"zTXt", f"Raw profile type {name}", f"\n{name}\n{len(content):8}\n{content.hex()}\n")


@pytest.mark.parametrize("name", ["exif", "APP1"])
def test_exif_is_found_where_imagemagick_puts_it(name):
    found = with_chunks(raw_profile(name, rich_exif(turn=3)))
    assert facts_of(found.exif) == facts_of(rich_exif()) and not found.text
    assert with_chunks(raw_profile(name, rich_exif()), chunk(b"eXIf", b"II*\0\x08\0\0\0\0\0")).exif is None


def test_xmp_is_found_where_imagemagick_puts_it():
    assert with_chunks(raw_profile("xmp", b"<x/>")).xmp == b"<x/>"
    app1 = b"http://ns.adobe.com/xap/1.0/\0<y/>"
    assert with_chunks(raw_profile("APP1", app1)).xmp == b"<y/>"


def test_a_raw_profile_of_another_kind_or_broken_stays_text():
    assert with_chunks(raw_profile("iptc", b"abc")).text[0][0] == "Raw profile type iptc"
    assert with_chunks(encoded(b"tEXt", "Raw profile type exif", "\nexif\n 3\nxyz")).text


def test_xmp_of_any_size_is_kept():
    body = b"<x>" + b"y" * 2_000_000 + b"</x>"
    found = with_chunks(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(body)))
    assert found.xmp == body and not found.notes


def test_resolution_without_a_unit_is_none():
    for unit, dpi in ((0, None), (1, 72.009)):
        found = png_metadata.read([(b"pHYs", struct.pack(">IIB", 2835, 2835, unit))])
        assert found.dpi is None if dpi is None else np.allclose(found.dpi, dpi)
