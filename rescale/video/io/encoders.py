"""Encoder selection and options: planes to packets, tagged with the source's colours."""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import torch

from rescale.errors import MachineError, UsageError
from rescale.geometry import Size
from rescale.video.io.container import library, reason
from rescale.video.io.fields import FieldMarker
from rescale.video.io.frames import Frame, StreamInfo
from rescale.video.io.layouts import LAYOUTS, nearest, with_alpha
from rescale.video.io.planes import to_frame
from rescale.video.io.relayout import relaid, relay

CODECS = {
    "h264": ("h264_nvenc", "libx264"), "h265": ("hevc_nvenc", "libx265"), "av1": ("av1_nvenc", "libsvtav1"),
    "vp9": ("libvpx-vp9",), "ffv1": ("ffv1",), "prores": ("prores_ks",),
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
    "prores_ks": ("yuv422p10le", "yuv444p10le"),
}  # fmt: skip
_QUALITY = {"libx264": 18, "libx265": 20, "libsvtav1": 28, "libvpx-vp9": 24, "h264_nvenc": 20, "hevc_nvenc": 22,
            "av1_nvenc": 26}  # fmt: skip
_PRESET = {"libx264": "veryfast", "libx265": "faster", "libsvtav1": "8", "h264_nvenc": "p4", "hevc_nvenc": "p4",
           "av1_nvenc": "p4"}  # fmt: skip
_CARRIED = {
    "mp4": ("h264", "h265", "av1", "vp9"), "mov": ("h264", "h265", "prores"), "webm": ("vp9", "av1"),
    "matroska": tuple(CODECS),
}  # fmt: skip
_INTERLACED = ("libx264", "prores_ks")
"""Encoders that code fields."""
_CLEAR = {"ffv1": tuple(layout for layout in LAYOUTS if layout.startswith(("yuv420p", "yuv422p", "yuv444p", "gbrp"))
                        and layout not in ("gbrp9le", "yuv420p12le", "yuv420p14le", "yuv422p14le", "yuv444p14le")),
          "prores_ks": ("yuv444p10le",)}  # fmt: skip
"""Layouts that an encoder takes with a plane of alpha as well."""
_ODD = {"libx264": (1, 1), "libx265": (1, 1), "libvpx-vp9": (4, 4), "ffv1": (4, 4), "prores_ks": (4, 4)}
"""Most luma samples for one of chroma, along an axis of odd length; other encoders take even lengths only."""


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
    """Properties of what is written."""
    threads: int = 0
    given: StreamInfo | None = None
    """Properties of the frames that come, where they are not yet in this layout."""
    has_alpha: bool = False
    """Whether a plane of alpha is written."""

    @property
    def pixels(self) -> str:
        """Pixel format that the encoder takes, in FFmpeg's words: the same samples, in its order."""
        if (self.encoder, self.layout) == ("ffv1", "gbrp"):
            return "bgra" if self.has_alpha else "bgr0"
        return with_alpha(self.layout) if self.has_alpha else self.layout

    @property
    def nal_codec(self) -> str:
        """FFmpeg's name of the codec, for encoders of H.264 and H.265."""
        return "h264" if "264" in self.encoder else "hevc"

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
            chosen |= {"level": "3", "slicecrc": "1", "g": "1"} | self._slices()
        if name == "libx264":
            chosen["x264-params"] = ":".join(self._x264())
        if name == "libx265":
            chosen["x265-params"] = ":".join(["log-level=error", *_hdr(self.facts.side_data)])
        if name == "libsvtav1":
            chosen["svtav1-params"] = "progress=0"
        if self.facts.colours.chroma == (2, 2) and self.facts.colours.siting != "left":
            chosen["chroma_sample_location"] = self.facts.colours.siting
        return chosen

    def _x264(self) -> list[str]:
        """Words for x264 itself: not to use AVX-512, where it reads what it never wrote; which field comes first."""
        order = ["bff=1"] if self.facts.fields == "bff" else []
        return ["asm=avx2"] * _has_avx512() + order

    def _slices(self) -> dict[str, str]:
        """Cut frames for FFV1 into four, where no cut parts a sample of chroma, which it refuses."""
        is_even = all(side % (2 * by) == 0 for side, by in zip(self.size, LAYOUTS[self.layout][0], strict=True))
        return {"slices": "4"} if is_even else {}

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
        context.field_order = {"": 0, "tff": 2, "bff": 3}[facts.fields]
        if facts.fields and self.encoder in _INTERLACED:
            context.flags |= 1 << 18 | 1 << 29  # transform and search by fields

    def packets(self, context: Any, frames: "Iterator[Frame]") -> Iterator[Any]:
        """Encode frames, and drain the encoder at the end."""
        layout = with_alpha(self.layout) if self.has_alpha else self.layout
        marked = FieldMarker(self.facts.fields)
        for frame in frames:
            made = to_frame(relay(frame.planes, self.given or self.facts, self.facts), layout)
            made = made if self.pixels == layout else made.reformat(format=self.pixels)
            made.pts, made.time_base = frame.pts, self.facts.time_base
            made.color_range, made.color_primaries, made.color_trc, made.colorspace = self.facts.tags
            yield from context.encode(marked(made))
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
    """Choose the encoder for frames laid out as a source's, and the layout that it takes which is nearest to theirs.

    Args:
        facts: stream information of the source.
        size: height and width of the result.
        container: FFmpeg's name of the container.
        codec: one of `CODECS`; by default h264 for 8 bits and h265 for more, in WebM vp9 and av1; where a video is
            transparent, ffv1 in MKV and prores in MOV.
        quality: CRF; lower is better; by default a good one for the encoder.
        preset: the encoder's own name of a trade-off between speed and bytes.
        threads: number of encoder threads; 0 lets it choose.
    Returns: the encoding, and notes for the user.
    Raises: UsageError for a codec that the container or the size forbids; MachineError if no encoder is available.
    """
    wanted = codec or _default(facts, container)
    if wanted not in CODECS:
        raise UsageError(f"expected one of {', '.join(CODECS)}, got {wanted!r}")
    if wanted not in _CARRIED[container]:
        raise UsageError(f"expected one of {', '.join(_CARRIED[container])} in this container, got {wanted}")
    for name in CODECS[wanted]:
        takes = _takes(name, facts, size)
        layout = nearest(facts.layout, takes) if takes else ""
        if "nvenc" in name and layout != facts.layout:  # where another encoder may take it as it is
            continue
        if not takes:
            break
        made, notes = relaid(replace(facts, size=size), layout)
        keeps = facts.has_alpha and layout in _CLEAR.get(name, ())
        found = Encoding(name, layout, size, quality, preset, made, threads, facts, keeps)
        if _works(found):
            is_lost = facts.side_data and name != "libx265"
            return found, notes + ["the brightness data of HDR is lost; H.265 would keep it"] * bool(is_lost)
    else:
        raise MachineError(f"no encoder for {wanted} with {facts.layout} works on this machine")
    others = [key for key in _CARRIED[container] if all(_takes(name, facts, size) for name in CODECS[key][-1:])]
    raise UsageError(
        f"{wanted} takes even sizes only, and this would be {size[1]}x{size[0]}",
        hint=f"pass codec={' or '.join(map(repr, others))}",
    )


def _default(facts: StreamInfo, container: str) -> str:
    """Choose a codec: one that keeps transparency where there is any and the container has one, else by the depth."""
    if facts.is_transparent and container in ("mov", "matroska"):
        return "prores" if container == "mov" else "ffv1"
    shallow, deep = ("vp9", "av1") if container == "webm" else ("h264", "h265")
    return shallow if facts.depth == 8 else deep


def _takes(encoder: str, facts: StreamInfo, size: Size) -> list[str]:
    """List the layouts that an encoder takes at a size, and those with alpha only, where it can keep what there is."""
    most = _ODD.get(encoder, (0, 0))
    clear = _CLEAR.get(encoder, ()) if facts.has_alpha else ()
    return [
        layout for layout in clear or _LAYOUTS[encoder]
        if not any(length % 2 and by > limit for length, by, limit in zip(size, LAYOUTS[layout][0], most, strict=True))
    ]  # fmt: skip


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
