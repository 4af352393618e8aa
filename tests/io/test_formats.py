"""The one table of picture formats, held against what is really written and read."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rescale.errors import RefusedError, UnsupportedError, UsageError
from rescale.io import formats, images, record
from rescale.io.formats import FORMAT_OF_SUFFIX, FORMATS
from rescale.io.images import Picture

WRITTEN = [row for row in FORMATS.values() if row.is_written]


@pytest.mark.parametrize("suffix", FORMAT_OF_SUFFIX)
def test_what_is_written_under_a_suffix_is_found_and_read_back(noise, tmp_path, suffix):
    path, row = tmp_path / f"a{suffix.upper()}", FORMATS[FORMAT_OF_SUFFIX[suffix]]
    pixels = np.full((12, 9, 3), 77, np.uint8) if not row.is_lossless else noise(12, 9, 3)
    if row.is_written:
        images.write(path, Picture(pixels))
    elif row.name == "HEIF":
        pytest.importorskip("pillow_heif", reason="the extra `formats` is not installed").from_pillow(
            Image.fromarray(pixels)
        ).save(path)
    else:
        Image.fromarray(pixels).save(path, row.name)
    assert images.find(tmp_path) == [path]
    assert np.abs(images.read(path).pixels.astype(int) - pixels).max() <= (0 if row.is_lossless else 2)


@pytest.mark.parametrize("row", WRITTEN, ids=str)
def test_a_format_holds_what_its_row_says(noise, row):
    for depth in (8, 16):
        for alpha in (None, noise(12, 9) if depth == 8 else noise(12, 9, dtype=np.uint16)):
            picture = Picture(noise(12, 9, 3, dtype=np.uint8 if depth == 8 else np.uint16), alpha)
            if depth not in row.depths or (alpha is not None and not row.has_alpha):
                with pytest.raises(UnsupportedError):
                    images.encode(row.name, picture)
                continue
            read = images.decode(images.encode(row.name, picture)[0], row.name)
            assert read.depth == depth and (read.alpha is None) == (alpha is None)
            assert np.array_equal(read.samples, picture.samples) == row.is_lossless


@pytest.mark.parametrize("row", FORMATS.values(), ids=str)
def test_a_quality_is_taken_where_the_row_says(noise, row):
    if row.takes_quality:
        assert images.encode(row.name, Picture(noise(12, 9, 3)), quality=50)
    else:
        with pytest.raises(UsageError, match="takes no quality"):
            images.encode(row.name, Picture(noise(12, 9, 3)), quality=50)


@pytest.mark.parametrize("row", FORMATS.values(), ids=str)
def test_a_record_comes_back_where_the_row_says(noise, row):
    target = Path(f"small{row.suffixes[0]}")
    if not row.carries_record:
        with pytest.raises(RefusedError, match=r"write PNG, WebP, AVIF, JPEG XL, TIFF or JPEG$"):
            formats.carrier(target)
        return
    small = Picture(noise(12, 9, 3))
    said = record.Record(version=1, model="irn", weights="0" * 16, size=(24, 18), pixels=record.digest(small))
    data, _ = images.encode(formats.carrier(target), record.embed(small, said, row.name))
    assert record.extract(images.decode(data, target.name)) == said


def test_refusals_name_what_would_do(noise):
    deep, clear = Picture(noise(4, 4, 3, dtype=np.uint16)), Picture(noise(4, 4, 3), noise(4, 4))
    for format, picture, end in (
        ("JPEG", deep, "the picture has 16; write PNG or TIFF"),
        ("BMP", clear, "BMP holds no transparency; write PNG, WebP, AVIF, JPEG XL or TIFF"),
        ("GIF", clear, "GIF holds 256 colours only; write PNG, WebP, JPEG XL or TIFF"),
    ):
        with pytest.raises(UnsupportedError, match=f"{end}$"):
            images.encode(format, picture)
