"""XMP: extended parts are joined and divided, claims of what did not come along go, hostile packets take no time."""

import struct

import pytest
from hostile import Calls
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_images import picture, saved

from rescale.io import images, jpeg_segments, record, xmp
from rescale.io.record import Record

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DEPTH = 'xmlns:GDepth="http://ns.google.com/photos/1.0/depthmap/" GDepth:Data="{}"'
NAMES_REST = 'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="{}"'
HDR = "http://ns.adobe.com/hdr-gain-map/1.0/"
CONTAINER = "http://ns.google.com/photos/1.0/container/"
CAMERA = "http://ns.google.com/photos/1.0/camera/"
RECORD = Record(version=1, model="irn-x4", weights="0" * 16, size=(9, 13), pixels="f" * 16)


def packet(attributes: str, inner: str = "") -> bytes:
    head = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about="" '
    return f"{head}{attributes}>{inner}</rdf:Description></rdf:RDF></x:xmpmeta>".encode()


def with_segments(*bodies: bytes, trailer: bytes = b"") -> bytes:
    data = saved(Image.new("RGB", (16, 16)), "JPEG")
    extra = b"".join(b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body for body in bodies)
    return data[:2] + extra + data[2:] + trailer


def pieces(whole: bytes, digest: bytes = b"A" * 32, size: int = 60_000) -> list[bytes]:
    head = b"http://ns.adobe.com/xmp/extension/\0" + digest
    return [
        head + struct.pack(">II", len(whole), at) + whole[at : at + size] for at in range(0, len(whole), size)
    ]  # fmt: skip


WHOLE = packet(DEPTH.format("QUJD" * 40_000))
MAIN = jpeg_segments.XMP + packet('dc:x="1" ' + NAMES_REST.format("A" * 32))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_extended_xmp_is_joined_in_any_order(order):
    parts = pieces(WHOLE)
    found = images.decode(with_segments(MAIN, *(parts[n] for n in order)), "x")
    assert b"GDepth:Data" in found.xmp and b'dc:x="1"' in found.xmp and b"HasExtendedXMP" not in found.xmp
    assert not found.notes


def test_of_two_extended_packets_the_named_one_is_taken():
    other = pieces(packet('a:b="other"'), b"B" * 32)
    found = images.decode(with_segments(MAIN, *other, *pieces(WHOLE)), "x")
    assert b"GDepth:Data" in found.xmp and b"other" not in found.xmp


@pytest.mark.parametrize("left", [[0, 2], [1], [0, 0, 1]])
def test_incomplete_extended_xmp_is_named(left):
    found = images.decode(with_segments(MAIN, *(pieces(WHOLE)[n] for n in left)), "x")
    assert "the extended part of its XMP is incomplete" in found.notes[0] and b'dc:x="1"' in found.xmp


def test_namespaces_of_the_extended_part_come_along():
    whole = WHOLE.replace(b"<rdf:RDF ", b'<rdf:RDF xmlns:far="urn:far" ')
    found = images.decode(with_segments(MAIN, *pieces(whole)), "x")
    assert found.xmp.count(b'xmlns:far="urn:far"') == 1 and found.xmp.count(b"<rdf:RDF") == 1


def test_xmp_of_any_size_is_written_into_jpeg_with_the_record_in_front(noise):
    carrying = record.embed(picture(noise(8, 8, 3), xmp=WHOLE), RECORD, "JPEG")
    data, notes = images.encode("JPEG", carrying)
    found = images.decode(data, "x")
    assert not notes and not found.notes and record.extract(found) == RECORD
    assert b"GDepth:Data" in record.strip(found).xmp
    assert b"rescale:record" in data[:2000], "where a reader of the first segment alone finds it"


@pytest.mark.parametrize(
    ("claim", "name", "words"),
    [
        (f'xmlns:hdrgm="{HDR}" hdrgm:Version="1.0"', "gain map", b"hdrgm:Version"),
        (f"xmlns:other='{HDR}' other:Version = '1.0'", "gain map", b"other:Version"),
        ('xmlns:H="http://ns.apple.com/HDRGainMap/1.0/" H:HDRGainMapVersion="65536"', "gain map", b"H:HDR"),
        (f'xmlns:GCamera="{CAMERA}" GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1"', "video", b"GCamera:Mo"),
        (f'xmlns:GCamera="{CAMERA}" GCamera:MicroVideo="1" GCamera:MicroVideoOffset="9"', "video", b"GCamera:Mi"),
    ],
)
def test_claims_of_what_did_not_come_along_go(claim, name, words):
    clean, names = xmp.cleaned(packet(claim + ' dc:title="kept"'))
    assert words not in clean and b'dc:title="kept"' in clean and name in names[0] and len(names) == 1


def test_claims_as_elements_go_with_all_they_hold():
    inner = (
        "<C:Directory><rdf:Seq><rdf:li><C:Item I:Semantic='GainMap'/></rdf:li></rdf:Seq></C:Directory><dc:a>b</dc:a>"
    )
    clean, names = xmp.cleaned(packet(f'xmlns:C="{CONTAINER}" xmlns:I="{CONTAINER}item/"', inner))
    assert b"Directory" not in clean and b"Semantic" not in clean and b"<dc:a>b</dc:a>" in clean
    assert names == ["images behind the first one"]


def test_the_thumbnail_goes_without_a_word():
    inner = "<xmp:Thumbnails><rdf:Alt>QUJD</rdf:Alt></xmp:Thumbnails>"
    clean, names = xmp.cleaned(packet('xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5"', inner))
    assert b"QUJD" not in clean and b'xmp:Rating="5"' in clean and not names


@given(st.binary(max_size=200))
def test_what_claims_nothing_is_not_touched(body):
    assert xmp.cleaned(packet("a:b='c'") + body)[0].startswith(packet("a:b='c'"))


def test_hostile_packets_take_no_time():
    head = f'xmlns:h="{HDR}" '.encode()
    with Calls() as calls:
        for body in (b"<h:a ", b"<h:a>", b" h:a='", b'h:a="', b"xmpNote:HasExtendedXMP ", b"QUJD", b"<rdf:RDF "):
            xmp.cleaned(head + body * 20_000)
            xmp.extension_of(head + body * 20_000)
            xmp.joined(head + body * 20_000, head + body * 20_000)
    assert calls.count < 500_000


@pytest.mark.parametrize(
    ("body", "trailer", "words"),
    [
        (b"FLIR\0\1", b"", "JPEG segment APP1 (FLIR)"),
        (b"", b"\0\0\0\x18ftypmp42" + bytes(99) + b"x", "a video of"),
        (b"", b"PK behind", "other data of 9 bytes"),
    ],
)
def test_what_lies_beside_the_image_is_named(body, trailer, words):
    assert words in images.decode(with_segments(*[body] * bool(body), trailer=trailer), "x").notes[0]


@pytest.mark.parametrize(
    "kind", [(0xE2, b"urn:iso:std:iso:ts:21496:-1\0", "gain map"), (0xEB, b"JP\0\1", "credentials")]
)
def test_gain_maps_and_credentials_are_named(kind):
    marker, body, words = kind
    data = with_segments(body).replace(b"\xff\xe1", bytes([0xFF, marker]), 1)
    assert words in images.decode(data, "x").notes[0]


def test_filling_behind_the_end_is_nothing_to_speak_of():
    assert not images.decode(with_segments(trailer=bytes(64) + b"\r\n"), "x").notes
