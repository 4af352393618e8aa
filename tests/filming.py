"""Small real videos for the tests, with sound and whatever else one may hold."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def picture(k: int, height: int = 48, width: int = 64) -> np.ndarray:
    """RGB that differs from frame to frame: slopes that move, and a square."""
    rows, columns = np.mgrid[:height, :width]
    rgb = np.stack([(columns * 3 + 5 * k) % 256, (rows * 4 + 3 * k) % 256, (rows + columns + 7 * k) % 256], axis=2)
    rgb[10:20, (k * 3) % (width - 10) : (k * 3) % (width - 10) + 10] = (200, 40, 90)
    return rgb.astype(np.uint8)


def film(
    path: Path,
    times: list[int],
    base: Fraction = Fraction(1, 25),
    *,
    rate: Fraction = Fraction(25),
    codec: str = "libx264",
    layout: str = "yuv420p",
    size: tuple[int, int] = (48, 64),
    sound: list[float] | None = None,
    languages: tuple[str, ...] = ("eng",),
    options: dict[str, str] | None = None,
    tags: tuple[int, int, int, int] | None = None,
    rotation: int = 0,
    matrix: tuple[int, ...] | None = None,
    chapters: list[dict] | None = None,
    frames: list[av.VideoFrame] | None = None,
) -> Path:
    """A video whose frames are shown at `times`, in ticks of `base`; one audio stream for each start in `sound`."""
    with av.open(str(path), "w") as made:
        video = made.add_stream(codec, rate=rate, options=options or {})
        video.height, video.width = size
        video.pix_fmt, video.time_base, video.codec_context.time_base = layout, base, base
        if tags:
            context = video.codec_context
            context.color_range, context.color_primaries, context.color_trc, context.colorspace = tags
        if rotation:
            video.set_display_rotation(rotation)
        if matrix:
            video.set_display_matrix(matrix)
        voices = []
        for start, language in zip(sound or [], languages, strict=False):
            name = "libopus" if path.suffix == ".webm" else "aac"
            voice = made.add_stream(name, rate=48000, layout="mono")
            voice.metadata["language"] = language
            voices.append((voice, start))
        if chapters:
            made.set_chapters(chapters)
        for k, time in enumerate(times):
            frame = frames[k] if frames else av.VideoFrame.from_ndarray(picture(k, *size)).reformat(format=layout)
            frame.pts, frame.time_base = time, base
            made.mux(video.encode(frame))
        made.mux(video.encode(None))
        length = float((times[-1] - times[0]) * base) + 0.2
        for voice, start in voices:
            _speak(made, voice, start, length)
    return path


def _speak(made: av.container.OutputContainer, voice: av.AudioStream, start: float, length: float) -> None:
    step = 960
    for at in range(0, int(48000 * length), step):
        wave = np.sin(np.arange(at, at + step) * 0.05)[None].astype(np.float32)
        frame = av.AudioFrame.from_ndarray(
            wave, format="flt" if voice.codec_context.name == "libopus" else "fltp", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = 48000, at + int(start * 48000), Fraction(1, 48000)
        made.mux(voice.encode(frame))
    made.mux(voice.encode(None))


def joined(first: Path, second: Path, target: Path) -> Path:
    """One file with the videos of two, as they are."""
    with av.open(str(first)) as a, av.open(str(second)) as b, av.open(str(target), "w") as made:
        pairs = [(given, made.add_stream_from_template(given.streams.video[0])) for given in (a, b)]
        for given, copy in pairs:
            for packet in given.demux():
                if packet.size:
                    packet.stream = copy
                    made.mux(packet)
    return target


def shown(path: Path) -> list[Fraction]:
    """When each frame is shown, in seconds."""
    with av.open(str(path)) as given:
        return [frame.pts * frame.time_base for frame in given.decode(video=0)]


def pixels(path: Path, format: str = "rgb24") -> list[np.ndarray]:
    with av.open(str(path)) as given:
        return [frame.to_ndarray(format=format) for frame in given.decode(video=0)]


def heard(path: Path) -> list[list[Fraction]]:
    """When each packet of each audio stream is heard, in seconds."""
    with av.open(str(path)) as given:
        streams = given.streams.audio
        found: dict[int, list[Fraction]] = {stream.index: [] for stream in streams}
        for packet in given.demux(*streams) if streams else ():
            if packet.size:
                found[packet.stream.index].append(packet.pts * packet.time_base)
        return list(found.values())
