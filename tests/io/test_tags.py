"""TIFF directories and EXIF: every byte comes back, nothing hostile does more than raise, old pixels leave no trace."""

import io
import struct

import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_images import rich_exif, tiff

from rescale.io import exif, tags
from rescale.io.tags import Directory, Tag

VALUES = st.sampled_from([(1, 1), (2, 1), (3, 2), (4, 4), (5, 8), (7, 1), (9, 4), (12, 8), (129, 1)]).flatmap(
    lambda kind: st.binary(min_size=1, max_size=9).map(lambda raw: Tag(kind[0], raw * kind[1]))
)
TAGS = st.dictionaries(st.integers(1, 0xFFFE).filter(lambda tag: tag not in tags.FOLDERS), VALUES, max_size=6)


def plain(directory: Directory) -> tuple:
    own = {tag: (value.kind, value.data) for tag, value in directory.tags.items()}
    return own, {tag: plain(inner) for tag, inner in directory.folders.items()}


@given(st.sampled_from("<>"), TAGS, TAGS.filter(bool), TAGS.filter(bool))
def test_parse_is_the_opposite_of_serialise(order, own, camera, gps):
    folders = {0x8769: Directory(order, camera), 0x8825: Directory(order, gps)}
    directory = Directory(order, own, folders)
    found = tags.parse(tags.serialise(directory))
    assert plain(found) == plain(directory) and found.order == order and found.is_whole


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(data):
    for head in (b"", b"II*\0\x08\0\0\0", b"MM\0+\0\x08\0\0\0\0\0\0\0\0\0\x10", b"Exif\0\0II*\0\x08\0\0\0"):
        try:
            found = tags.parse(head + data)
        except ValueError:
            continue
        tags.serialise(found)


def test_a_directory_that_contains_itself_ends():
    entry = struct.pack("<HHHII", 1, 0x8769, 4, 1, 8) + bytes(4)
    assert not tags.parse(b"II*\0\x08\0\0\0" + entry).is_whole


def test_pillow_reads_what_is_written():
    loaded = Image.Exif()
    loaded.load(b"Exif\0\0" + tags.serialise(tags.parse(rich_exif())))
    assert loaded[271] == "Maker" and loaded.get_ifd(0x8769)[0x927C] == b"maker\0note"
    assert loaded.get_ifd(0x8825)[2] == (1.0, 2.0, 3.5)


def test_a_makers_note_stays_where_it_stood():
    """Some makers count from the start of the EXIF."""
    note = Tag(7, b"n" * 100, at=700)
    camera = Directory(tags={tags.MAKER_NOTE: note, 1: Tag(7, b"other" * 9)})
    for own in ({}, {271: Tag(2, b"Maker\0")}, {271: Tag(2, b"M" * 200)}):
        written = tags.serialise(Directory(tags=own, folders={0x8769: camera}))
        assert written.find(note.data) == 700
        assert tags.parse(written).folders[0x8769].tags[tags.MAKER_NOTE] == note


@pytest.mark.parametrize("at", [8, 10_000_000])
def test_a_makers_note_moves_where_its_place_is_taken_or_far_off(at):
    camera = Directory(tags={tags.MAKER_NOTE: Tag(7, b"n" * 100, at=at)})
    written = tags.serialise(Directory(folders={0x8769: camera}))
    assert len(written) < 200 and b"n" * 100 in written


def test_a_bigtiff_is_parsed(noise):
    samples = noise(6, 5, 3)
    small, big = (tags.parse(tiff(samples, photometric="rgb", bigtiff=big)) for big in (False, True))
    assert small.number(256, 0) == big.number(256, 0) == 5 and big.is_whole


@pytest.mark.parametrize(
    ("tag", "length", "words"),
    [
        (37724, 50_000, "Photoshop's layers"), (34377, 2_000, "Photoshop data"),
        (65000, 50_000, "TIFF tag 65000 of 50,000"),
        (34735, 16, "georeference"), (50706, 4, "camera raw"),
    ],
)  # fmt: skip
def test_tags_that_speak_of_the_old_pixels_are_named_and_left_out(noise, tag, length, words):
    data = tiff(noise(4, 4, 3), photometric="rgb", extratags=[(tag, 7, length, bytes(length), True)])
    found = exif.parse(data)
    assert words in found.left[0] and tag not in found.directory.tags and len(found.block) < 200


def test_smaller_images_within_a_tiff_are_named(noise):
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(noise(8, 8, 3), photometric="rgb", subifds=1)
        writer.write(noise(4, 4, 3), photometric="rgb")
    assert exif.parse(out.getvalue()).left == ["its further images (SubIFDs)"]


def test_small_private_tags_stay(noise):
    data = tiff(noise(4, 4, 3), photometric="rgb", extratags=[(65001, 2, 6, "mine!", True)])
    assert exif.parse(data).directory.tags[65001].data == b"mine!\0"
