"""What lies beside the film goes into the new file as what it was, or is named before the work begins."""

import subprocess
from fractions import Fraction
from pathlib import Path

import av
import pytest
from filming import film, heard, picture

from rescale import EncodeOptions, downscale_video, upscale_video
from rescale.video.io import tags
from rescale.video.record import VideoRecord


def rewritten(source: Path, target: Path, *, more=lambda made: (), metadata=(), film_tags=(), options=None) -> Path:
    """A copy of a file with more in it: `more` adds streams, and returns the packets to write."""
    with av.open(str(source)) as given, av.open(str(target), "w", options=options or {}) as made:
        copies = {s.index: made.add_stream_from_template(s, opaque=True) for s in given.streams}
        copies[0].metadata.update(film_tags)
        made.metadata.update(metadata)
        extra = list(more(made))
        for packet in [*extra, *given.demux()]:
            if packet.size:
                packet.stream = packet.stream if packet in extra else copies[packet.stream.index]
                made.mux(packet)
    return target


def image(codec: str) -> bytes:
    encoder = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width, encoder.time_base = 48, 64, Fraction(1, 25)
    encoder.pix_fmt = "yuvj420p" if codec == "mjpeg" else "rgb24"
    frame = av.VideoFrame.from_ndarray(picture(0)).reformat(format=encoder.pix_fmt)
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def with_cover(path: Path, codec: str, name: str = "cover.jpg") -> tuple[Path, bytes]:
    plain, content = film(path.with_name(f"plain{path.suffix}"), list(range(5)), sound=[0.0]), image(codec)

    def attached(made):
        kind = "jpeg" if codec == "mjpeg" else codec
        if path.suffix == ".mkv":
            made.add_attachment(name, f"image/{kind}", content)
            return []
        cover = made.add_mux_stream(codec, width=64, height=48)
        cover.time_base, cover.disposition = Fraction(1, 90_000), 1024
        packet = av.Packet(content)
        packet.stream, packet.pts, packet.dts, packet.time_base = cover, 0, 0, cover.time_base
        return [packet]

    return rewritten(plain, path, more=attached), content


def covers(path: Path) -> list[tuple[bytes, str, str]]:
    """Content, file name and MIME type of each cover."""
    with av.open(str(path)) as given:
        assert [s.type for s in given.streams][:2] == ["video", "audio"]
        streams = [s for s in given.streams.video if s.disposition & 1024]
        assert len(given.streams.video) == 1 + len(streams)
        contents = {p.stream.index: bytes(p) for p in given.demux(*streams) if p.size} if streams else {}
        named = [(s.metadata.get("filename", ""), s.metadata.get("mimetype", "")) for s in streams]
        return [(contents[s.index], *names) for s, names in zip(streams, named, strict=True)]


@pytest.mark.parametrize("codec", ["mjpeg", "png"])
@pytest.mark.parametrize("before", [".mp4", ".mkv"])
@pytest.mark.parametrize("after", [".mp4", ".mkv"])
def test_a_cover_stays_a_cover(before, after, codec, tmp_path):
    source, content = with_cover(tmp_path / f"a{before}", codec, "small_cover.jpg")
    assert [cover[0] for cover in covers(source)] == [content]
    done = upscale_video(source, tmp_path / f"b{after}", scale=2)
    (found,) = covers(tmp_path / f"b{after}")
    assert found[0] == content and done.notes == ()
    if after == ".mkv":
        kind = {"mjpeg": "jpeg", "png": "png"}[codec]
        name = "small_cover.jpg" if before == ".mkv" else f"cover.{kind.replace('jpeg', 'jpg')}"
        assert found[1:] == (name, f"image/{kind}")
    again = upscale_video(tmp_path / f"b{after}", tmp_path / "c.mkv", scale=2)
    assert [cover[0] for cover in covers(tmp_path / "c.mkv")] == [content] and again.notes == ()


def test_several_covers_stay_apart(tmp_path):
    plain = film(tmp_path / "plain.mkv", list(range(5)), sound=[0.0])
    jpeg, png = image("mjpeg"), image("png")

    def attached(made):
        made.add_attachment("cover.jpg", "image/jpeg", jpeg)
        made.add_attachment("cover_land.png", "image/png", png)
        return []

    upscale_video(rewritten(plain, tmp_path / "a.mkv", more=attached), tmp_path / "b.mkv", scale=2)
    assert [cover[:2] for cover in covers(tmp_path / "b.mkv")] == [(jpeg, "cover.jpg"), (png, "cover_land.png")]
    upscale_video(tmp_path / "b.mkv", tmp_path / "c.mp4", scale=2)
    assert [cover[0] for cover in covers(tmp_path / "c.mp4")] == [jpeg, png]


@pytest.mark.parametrize("suffix", [".mov", ".webm"])
def test_a_cover_that_a_container_cannot_hold_is_named(suffix, tmp_path):
    source, _ = with_cover(tmp_path / "a.mp4", "mjpeg")
    done = upscale_video(source, tmp_path / f"b{suffix}", scale=2)
    with av.open(str(tmp_path / f"b{suffix}")) as made:
        assert len(made.streams.video) == 1
    assert any("cover, mjpeg) cannot be kept" in note for note in done.notes)


# -------------------------------------------------------------------------------------------------------------- tags


def test_itunes_tags_stay_where_its_readers_look(tmp_path):
    plain = film(tmp_path / "plain.mp4", list(range(5)))
    source = rewritten(plain, tmp_path / "a.mp4", metadata={"title": "My film", "artist": "Me", "track": "1/2"})
    assert b"\xa9nam" in source.read_bytes()
    done = upscale_video(source, tmp_path / "b.mp4", scale=2)
    data = (tmp_path / "b.mp4").read_bytes()
    assert b"\xa9nam" in data and b"\xa9ART" in data and b"mdta" not in data and done.notes == ()
    with av.open(str(tmp_path / "b.mp4")) as made:
        assert made.metadata["title"] == "My film" and made.metadata["track"] == "1/2"


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_what_a_phone_writes_is_kept(suffix, tmp_path):
    plain = film(tmp_path / "plain.mov", list(range(5)))
    known = {"com.apple.quicktime.make": "Apple", "com.apple.quicktime.creationdate": "2024-01-01T00:00:00+0100"}
    options = {"movflags": "use_metadata_tags"}
    source = rewritten(plain, tmp_path / "a.mov", metadata=known, options=options)
    done = upscale_video(source, tmp_path / f"b{suffix}", scale=2)
    with av.open(str(tmp_path / f"b{suffix}")) as made:
        assert {key: made.metadata[key] for key in known} == known and done.notes == ()


def test_a_tag_without_a_place_is_kept_alone_and_named_beside_others(tmp_path):
    plain = film(tmp_path / "plain.mkv", list(range(5)))
    for metadata, lost in (({"IMDB": "tt1"}, False), ({"IMDB": "tt1", "title": "My film"}, True)):
        source = rewritten(plain, tmp_path / "a.mkv", metadata=metadata)
        done = upscale_video(source, tmp_path / "b.mp4", scale=2, overwrite=True)
        with av.open(str(tmp_path / "b.mp4")) as made:
            kept = {key.lower(): value for key, value in made.metadata.items()}
        assert kept.get("imdb") == (None if lost else "tt1") and kept.get("title") == metadata.get("title")
        assert any("IMDB; MKV keeps them" in note for note in done.notes) == lost


def test_a_record_is_kept_in_an_mp4(tmp_path):
    plain = film(tmp_path / "plain.mp4", list(range(5)))
    source = rewritten(plain, tmp_path / "a.mp4", metadata={"title": "My film"})
    options = EncodeOptions(codec="h265", quality=0)
    downscale_video("irn-x2-small", source, tmp_path / "b.mp4", options=options)
    with av.open(str(tmp_path / "b.mp4")) as made:
        assert VideoRecord.find(made.metadata).model == "irn-x2-small" and made.metadata["title"] == "My film"


@pytest.mark.parametrize("container", ["mp4", "mov"])
def test_every_key_with_a_place_is_read_back(container, tmp_path):
    numbers = {"episode_sort", "season_number", "media_type", "hd_video", "gapless_playback", "compilation"}
    special = {"location": "+48.8000+002.3000/", "creation_time": "2020-01-02T03:04:05.000000Z"}
    places = tags._PLACES[container]
    metadata = {key: special.get(key, "1" if key in numbers else "1/2") for key in places}
    assert not tags.keeps_any_key(metadata, container, has_record=False)
    plain = film(tmp_path / "plain.mp4", list(range(5)))
    source = rewritten(plain, tmp_path / f"a.{container}", metadata=metadata)
    with av.open(str(source)) as given:
        assert {key: given.metadata.get(key) for key in places} == metadata


def test_statistics_of_the_old_packets_are_dropped_and_those_of_copies_are_not(tmp_path):
    plain = film(tmp_path / "plain.mkv", list(range(5)), sound=[0.0])
    old = {"BPS": "1234", "BPS-eng": "1234", "DURATION-eng": "00:00:09.0", "NUMBER_OF_FRAMES": "99",
           "NUMBER_OF_BYTES-eng": "9", "_STATISTICS_TAGS": "BPS", "_STATISTICS_WRITING_APP-eng": "mkv"}  # fmt: skip
    source = rewritten(plain, tmp_path / "a.mkv", film_tags=old | {"title": "The film", "BPS_OF_MINE": "kept"})
    upscale_video(source, tmp_path / "b.mkv", scale=2)
    with av.open(str(tmp_path / "b.mkv")) as made:
        found = made.streams.video[0].metadata
        assert not set(old) & set(found) and found["title"] == "The film" and found["BPS_OF_MINE"] == "kept"


# ------------------------------------------------------------------------------------------------------------- notes


def test_chapters_and_timecode_are_kept_without_a_word(tmp_path):
    chapter = {"id": 1, "start": 0, "end": 100, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}
    plain = film(tmp_path / "plain.mp4", list(range(5)), sound=[0.0], chapters=[chapter])
    bare = film(tmp_path / "bare.mp4", list(range(5)), sound=[0.0], rate=Fraction(25))
    source = rewritten(bare, tmp_path / "b.mp4", film_tags={"timecode": "01:02:03:04"})
    with av.open(str(plain)) as given:
        assert [s.type for s in given.streams] == ["video", "audio", "data"]
    for start, suffix in ((plain, ".mp4"), (source, ".mp4"), (source, ".mov"), (source, ".mkv")):
        done = upscale_video(start, tmp_path / f"c{suffix}", scale=2, overwrite=True)
        assert done.notes == ()
        with av.open(str(tmp_path / f"c{suffix}")) as made:
            told = {key.lower(): value for key, value in made.streams.video[0].metadata.items()}
            assert start == plain or told["timecode"] == "01:02:03:04"
            assert start == source or [c["metadata"]["title"] for c in made.chapters()] == ["One"]


def with_telemetry(path: Path) -> Path:
    """A GoPro's track of measurements, as FFmpeg's muxer makes of binary data."""
    plain = film(path.with_name("plain.mp4"), list(range(10)), sound=[0.0])

    def measured(made):
        data = made.add_data_stream("bin_data")
        for k in range(3):
            packet = av.Packet(b"DEVC%d" % k)
            packet.stream, packet.time_base, packet.pts, packet.dts = data, Fraction(1, 1000), 100 * k, 100 * k
            packet.duration = 100
            yield packet

    return rewritten(plain, path, more=measured)


def test_a_cameras_measurements_are_kept_in_mp4_and_named_elsewhere(tmp_path):
    source = with_telemetry(tmp_path / "a.mp4")
    assert b"gpmd" in source.read_bytes()
    done = upscale_video(source, tmp_path / "b.mp4", scale=2)
    assert done.notes == () and b"gpmd" in (tmp_path / "b.mp4").read_bytes()
    with av.open(str(tmp_path / "b.mp4")) as made:
        (data,) = [s for s in made.streams if s.type == "data"]
        packets = [(bytes(p), p.pts * p.time_base) for p in made.demux(data) if p.size]
        assert packets == [(b"DEVC%d" % k, Fraction(k, 10)) for k in range(3)]
    done = upscale_video(source, tmp_path / "b.mkv", scale=2)
    assert any("data stream 2 (unknown) cannot be kept in matroska; MP4 would keep it" in note for note in done.notes)


def voiced(path: Path, codec: str) -> Path:
    """A film with sound of a codec; FFmpeg puts TrueHD into no MP4."""
    plain = film(path.with_name("plain.mkv"), list(range(5)), sound=[0.0])
    words = ["-c:v", "copy", "-c:a", codec, "-ac", "2", "-strict", "-2", str(path)]
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-i", str(plain), *words], check=True)
    return path


@pytest.mark.parametrize(
    ("target", "codec", "other"), [("b.webm", "aac", "MP4"), ("b.mp4", "truehd", "MKV"), ("b.mp4", "pcm_s16le", "MOV")]
)
def test_a_result_that_is_silent_is_told_before_the_work(target, codec, other, tmp_path):
    source = voiced(tmp_path / "a.mkv", codec)
    told = []
    options = EncodeOptions(tell=lambda clock: told.append((clock.frames, clock.notes)))
    done = upscale_video(source, tmp_path / target, scale=2, options=options)
    frames, notes = told[0]
    assert frames == 0 and f"the result is silent; {other} would keep its sound" in notes
    assert any(f"audio stream 1 ({codec}) cannot be kept" in note for note in notes) and set(notes) <= set(done.notes)
    with av.open(str(tmp_path / target)) as made:
        assert not made.streams.audio
    assert not any("silent" in note for note in upscale_video(source, tmp_path / "c.mkv", scale=2).notes)


@pytest.mark.parametrize("codec", ["aac", "ac3", "eac3", "flac", "libopus", "libmp3lame", "dca"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_usual_sound_is_taken_and_every_packet_of_it_arrives(codec, suffix, tmp_path):
    source = voiced(tmp_path / "a.mkv", codec)
    assert upscale_video(source, tmp_path / f"b{suffix}", scale=2).notes == ()
    assert len(heard(tmp_path / f"b{suffix}")[0]) == len(heard(source)[0]) > 0
