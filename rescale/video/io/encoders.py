"""Encoder selection and options: planes to packets, tagged with the source's colours."""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch

from rescale.errors import MachineError, UsageError
from rescale.geometry import Size
from rescale.video.io.container import library, reason
from rescale.video.io.frames import LAYOUTS, Frame, StreamInfo, to_frame

CODECS = {
    "h264": ("h264_nvenc", "libx264"), "h265": ("hevc_nvenc", "libx265"), "av1": ("av1_nvenc", "libsvtav1"),
    "vp9": ("libvpx-vp9",), "ffv1": ("ffv1",),
}  # fmt: skip
"""Codecs that a user may request, and the encoders for each, the best first."""
_LAYOUTS = {
    "h264_nvenc": ("yuv420p", "yuv444p"), "hevc_nvenc": ("yuv420p", "yuv444p"), "av1_nvenc": ("yuv420p",),
    "libx264": ("yuv420p", "yuv422p", "yuv444p", "gray", "yuv420p10le", "yuv422p10le", "yuv444p10le", "gray10le"),
    "libx265": ("yuv420p", "yuv422p", "yuv444p", "gray", "gbrp", "yuv420p10le", "yuv422p10le", "yuv444p10le",
                "gbrp10le", "gray10le", "yuv420p12le", "yuv422p12le", "yuv444p12le", "gbrp12le", "gray12le"),
    "libsvtav1": ("yuv420p", "yuv420p10le"),
    "libvpx-vp9": ("yuv420p", "yuv422p", "yuv444p", "gbrp"),  # as PyAV's wheels have it, without high depths
    "ffv1": tuple(LAYOUTS),
}  # fmt: skip
_QUALITY = {"libx264": 18, "libx265": 20, "libsvtav1": 28, "libvpx-vp9": 24, "h264_nvenc": 20, "hevc_nvenc": 22,
            "av1_nvenc": 26}  # fmt: skip
_PRESET = {"libx264": "veryfast", "libx265": "faster", "libsvtav1": "8", "h264_nvenc": "p4", "hevc_nvenc": "p4",
           "av1_nvenc": "p4"}  # fmt: skip
_CARRIED = {
    "mp4": ("h264", "h265", "av1", "vp9"), "mov": ("h264", "h265"), "webm": ("vp9", "av1"),
    "matroska": tuple(CODECS),
}  # fmt: skip


@dataclass(frozen=True)
class Encoding:
    """Settings of one encode."""

    encoder: str
    """FFmpeg's name of the encoder."""
    layout: str
    size: Size
    quality: float | None
    preset: str | None
    facts: StreamInfo
    threads: int = 0

    @property
    def pixels(self) -> str:
        """Pixel format that the encoder takes, in FFmpeg's words: the same samples, in its order."""
        return "bgr0" if (self.encoder, self.layout) == ("ffv1", "gbrp") else self.layout

    @property
    def options(self) -> dict[str, str]:
        """Encoder options beside size, rate and colours."""
        name, chosen = self.encoder, {}
        if name in _QUALITY:
            key = "cq" if "nvenc" in name else "crf"
            chosen[key] = str(_QUALITY[name] if self.quality is None else self.quality)
        if name in _PRESET:
            chosen["preset"] = self.preset or _PRESET[name]
        if name == "libvpx-vp9":
            chosen |= {"b": "0", "row-mt": "1", "deadline": "good", "cpu-used": "5"}
        if name == "ffv1":
            chosen |= {"level": "3", "slicecrc": "1", "slices": "4", "g": "1"}
        if name == "libx264" and _has_avx512():  # whose code in x264 reads what it never wrote: the bytes then vary
            chosen["x264-params"] = "asm=avx2"
        if name == "libx265":
            chosen["x265-params"] = ":".join(["log-level=error", *_hdr(self.facts.side_data)])
        if name == "libsvtav1":
            chosen["svtav1-params"] = "progress=0"
        if self.facts.colours.chroma == (2, 2) and self.facts.colours.siting != "left":
            chosen["chroma_sample_location"] = self.facts.colours.siting
        return chosen

    def begin(self) -> Any:
        """Open a new encoder. Raises: MachineError where it is not available; UsageError for an unknown preset."""
        av = library()
        os.environ.setdefault("SVT_LOG", "1")  # or SVT-AV1 would tell of itself on stderr
        try:
            context = av.CodecContext.create(self.encoder, "w")
            self.fit(context)
            context.open()
        except (av.FFmpegError, ValueError) as error:
            if self.preset is not None:
                raise UsageError(f"{self.encoder} does not take this, or not with the preset {self.preset}") from error
            raise MachineError(f"the encoder {self.encoder} does not take this video: {reason(error)}") from error
        return context

    def fit(self, context: Any) -> None:
        """Configure an encoder before it is opened."""
        facts = self.facts
        context.height, context.width = self.size
        context.pix_fmt, context.time_base, context.framerate = self.pixels, facts.time_base, facts.rate
        context.sample_aspect_ratio, context.options = facts.aspect, self.options
        context.color_range, context.color_primaries, context.color_trc, context.colorspace = facts.tags
        context.thread_count = self.threads
        context.flags |= 1 << 22  # the header once, in front of all packets

    def packets(self, context: Any, frames: "Iterator[Frame]") -> Iterator[Any]:
        """Encode frames, and drain the encoder at the end."""
        for frame in frames:
            made = to_frame(frame.planes, self.layout)
            made = made if self.pixels == self.layout else made.reformat(format=self.pixels)
            made.pts, made.time_base = frame.pts, self.facts.time_base
            made.color_range, made.color_primaries, made.color_trc, made.colorspace = self.facts.tags
            yield from context.encode(made)
        yield from context.encode(None)


def _has_avx512() -> bool:
    return bool(getattr(torch.cpu, "_is_avx512_supported", bool)())


def encoding(
    facts: StreamInfo,
    size: Size,
    container: str,
    *,
    codec: str | None = None,
    quality: int | None = None,
    preset: str | None = None,
    threads: int = 0,
) -> tuple[Encoding, list[str]]:
    """Choose the encoder for frames laid out as a source's.

    Args:
        facts: stream information of the source.
        size: height and width of the result.
        container: FFmpeg's name of the container.
        codec: one of `CODECS`; by default h264 for 8 bits and h265 for more, in WebM vp9.
        quality: CRF; lower is better; by default a good one for the encoder.
        preset: the encoder's own name of a trade-off between speed and bytes.
        threads: number of encoder threads; 0 lets it choose.
    Returns: the encoding, and notes for the user.
    Raises: UsageError for a codec that the container or the layout forbids; MachineError if no encoder is available.
    """
    depth = facts.colours.levels.depth
    shallow, deep = ("vp9", "av1") if container == "webm" else ("h264", "h265")
    wanted = codec or (shallow if depth == 8 else deep)
    if wanted not in CODECS:
        raise UsageError(f"expected one of {', '.join(CODECS)}, got {wanted!r}")
    if wanted not in _CARRIED[container]:
        raise UsageError(f"expected one of {', '.join(_CARRIED[container])} in this container, got {wanted}")
    layout = facts.layout
    _check_layout(layout, wanted)
    side = 2 if LAYOUTS[layout][0] == (2, 2) and wanted != "ffv1" else 1
    if any(length % side for length in size):
        raise UsageError(
            f"{wanted} takes even sizes only, and this would be {size[1]}x{size[0]}", hint="pass codec='ffv1'"
        )
    for name in CODECS[wanted]:
        found = Encoding(name, layout, size, quality, preset, facts, threads)
        if layout in _LAYOUTS[name] and _works(found):
            is_lost = facts.side_data and name != "libx265"
            return found, ["the brightness data of HDR is lost; H.265 would keep it"] if is_lost else []
    raise MachineError(f"no encoder for {wanted} with {layout} works on this machine")


def _check_layout(layout: str, codec: str) -> None:
    takers = [name for name, encoders in CODECS.items() if any(layout in _LAYOUTS[encoder] for encoder in encoders)]
    if codec not in takers:
        raise UsageError(f"{codec} does not take {layout}", hint=f"pass codec={' or '.join(takers)}")


def _works(found: Encoding) -> bool:
    """Tell whether the encoder really works; one that needs a GPU is tried with one grey frame."""
    if "nvenc" not in found.encoder:
        return found.encoder in library().codecs_available
    import torch

    if not torch.cuda.is_available():
        return False
    try:
        tall, wide = LAYOUTS[found.layout][0]
        planes = [torch.full(found.size, 128, dtype=torch.uint8)]
        planes += [torch.full((found.size[0] // tall, found.size[1] // wide), 128, dtype=torch.uint8)] * 2
        return bool(list(found.packets(found.begin(), iter([Frame(planes, 0)]))))
    except (MachineError, library().FFmpegError):
        return False


def _hdr(side_data: dict[str, bytes]) -> list[str]:
    """Format HDR mastering data for x265. Source: FFmpeg's AVMasteringDisplayMetadata, in its own order."""
    said = []
    mastering = side_data.get("MASTERING_DISPLAY_METADATA", b"")
    if len(mastering) >= 88 and all(struct.unpack_from("<2i", mastering, 80)):
        pairs = [Fraction(*pair) for pair in zip(*[iter(struct.unpack_from("<20i", mastering))] * 2, strict=True)]
        red, green, blue, white = zip(*[iter(round(value * 50_000) for value in pairs[:8])] * 2, strict=True)
        least, most = (round(value * 10_000) for value in pairs[8:])
        places = zip("GBR", (green, blue, red), strict=True)
        said.append(
            "master-display=" + "".join(f"{name}({x},{y})" for name, (x, y) in places) + f"WP({white[0]},{white[1]})"
            f"L({most},{least})"
        )
    light = side_data.get("CONTENT_LIGHT_LEVEL", b"")
    if len(light) >= 8:
        said.append("max-cll={},{}".format(*struct.unpack_from("<2I", light)))
    return said
