"""What a small picture says about itself: every carrier gives it back, and no hostile text does more than raise."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescale.errors import RecordError
from rescale.io import images, record
from rescale.io.images import Picture
from rescale.io.record import Record

GOOD = {"version": 1, "model": "irn-x4", "weights": "0" * 16, "size": [9, 13], "pixels": "f" * 16}
RECORD = Record(version=1, model="irn-x4", weights="0" * 16, size=(9, 13), pixels="f" * 16)
CARRIERS = ["PNG", "WEBP", "AVIF", "JXL", "TIFF", "JPEG"]
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><a>1 < 2</a></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'


def parse(**changes) -> Record:
    return Record.parse(json.dumps({**GOOD, **changes}))


def xmp_with(body: str) -> Picture:
    return Picture(np.zeros((1, 1, 3), np.uint8), xmp=body.encode())


@pytest.mark.parametrize("format", CARRIERS)
@pytest.mark.parametrize("xmp", [None, XMP])
def test_every_carrier_gives_it_back(noise, format, xmp):
    picture = Picture(noise(9, 13, 3), xmp=xmp, text=(("Author", "me"),))
    data, _ = images.encode(format, record.embed(picture, RECORD, format))
    found = images.decode(data, format)
    assert record.extract(found) == RECORD
    assert record.strip(found).xmp == xmp


@pytest.mark.parametrize("format", CARRIERS)
@pytest.mark.parametrize("xmp", [None, b"", XMP])
def test_strip_is_the_opposite_of_embed(noise, format, xmp):
    picture = Picture(noise(2, 3, 1), xmp=xmp, text=(("Author", "me"),))
    back = record.strip(record.embed(record.embed(picture, RECORD, format), RECORD, format))
    assert replace(back, xmp=back.xmp or xmp) == picture
    assert record.extract(back) is None


@pytest.mark.parametrize("xmp", [None, XMP])
def test_a_png_holds_it_twice_and_either_is_enough(noise, xmp):
    """A converter to another format keeps the XMP; one that knows texts only keeps the text."""
    picture = Picture(noise(9, 13, 3), xmp=xmp)
    found = images.decode(images.encode("PNG", record.embed(picture, RECORD, "PNG"))[0], "x")
    converted = images.decode(images.encode("TIFF", replace(found, text=()))[0], "x")
    assert record.extract(converted) == record.extract(replace(found, xmp=None)) == RECORD
    assert record.strip(found).xmp == xmp and not record.strip(found).text


def test_xmp_that_cannot_be_added_to_stays_in_a_png(noise):
    picture = record.embed(Picture(noise(2, 3, 1), xmp=b"<not-rdf/>"), RECORD, "PNG")
    assert picture.xmp == b"<not-rdf/>" and not picture.notes and record.extract(picture) == RECORD


def test_foreign_xmp_is_never_dropped_in_silence(noise):
    picture = record.embed(Picture(noise(2, 3, 1), xmp=b"<not-rdf/>"), RECORD, "JPEG")
    assert record.extract(picture) == RECORD
    assert "XMP" in picture.notes[0]


@pytest.mark.parametrize(
    "form", ["rescale:record='{}'", 'rescale:record = "{}"', "<rescale:record>{}</rescale:record>"]
)
def test_as_other_programs_rewrite_xmp(form):
    quoted = RECORD.model_dump_json().replace('"', "&#34;")
    picture = xmp_with(f"<rdf:RDF><rdf:Description {form.format(quoted)}/></rdf:RDF>")
    assert record.extract(picture) == RECORD
    assert record.extract(record.strip(picture)) is None
    newer = RECORD.model_copy(update={"size": (7, 7)})
    assert record.extract(record.embed(picture, newer, "JPEG")) == newer


@pytest.mark.parametrize(
    "changes",
    [
        {"size": [0, 1]}, {"size": [1, -1]}, {"size": [10**10, 1]}, {"size": [10**400, 1]}, {"size": [1.0, 1.0]},
        {"size": ["9", "13"]}, {"size": [9]}, {"size": [9, 13, 3]}, {"size": None}, {"size": 9}, {"size": [True, True]},
        {"model": ""}, {"model": "../x"}, {"model": "/etc/passwd"}, {"model": "C:\\x"}, {"model": "https://a.b/c"},
        {"model": "a\0b"}, {"model": "a\n"}, {"model": "."}, {"model": "a" * 65}, {"model": 4}, {"model": None},
        {"weights": "0" * 15}, {"weights": "0" * 17}, {"weights": "g" * 16}, {"weights": "0" * 16 + "\n"},
        {"pixels": 0}, {"pixels": "F" * 16}, {"depth": 10}, {"depth": "8"}, {"grey": 1}, {"alpha": "yes"},
        {"version": 0}, {"version": -1}, {"version": 1.0}, {"version": True}, {"version": "1"}, {"version": None},
    ],
)  # fmt: skip
def test_a_field_of_another_kind_is_refused(changes):
    with pytest.raises(RecordError, match="damaged") as caught:
        parse(**changes)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("missing", ["model", "weights", "size", "pixels"])
def test_what_is_missing_is_named(missing):
    with pytest.raises(RecordError, match=missing):
        Record.parse(json.dumps({key: value for key, value in GOOD.items() if key != missing}))


@pytest.mark.parametrize("version", [2, 10**30])
def test_a_newer_version_says_so(version):
    with pytest.raises(RecordError, match="newer rescale"):
        parse(version=version, size="in another way", pixels=None)


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "1", "{", "NaN", "[" * 4000, '{"a":' * 600, "\ud800", "\0", b"\xff\xfe", "x" * 10_000_000],
    ids=lambda text: repr(text[:8]),
)
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(RecordError, match="damaged"):
        Record.parse(text)


def test_duplicate_keys_are_still_checked():
    text = json.dumps(GOOD)[:-1]
    assert Record.parse(text + ', "size": [1, 2]}').size == (1, 2)
    with pytest.raises(RecordError):
        Record.parse(text + ', "size": [0, 2]}')


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.text() | st.binary() | JSON.map(json.dumps))
def test_no_text_raises_anything_else(text):
    with pytest.raises(RecordError):
        Record.parse(text)


@given(st.dictionaries(st.sampled_from([*GOOD, "depth", "grey", "alpha", "other"]), JSON))
def test_no_change_of_fields_raises_anything_else(changes):
    try:
        found = parse(**changes)
    except RecordError:
        return
    assert min(found.size) >= 1 and not set(found.model) & set("/\\:\0")


@given(st.binary(max_size=200))
def test_no_xmp_raises_anything_else(body):
    picture = Picture(np.zeros((1, 1, 3), np.uint8), xmp=b'<rdf:RDF rescale:record="' + body + b'"></rdf:RDF>')
    with pytest.raises(RecordError):
        record.extract(picture)
    assert record.find(record.strip(picture)) is None


def test_hostile_xmp_takes_no_time():
    for body in (" " * 10**6, 'rescale:record="' * 10**5, "rescale:record = '" * 10**5, "<rescale:record>" * 10**5):
        record.find(record.strip(xmp_with(body)))


def test_the_digest_feels_every_sample(noise):
    picture = Picture(noise(5, 4, 3), alpha=noise(5, 4))
    seen = {record.digest(picture)}
    for plane in (picture.pixels, picture.alpha):
        plane.flat[7] ^= 1
        seen.add(record.digest(picture))
    seen.add(record.digest(replace(picture, alpha=None)))
    seen.add(record.digest(Picture(picture.pixels.reshape(4, 5, 3), picture.alpha.reshape(4, 5))))
    assert len(seen) == 5


def test_the_digest_is_the_same_however_a_format_stores_it(noise):
    grey = Picture(noise(5, 4, 1))
    opaque = np.full((5, 4), 255, np.uint8)
    assert record.digest(grey) == record.digest(Picture(grey.pixels.repeat(3, axis=2), opaque))
    deep = noise(5, 4, 3, dtype=np.uint16)
    assert record.digest(Picture(deep)) == record.digest(Picture(deep.astype(">u2")))
