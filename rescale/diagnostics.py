"""Self-test of an installation: versions, devices, image formats, encoders, shipped models."""

import ctypes
import importlib
import importlib.util
import platform
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from importlib import metadata
from io import BytesIO

import numpy as np
import psutil
import torch

import rescale
from rescale.device import usable_device
from rescale.inference import optimize, selftest
from rescale.inference.rescaler import load
from rescale.io import images
from rescale.io.formats import FORMATS
from rescale.io.picture import Picture
from rescale.models import zoo
from rescale.video.io import container

EXTRAS = {
    "video": ("video", ("av",)),
    "lpips": ("LPIPS in evaluate", ("lpips", "torchvision")),
    "train": ("curves, and degraded images in training", ("kornia", "matplotlib")),
    "demo": ("the demo in the browser", ("gradio",)),
    "cloud": ("object stores and Ray", ("fsspec", "gcsfs", "ray", "s3fs")),
    "formats": ("HEIC", ("pillow_heif",)),
    "models": ("community models", ("spandrel", "torchvision")),
    "hub": ("models of the Hugging Face Hub", ("huggingface_hub",)),
    "export": ("export to ONNX", ("onnx", "onnxscript", "onnxruntime")),
}
"""Extra of the package: its purpose, and the modules that it needs."""
_CORE = ("torch", "numpy", "pillow", "imagecodecs", "tifffile", "safetensors")
_MORE = ("av", "gradio", "ray")


@dataclass
class Report:
    """Findings of the self-test; empty `broken` means that all that is installed works."""

    versions: dict[str, str] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)
    formats: dict[str, str] = field(default_factory=dict)
    """Image formats: "read and written" or "read"."""
    encoders: dict[str, str] = field(default_factory=dict)
    """Video codecs: the name that a user asks for, and FFmpeg's name of the encoder that works here."""
    models: dict[str, selftest.Trial] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """Optional features that are not installed, and how to get them; no fault."""
    broken: list[str] = field(default_factory=list)
    elapsed_s: float = 0.0

    @contextmanager
    def trying(self, what: str) -> Iterator[None]:
        """Record any exception in the block as broken."""
        try:
            yield
        except Exception as error:
            lines = str(error).strip().splitlines()
            reason = lines[0][:300] if lines else type(error).__name__
            self.broken.append(f"{what}: {reason}{_cure(reason)}")


def examine(device: str | None = None) -> Report:
    """Test everything once; takes a few seconds.

    Args:
        device: where the models run; CUDA if there is one.
    Raises: UsageError for a device that does not exist.
    """
    began, report, where = time.monotonic(), Report(), usable_device(device)
    report.versions = _versions()
    report.devices = _devices()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other packages complain of each other when they are imported
        _try_extras(report)
    _try_formats(report)
    if importlib.util.find_spec("av"):
        with report.trying("video"):
            _try_encoders(report)
    _try_models(report, where)
    report.elapsed_s = round(time.monotonic() - began, 2)
    return report


def _cure(reason: str) -> str:
    """Name cause and cure where a reason is known to hide them."""
    if "operator torchvision::" not in reason:
        return ""
    build = f"torch {torch.__version__}"
    return f"; torchvision was built for another build than {build}: install both in one command, from the same index"


def _versions() -> dict[str, str]:
    found = {"rescale": rescale.__version__, "Python": platform.python_version()}
    for name in (*_CORE, *_MORE):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    with suppress(Exception):
        found["FFmpeg"] = str(container.library().ffmpeg_version_info)
    return found


def _devices() -> dict[str, str]:
    memory = psutil.virtual_memory()
    native = "native" if optimize.multiplies_bfloat16(torch.device("cpu")) else "not native, float32 is used"
    found = {
        "CPU": f"{torch.get_num_threads()} threads, bfloat16 {native}",
        "memory": f"{memory.total / 1e9:.1f} GB, {memory.available / 1e9:.1f} GB of it free",
    }
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        found[f"CUDA {index}"] = f"{facts.name}, {facts.total_memory / 1e9:.1f} GB, driver {_driver()}"
    return found | ({} if torch.cuda.is_available() else {"CUDA": "none"})


def _driver() -> str:
    """NVIDIA driver version, as its own library reports it."""
    said = ctypes.create_string_buffer(96)
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL("libnvidia-ml.so.1")
        library.nvmlInit_v2()
        library.nvmlSystemGetDriverVersion(said, len(said))
    return said.value.decode() or "unknown"


def _try_extras(report: Report) -> None:
    for extra, (what, modules) in EXTRAS.items():
        absent = [name for name in modules if importlib.util.find_spec(name) is None]
        if absent:
            report.missing[what] = f"needs {', '.join(absent)}: pip install 'rescale[{extra}]'"
            continue
        with report.trying(what):
            for name in modules:
                importlib.import_module(name)


def _try_formats(report: Report) -> None:
    original = Picture(selftest.test_image((48, 64)).pixels)
    absent = {"HEIF"} if importlib.util.find_spec("pillow_heif") is None else set()  # which `missing` tells
    for format, row in FORMATS.items():
        if format in absent:
            continue
        with report.trying(format):
            data = images.encode(format, original)[0] if row.is_written else _by_others(format, original)
            found = images.decode(data, format)
            _check_same(original, found, 0 if row.is_lossless else 12)
            report.formats[format] = "read and written" if row.is_written else "read"
    deep = Picture(original.pixels.astype(np.uint16) * 257)
    for format in (row.name for row in FORMATS.values() if 16 in row.depths):
        with report.trying(f"{format} of 16 bits"):
            _check_same(deep, images.decode(images.encode(format, deep)[0], format), 0)


def _by_others(format: str, picture: Picture) -> bytes:
    """Write a format that this package only reads."""
    out, image = BytesIO(), images.to_pil(picture)
    if format == "HEIF":
        importlib.import_module("pillow_heif").from_pillow(image).save(out)
    else:
        image.save(out, format)
    return out.getvalue()


def _check_same(a: Picture, b: Picture, most: float) -> None:
    if a.pixels.shape != b.pixels.shape or np.abs(a.pixels.astype(float) - b.pixels).mean() > most:
        raise ValueError("what was written is not what is read")


def _try_encoders(report: Report) -> None:
    """Encode one grey frame with each encoder, up to the packets."""
    from rescale.video.io.colour import Colours, Levels
    from rescale.video.io.encoders import CODECS, encoding
    from rescale.video.io.frames import Frame, StreamInfo

    size = 128, 192
    colours = Colours(Levels(8, is_full=False), 6, (2, 2), "left")
    facts = StreamInfo(size, "yuv420p", colours, Fraction(1, 25), Fraction(25), Fraction(1), (1, 6, 6, 6), None)
    planes = [torch.full((size[0] // by, size[1] // by), 128, dtype=torch.uint8) for by in (1, 2, 2)]
    for codec in CODECS:
        with report.trying(f"encoding {codec}"):
            found, _ = encoding(facts, size, "matroska", codec=codec)
            if not list(found.packets(found.begin(), iter([Frame(planes, 0)]))):
                raise ValueError("nothing came out of the encoder")
            report.encoders[codec] = found.encoder


def _try_models(report: Report, device: torch.device) -> None:
    entries: dict[str, zoo.ManifestEntry] = {}
    with report.trying("the list of models"):
        entries = zoo.manifest()
    for name, entry in entries.items():
        with report.trying(name):
            found = selftest.trial(load(name, device=device), warm_up=True)
            report.models[name] = found
            if problem := selftest.deviation(found, entry.golden):
                raise ValueError(problem)
