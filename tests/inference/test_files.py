"""From disk to disk: what was small comes back exactly as in memory, and what does not fit is refused."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import PHOTO
from PIL import Image, ImageCms

from rescale import RescaleOptions, load
from rescale.errors import InputError, RecordError, RefusedError, RescaleError, UsageError, WeightsError
from rescale.geometry import Geometry
from rescale.inference import files
from rescale.io import images, record, targets
from rescale.io.images import Picture
from rescale.io.record import Record
from rescale.models import zoo
from rescale.ops.resample import resample

MODEL = "irn-x2-small"
FORCE = RescaleOptions(force=True)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def rescaler():
    return load(MODEL, device="cpu")


def photo(height: int = 37, width: int = 51, *, grey: bool = False, deep: bool = False, alpha: bool = False) -> Picture:
    """A piece of the photograph in any of the kinds that a file can hold."""
    image = Image.open(PHOTO).crop((60, 50, 60 + width, 50 + height))
    pixels = np.array(image.convert("L"))[..., None] if grey else np.array(image.convert("RGB"))
    ramp = np.add.outer(np.arange(height), np.arange(width)) * 255 // (height + width)
    plane = np.ascontiguousarray(ramp.astype(np.uint8)) if alpha else None
    if deep:
        pixels, plane = (None if x is None else x.astype(np.uint16) * 257 for x in (pixels, plane))
    return Picture(pixels, plane)


@pytest.fixture
def source(tmp_path):
    """Write a picture as p.png and say where."""

    def make(picture: Picture | None = None, name: str = "p.png") -> Path:
        images.write(tmp_path / name, picture or photo())
        return tmp_path / name

    return make


@pytest.fixture
def small(rescaler, source, tmp_path):
    """A small file of the photograph."""
    files.downscale_file(rescaler, source(), tmp_path / "s.png")
    return tmp_path / "s.png"


def rewrite(path: Path, **changes) -> Path:
    """Change the record of a small PNG, or with `text` replace it altogether."""
    picture = images.read(path)
    found = record.extract(picture)
    text = changes.pop("text", None) or found.model_copy(update=changes).model_dump_json()
    images.write(path, replace(picture, text=((record.KEY, text),)), overwrite=True)
    return path


def edit(path: Path) -> Path:
    """One level of one sample."""
    picture = images.read(path)
    picture.pixels[3, 5, 0] ^= 1
    images.write(path, picture, overwrite=True)
    return path


def same(a: Picture, b: Picture) -> bool:
    planes = [(a.pixels, b.pixels)] + [(a.alpha, b.alpha)] * (a.alpha is not None)
    same_kind = (a.alpha is None) == (b.alpha is None) and a.depth == b.depth and a.is_grey == b.is_grey
    return same_kind and all(x.shape == y.shape and bool((x == y).all()) for x, y in planes)


# ------------------------------------------------------------------------------------------- there and back

KINDS = [
    {}, {"grey": True}, {"alpha": True}, {"grey": True, "alpha": True}, {"deep": True}, {"deep": True, "grey": True},
    {"deep": True, "alpha": True}, {"deep": True, "grey": True, "alpha": True},
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "+".join(kind) or "rgb")
@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp"])
def test_on_disk_is_as_in_memory(rescaler, source, tmp_path, kind, suffix):
    if suffix == ".webp" and kind.get("deep"):
        with pytest.raises(RescaleError, match="16"):
            files.downscale_file(rescaler, source(photo(**kind)), tmp_path / "s.webp")
        assert not (tmp_path / "s.webp").exists()
        return
    picture = photo(**kind)
    done = files.downscale_file(rescaler, source(picture), tmp_path / f"s{suffix}")
    assert done.notes == () and done.size == (19, 26)
    files.upscale_file(done.target, tmp_path / "r.png")
    expected = rescaler.upscale_picture(rescaler.downscale_picture(picture), size=picture.size, is_grey=picture.is_grey)
    assert same(images.read(tmp_path / "r.png"), expected)


@pytest.mark.parametrize("suffix", [".jpg", ".avif", ".webp"])
@pytest.mark.parametrize("grey", [False, True])
def test_a_lossy_carrier_says_what_it_costs_and_comes_back(rescaler, source, tmp_path, suffix, grey):
    picture = photo(grey=grey)
    done = files.downscale_file(rescaler, source(picture), tmp_path / f"s{suffix}", options=RescaleOptions(quality=80))
    assert "is lossy" in done.notes[0] and done.notes[0].count(" dB") == 2
    files.upscale_file(done.target, tmp_path / "r.png")
    back = images.read(tmp_path / "r.png")
    assert back.size == picture.size and back.is_grey == grey


def test_an_opaque_alpha_survives_a_format_that_leaves_it_out(rescaler, source, tmp_path):
    opaque = replace(photo(), alpha=np.full((37, 51), 255, np.uint8))
    done = files.downscale_file(rescaler, source(opaque), tmp_path / "s.webp")
    assert done.notes == ()
    files.upscale_file(done.target, tmp_path / "r.png")
    assert (images.read(tmp_path / "r.png").alpha == 255).all()


def test_a_tool_that_stores_the_same_pixels_otherwise_does_no_harm(rescaler, source, tmp_path):
    flat = replace(photo(), pixels=photo(grey=True).pixels.repeat(3, axis=2))
    small = rescaler.downscale_picture(flat)
    if not (small.pixels == small.pixels[..., :1]).all():
        small = replace(small, pixels=small.pixels[..., :1].repeat(3, axis=2))
    described = rescaler.describe(small, flat)
    squeezed = replace(small, pixels=np.ascontiguousarray(small.pixels[..., :1]))
    images.write(tmp_path / "s.png", record.embed(squeezed, described, "PNG"))
    files.upscale_file(tmp_path / "s.png", tmp_path / "r.png")
    assert same(images.read(tmp_path / "r.png"), rescaler.upscale_picture(small, size=flat.size))


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (3, 5), (16, 16), (17, 1)])
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".jpg", ".avif"])
def test_every_size_comes_back(rescaler, source, tmp_path, size, suffix):
    done = files.downscale_file(rescaler, source(photo(*size)), tmp_path / f"s{suffix}")
    assert files.upscale_file(done.target, tmp_path / "r.png").size == size
    assert images.read(tmp_path / "r.png").size == size


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff", ".jpg", ".avif"])
def test_what_the_original_said_of_itself_comes_back(rescaler, source, tmp_path, suffix):
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><a/></rdf:RDF></x:xmpmeta>'
    dpi = (300.0, 300.0) if suffix in (".png", ".tiff", ".jpg") else None
    given = replace(photo(), icc=ICC, exif=exif.tobytes(), xmp=xmp, dpi=dpi)
    done = files.downscale_file(rescaler, source(given), tmp_path / f"s{suffix}")
    files.upscale_file(done.target, tmp_path / "r.png")
    back = images.read(tmp_path / "r.png")
    assert back.icc == ICC and back.xmp == xmp and record.find(back) is None
    again = Image.Exif()
    again.load(back.exif)
    assert again[0x010F] == "a maker"
    assert dpi is None or back.dpi == pytest.approx(dpi, abs=0.1)


def test_it_restores_better_than_bicubic(rescaler, source, tmp_path):
    picture = photo(200, 200)
    done = files.downscale_file(rescaler, source(picture), tmp_path / "s.png")
    files.upscale_file(done.target, tmp_path / "r.png")
    bicubic = resample(resample(picture.rgb, done.size).clamp(0, 1), picture.size)
    ours = ((images.read(tmp_path / "r.png").rgb - picture.rgb) ** 2).mean()
    assert ours < ((bicubic - picture.rgb) ** 2).mean()


def test_the_baseline_restores_by_its_record_too(source, tmp_path):
    done = files.downscale_file(load("bicubic-x3", device="cpu"), source(), tmp_path / "s.png")
    assert files.upscale_file(done.target, tmp_path / "r.png").size == (37, 51)


def test_a_model_of_ones_own_restores_exactly_with_its_file(source, tmp_path):
    own = tmp_path / "My model (2).safetensors"
    own.write_bytes((zoo.weights_folder() / zoo.manifest()[MODEL].file).read_bytes())
    done = files.downscale_file(load(own, device="cpu"), source(), tmp_path / "s.png")
    with pytest.raises(RecordError, match=r"'My model \(2\)', which this rescale does not have; pass model="):
        files.upscale_file(done.target, tmp_path / "r.png")
    done = files.upscale_file(done.target, tmp_path / "r.png", model=str(own))
    assert done.size == (37, 51) and done.notes == ()


def test_a_weight_file_that_no_record_can_name_is_one_sentence(source, tmp_path):
    own = tmp_path / "a;b.safetensors"
    own.write_bytes((zoo.weights_folder() / zoo.manifest()[MODEL].file).read_bytes())
    with pytest.raises(UsageError, match="got 'a;b'"):
        files.downscale_file(load(own, device="cpu"), source(), tmp_path / "s.png")
    assert not (tmp_path / "s.png").exists()


# ------------------------------------------------------------------------------------------- what does not fit


def test_no_record_says_what_to_do(source, tmp_path):
    with pytest.raises(RecordError, match=r"no record.*scale=.*model="):
        files.upscale_file(source(), tmp_path / "r.png")
    assert files.upscale_file(source(name="q.png"), tmp_path / "r.png", model=MODEL).size == (74, 102)


DISAGREEING = {
    "edited": lambda path: edit(path),
    "other weights": lambda path: rewrite(path, weights="0" * 16),
    "other model": lambda path: rewrite(path, model="irn-x4-small"),
    "too large": lambda path: rewrite(path, size=(39, 51)),
    "too small": lambda path: rewrite(path, size=(36, 51)),
    "huge": lambda path: rewrite(path, size=(2**31, 2**31)),
    "turned": lambda path: rewrite(path, size=(51, 37)),
    "other pixels": lambda path: rewrite(path, pixels="0" * 16),
}


@pytest.mark.parametrize("how", DISAGREEING)
def test_a_record_that_disagrees_is_refused_or_forced(small, tmp_path, how):
    DISAGREEING[how](small)
    with pytest.raises(RecordError, match=r"pass options\.force=True"):
        files.upscale_file(small, tmp_path / "r.png")
    assert not (tmp_path / "r.png").exists()
    done = files.upscale_file(small, tmp_path / "r.png", options=FORCE)
    scale = 4 if how == "other model" else 2
    assert all(side <= scale * small_side for side, small_side in zip(done.size, (19, 26), strict=True))
    assert done.notes[0].startswith("forced: ")


@pytest.mark.parametrize("text", ["{", "{}", '{"version": 2}', "x" * 5000])
def test_a_damaged_or_newer_record_needs_model_and_force(small, tmp_path, text):
    rewrite(small, text=text)
    for options in ({}, {"options": FORCE}, {"model": MODEL}):
        with pytest.raises(RecordError, match=r"model= and options\.force=True"):
            files.upscale_file(small, tmp_path / "r.png", **options)
    done = files.upscale_file(small, tmp_path / "r.png", model=MODEL, options=FORCE)
    assert done.size == (38, 52) and done.notes[0].startswith("forced: ")
    assert record.find(images.read(done.target)) is None


@pytest.mark.parametrize("name", ["irn-x99", "weights.safetensors", "bicubic-x4.safetensors", "bicubic-x99"])
def test_a_foreign_model_is_never_looked_for(small, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(b"never opened")
    rewrite(small, model=name)
    with pytest.raises(RecordError, match="does not have; pass model="):
        files.upscale_file(small, tmp_path / "r.png")


def test_another_model_than_the_record_names_must_be_forced(small, tmp_path):
    with pytest.raises(RecordError, match=r"made small by irn-x2-small .*, not by bicubic-x2"):
        files.upscale_file(small, tmp_path / "r.png", model="bicubic-x2")
    done = files.upscale_file(small, tmp_path / "r.png", model="bicubic-x2", options=FORCE)
    assert done.size == (37, 51)
    assert files.upscale_file(small, tmp_path / "q.png", model=MODEL).notes == ()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_scale_enlarges_an_ordinary_picture(source, tmp_path, scale):
    done = files.upscale_file(source(), tmp_path / "r.png", scale=scale)
    assert done.model == zoo.super_resolution_model(scale)
    assert done.size == (37 * scale, 51 * scale) and done.notes == ()


@pytest.mark.parametrize(
    ("scale", "size"),
    [(2.5, (92, 128)), ("1.5x2", (74, 76)), ("120x", (87, 120)), ("x100", (100, 138)), ("200x140!", (140, 200))],
)
@pytest.mark.parametrize("kind", [{}, {"grey": True}, {"deep": True, "alpha": True}])
def test_any_size_is_the_next_larger_network_made_smaller(source, tmp_path, scale, size, kind):
    picture = photo(**kind)
    done = files.upscale_file(source(picture), tmp_path / "r.png", scale=scale)
    large = images.read(done.target)
    assert done.size == large.size == size and done.model == zoo.super_resolution_model(max(size[0] / 37, size[1] / 51))
    assert (large.depth, large.is_grey, large.alpha is None) == (picture.depth, picture.is_grey, picture.alpha is None)
    bicubic = images.to_pixels(resample(images.to_tensor(picture.pixels), size), picture.depth)
    difference = np.abs(large.pixels.astype(float) - bicubic) / picture.top
    assert 0.001 < difference.mean() < 0.02, "the same picture, and more than bicubic"


def test_a_model_of_a_larger_scale_serves_smaller_ones_and_none_above(source, tmp_path):
    assert files.upscale_file(source(), tmp_path / "r.png", model="espcn-x4", scale=2.5).size == (92, 128)
    with pytest.raises(UsageError, match="espcn-x2 works at x2 and makes 102x74 at most, got 128x92"):
        files.upscale_file(tmp_path / "p.png", tmp_path / "q.png", model="espcn-x2", scale=2.5)


def lossy(tmp_path: Path, **options: object) -> Path:
    Image.fromarray(photo(64, 80).pixels).save(tmp_path / f"p.{options['format']}", **options)
    return tmp_path / f"p.{options['format']}"


@pytest.mark.parametrize("format", ["jpeg", "webp", "avif"])
def test_what_a_lossy_codec_touched_is_cleaned_and_a_note_says_so(tmp_path, format):
    source = lossy(tmp_path, format=format, quality=50)
    done = files.upscale_file(source, tmp_path / "r.png", scale=2)
    assert done.model == "sr-x2-photo"
    assert done.notes == (
        "its codec is lossy, so sr-x2-photo cleans it too; --model sr-x2 or --denoise 0 takes it as it is",
    )
    chosen = files.upscale_file(source, tmp_path / "q.png", model="sr-x2", scale=2)
    as_it_is = files.upscale_file(source, tmp_path / "o.png", scale=2, options=RescaleOptions(denoise=0))
    assert (chosen.model, chosen.notes) == (as_it_is.model, as_it_is.notes) == ("sr-x2", ())


@pytest.mark.parametrize("options", [{"format": "png"}, {"format": "webp", "lossless": True}, {"format": "tiff"}])
def test_what_is_lossless_is_taken_as_it_is(tmp_path, options):
    assert files.upscale_file(lossy(tmp_path, **options), tmp_path / "r.png", scale=2).model == "sr-x2"


@pytest.mark.parametrize("denoise", [None, 0.5])
def test_between_the_photo_networks_the_next_larger_one_cleans(tmp_path, denoise):
    source = lossy(tmp_path, format="jpeg", quality=50)
    done = files.upscale_file(source, tmp_path / "r.png", scale=3, options=RescaleOptions(denoise=denoise))
    assert done.size == (192, 240) and done.model.startswith("sr-x4-photo")


def test_denoise_goes_from_one_network_to_the_other(tmp_path):
    source = lossy(tmp_path, format="jpeg", quality=30)
    made = [
        images.read(
            files.upscale_file(source, tmp_path / f"{share}.png", scale=2, options=RescaleOptions(denoise=share)).target
        )
        for share in (0, 0.5, 1)
    ]
    clean, half, photo_ = (x.pixels.astype(float) for x in made)
    ends = np.abs(clean - photo_).mean()
    assert ends > 0.5 and all(0 < np.abs(half - end).mean() < ends for end in (clean, photo_))


@pytest.mark.parametrize("asked", [{"model": "espcn-x2", "scale": 2}, {}])
def test_denoise_is_for_what_the_default_enlarges(small, tmp_path, asked):
    with pytest.raises(UsageError, match="denoise is for ordinary pictures"):
        files.upscale_file(small, tmp_path / "r.png", options=RescaleOptions(denoise=0.5), **asked)


@pytest.mark.parametrize("denoise", [-0.1, 1.1, float("nan")])
def test_denoise_is_a_share(denoise):
    with pytest.raises(UsageError, match="denoise from 0 to 1"):
        RescaleOptions(denoise=denoise)


def test_scale_and_a_model_take_a_small_picture_as_an_ordinary_one_and_say_so(small, tmp_path):
    done = files.upscale_file(small, tmp_path / "r.png", model="bicubic-x3", scale=3)
    assert done.size == (57, 78) and "record" in done.notes[0]
    assert record.find(images.read(done.target)) is None


@pytest.mark.parametrize("scale", [1, 5, -2, 0])
def test_a_scale_that_nothing_makes_is_refused(source, tmp_path, scale):
    with pytest.raises(UsageError, match=f"got x?{scale}"):
        files.upscale_file(source(), tmp_path / "r.png", scale=scale)


def test_scale_and_model_must_agree(source, tmp_path):
    with pytest.raises(UsageError, match="works at x2, got x3"):
        files.upscale_file(source(), tmp_path / "r.png", model=MODEL, scale=3)


# ------------------------------------------------------------------------------------------- limits and targets


def test_limits_hold_for_sources_and_results(rescaler, source, small, tmp_path):
    fewer = RescaleOptions(max_pixels=37 * 51 - 1)
    with pytest.raises(RefusedError, match="max_pixels="):
        files.downscale_file(rescaler, source(name="q.png"), tmp_path / "r.png", options=fewer)
    with pytest.raises(RefusedError, match=r"result of 51x37.*options\.max_pixels="):
        files.upscale_file(small, tmp_path / "r.png", options=fewer)
    assert files.upscale_file(small, tmp_path / "r.png", options=RescaleOptions(max_pixels=37 * 51)).size == (37, 51)


@pytest.mark.parametrize("suffix", [".bmp", ".ppm", ".gif"])
def test_a_format_without_place_for_a_record_is_refused(rescaler, source, tmp_path, suffix):
    with pytest.raises(RefusedError, match="cannot carry the record"):
        files.downscale_file(rescaler, source(), tmp_path / f"s{suffix}")


@pytest.mark.parametrize("name", ["s", "s.xyz", "s.png.txt"])
def test_an_unknown_suffix_is_refused(rescaler, source, small, tmp_path, name):
    with pytest.raises(UsageError, match="expected one of"):
        files.downscale_file(rescaler, source(name="q.png"), tmp_path / name)
    with pytest.raises(UsageError, match="expected one of"):
        files.upscale_file(small, tmp_path / name)


@pytest.mark.parametrize("link", ["same", "symlink", "hardlink"])
def test_a_source_is_never_overwritten(rescaler, source, tmp_path, link):
    path, target = source(), tmp_path / ("p.png" if link == "same" else "t.png")
    before = path.read_bytes()
    if link == "symlink":
        target.symlink_to(path)
    if link == "hardlink":
        os.link(path, target)
    with pytest.raises(RefusedError, match="its own source"):
        files.downscale_file(rescaler, path, target, overwrite=True)
    with pytest.raises(RefusedError, match="its own source"):
        files.upscale_file(path, target, model=MODEL, overwrite=True)
    assert path.read_bytes() == before


def test_an_existing_target_stays_unless_told(rescaler, source, tmp_path):
    target = tmp_path / "s.png"
    target.write_bytes(b"precious")
    with pytest.raises(RefusedError, match="overwrite=True"):
        files.downscale_file(rescaler, source(), target)
    assert target.read_bytes() == b"precious"
    files.downscale_file(rescaler, tmp_path / "p.png", target, overwrite=True)
    assert isinstance(record.extract(images.read(target)), Record)


def test_a_target_that_cannot_be_is_refused(rescaler, source, tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(RefusedError, match="is a folder"):
        files.downscale_file(rescaler, source(), tmp_path / "folder.png", overwrite=True)
    with pytest.raises(UsageError, match="is no folder"):
        files.downscale_file(rescaler, tmp_path / "p.png", tmp_path / "none" / "s.png")


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n", None])
def test_a_bad_source_leaves_nothing_behind(rescaler, tmp_path, content):
    path = tmp_path / "bad.png"
    if content is not None:
        path.write_bytes(content)
    for work in (files.downscale_file, lambda _, *paths: files.upscale_file(*paths)):
        with pytest.raises(InputError):
            work(rescaler, path, tmp_path / "s.png")
    assert [file.name for file in tmp_path.iterdir()] == ["bad.png"] * (content is not None)


def test_a_weight_file_of_somebody_else_is_refused(source, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(WeightsError, match="written by rescale"):
        files.upscale_file(source(), tmp_path / "r.png", model=str(tmp_path / "w.safetensors"))


def test_names_of_results():
    assert targets.small_name(Path("a/photo.jpg"), Geometry.of(4)) == "photo.x4.png"
    assert targets.large_name(Path("photo.x4.png"), is_restored=True) == "photo.x4.restored.png"
    assert targets.large_name(Path("a.b.jpg"), is_restored=False) == "a.b.upscaled.png"


# ------------------------------------------------------------------------------------------- metadata


def full() -> Picture:
    exif = Image.Exif()
    exif[271] = "Maker"
    facts = {"icc": ICC, "xmp": b"<x:xmpmeta><rdf:RDF><mine/></rdf:RDF></x:xmpmeta>", "text": (("Author", "me"),)}
    return replace(photo(), exif=exif.tobytes(), dpi=(300.0, 300.0), **facts)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_metadata_is_stripped_on_demand_and_the_record_stays(rescaler, source, tmp_path, suffix):
    strip = RescaleOptions(keep_metadata=False)
    small = files.downscale_file(rescaler, source(full()), tmp_path / f"s.{suffix}", options=strip).target
    found = record.strip(images.read(small))
    assert (found.xmp, found.text) == (None, ())
    assert b"Maker" not in small.read_bytes() and found.icc == ICC and found.dpi is not None
    assert files.upscale_file(small, tmp_path / "r.png").size == (37, 51)


def test_metadata_is_stripped_from_a_restored_image(rescaler, source, tmp_path):
    small = files.downscale_file(rescaler, source(full()), tmp_path / "s.png").target
    assert images.read(small).exif and record.strip(images.read(small)).text == (("Author", "me"),)
    kept = images.read(files.upscale_file(small, tmp_path / "r.png").target)
    assert kept.exif and kept.xmp and kept.text
    strip = RescaleOptions(keep_metadata=False)
    bare = images.read(files.upscale_file(small, tmp_path / "b.png", options=strip).target)
    assert (bare.exif, bare.xmp, bare.text) == (None, None, ()) and bare.icc == ICC


def test_a_small_image_that_was_converted_without_loss_is_restored(rescaler, source, tmp_path):
    """As by libvips or ImageMagick: the pixels and the XMP are kept, PNG text is not."""
    small = files.downscale_file(rescaler, source(), tmp_path / "s.png").target
    files.upscale_file(small, tmp_path / "r.png")
    with Image.open(small) as image:
        packet = image.info["xmp"]
        image.save(tmp_path / "c.webp", lossless=True, exact=True, xmp=packet)
    for suffix in ("tif", "jxl"):
        images.write(tmp_path / f"c.{suffix}", replace(images.read(small), text=()))
    for suffix in ("webp", "tif", "jxl"):
        files.upscale_file(tmp_path / f"c.{suffix}", tmp_path / f"{suffix}.png")
        assert same(images.read(tmp_path / f"{suffix}.png"), images.read(tmp_path / "r.png"))
