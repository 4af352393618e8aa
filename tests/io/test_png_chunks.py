"""PNG chunks: what is put in is found again, and what is broken is noticed."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rescale.io import png_chunks


def png() -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((9, 7)).save(out, "PNG", dpi=(72, 72))
    return out.getvalue()


@given(st.lists(st.tuples(st.sampled_from([b"gAMA", b"teSt", b"abCd"]), st.binary(max_size=30)), max_size=4))
def test_inserted_chunks_stand_right_after_the_header(new):
    found = png_chunks.read(png_chunks.insert(png(), new))
    assert found[0][0] == b"IHDR"
    assert found[1 : 1 + len(new)] == new
    assert found[1 + len(new) :] == png_chunks.read(png())[1:]


def test_bare_keeps_the_pixels_alone():
    bare = png_chunks.bare(png())
    assert [kind for kind, _ in png_chunks.read(bare)] == [b"IHDR", b"IEND"]
    with Image.open(io.BytesIO(bare)) as a, Image.open(io.BytesIO(png())) as b:
        assert a.tobytes() == b.tobytes()


@given(st.integers(8, len(png()) - 1), st.integers(1, 255))
def test_any_changed_byte_is_noticed(at, change):
    data = bytearray(png())
    data[at] ^= change
    with pytest.raises(Exception, match=r"checksum|unpack|requires"):
        png_chunks.read(bytes(data))


@given(st.integers(8, len(png()) - 1))
def test_any_truncation_is_noticed(length):
    with pytest.raises(Exception, match=r"checksum|unpack|requires"):
        png_chunks.read(png()[:length])


def test_what_follows_the_end_is_ignored():
    assert png_chunks.read(png() + b"anything") == png_chunks.read(png())


def test_a_profile_and_srgb_exclude_each_other():
    kinds = [
        kind for kind, _ in png_chunks.describe(b"profile", None, None, None, (), [(b"sRGB", b"\0"), (b"gAMA", b"")])
    ]
    assert kinds == [b"gAMA", b"iCCP"]
