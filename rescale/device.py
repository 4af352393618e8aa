"""Choice of a device and of its settings, its free memory, and sides of tiles that fit it."""

import contextlib
import ctypes
import os
import platform
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from rescale.errors import UsageError
from rescale.geometry import Size

LARGEST, SMALLEST = 2048, 256
"""Largest and smallest side of a tile, in HR pixels: the overlap costs little at the one, the other saves memory."""
_WHOLE = 2**26
"""HR pixels of the largest image that a GPU does as one tile: of more, some features have 2^31 elements."""
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of malloc.h
_SHORT = ("can't allocate memory", "could not create a primitive")
"""Out-of-memory messages of PyTorch and oneDNN on a CPU."""
_CGROUP = Path("/sys/fs/cgroup")
_PROCESS = os.getpid()
"""The process that has imported torch; another one here is a fork of it."""


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Compute as in a fresh process, whatever the caller's own tensors need.

    Autocast is off, tensors are made on the CPU where no device is named, and gradients can be had even inside
    `no_grad` and `inference_mode`. The default dtype is one for all threads, so it is left as it is: whatever makes
    tensors names their dtype.

    Raises: UsageError in a forked process, see `check_fork`.
    """
    check_fork()
    with contextlib.ExitStack() as settings:
        for kind in ("cpu", "cuda", "mps", "xpu"):
            if torch.is_autocast_enabled(kind):
                settings.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            settings.enter_context(torch.device("cpu"))
        settings.enter_context(torch.inference_mode(mode=False))
        yield


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Let CUDA multiply float32 as float32, not as TF32, which keeps 10 bits of 23: PyTorch's default for convolutions.

    The settings are one for all threads: the first to enter saves them, the last to leave restores them. A thread that
    meanwhile computes elsewhere is exact too.
    """
    _Float32.enter()
    try:
        yield
    finally:
        _Float32.leave()


def exact_products(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[None]:
    """Return `full_float32` for what is computed in float32 on CUDA, else nothing."""
    is_rounded = device.type == "cuda" and dtype == torch.float32
    return full_float32() if is_rounded else contextlib.nullcontext()


class _Float32:
    """Settings of products in float32 before the first of several threads changed them."""

    lock, users = threading.Lock(), 0
    saved: tuple[str, ...] = ()
    flag: bool | None = None
    """The older setting that goes with them; None where it does not, and PyTorch refuses to tell."""

    @classmethod
    def enter(cls) -> None:
        with cls.lock:
            if not cls.users:
                cls.saved = tuple(place.fp32_precision for place in _products())
                cls.flag = _older_flag()
                cls._set(("ieee",) * len(cls.saved), is_allowed=False)
            cls.users += 1

    @classmethod
    def leave(cls) -> None:
        with cls.lock:
            cls.users -= 1
            if not cls.users:
                cls._set(cls.saved, is_allowed=bool(cls.flag))

    @classmethod
    def _set(cls, values: tuple[str, ...], *, is_allowed: bool) -> None:
        if cls.flag is not None:
            torch.backends.cudnn.allow_tf32 = is_allowed
        for place, value in zip(_products(), values, strict=True):
            place.fp32_precision = value


def _products() -> tuple[Any, ...]:
    """Return where PyTorch keeps them; recurrent networks too, for which the older flag stands as well."""
    cudnn: Any = torch.backends.cudnn
    return cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul


def _older_flag() -> bool | None:
    try:
        return torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return None


def check_fork() -> None:
    """Raises: UsageError in a forked process that would wait for ever for the threads of the one it came from."""
    if os.getpid() != _PROCESS and torch.get_num_threads() > 1:
        raise UsageError(
            "PyTorch's threads are lost in a forked process",
            hint="call torch.set_num_threads(1) in it first, or start it with multiprocessing's spawn method",
        )


def processor_name() -> str:
    """Name the processor, as the system does."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        for line in (line for line in lines if line.startswith("model name")):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def free_memory(device: torch.device) -> float:
    """Return the bytes that may still be allocated on a device, as far as can be known."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return min(psutil.virtual_memory().available, _granted())


def tile_sides(device: torch.device, bytes_per_pixel: float, size: Size | None = None) -> Iterator[int]:
    """Yield sides of tiles to try, the largest first that is likely to fit, then half as large each time.

    Args:
        device: device to run on.
        bytes_per_pixel: peak memory of a network, for each HR pixel of a tile.
        size: HR height and width of the image. A GPU then tries the whole of it first: it has no caches to spare, and
            overlaps cost it as much as any pixel.
    """
    side, room = LARGEST, free_memory(device) / 2
    if size and device.type == "cuda" and size[0] * size[1] <= min(room / bytes_per_pixel, _WHOLE):
        yield max(*size, SMALLEST)
        side = min(side, 2 ** (max(size).bit_length() - 1))
    while side > SMALLEST and side**2 * bytes_per_pixel > room:
        side //= 2
    while side >= SMALLEST:
        yield side
        side //= 2


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that there was not enough memory."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(said in str(error) for said in _SHORT)


def keep_memory() -> None:
    """Let glibc keep the memory that tensors give back, instead of getting it from the system anew each time.

    Fresh pages are filled with zeros first, which takes as long as many a convolution. It holds for the whole process,
    so that is for programs to say; other libraries of C have no such setting, and nothing happens there.
    """
    for setting, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**26)):
        _tell_malloc("mallopt", setting, value)


def release_memory() -> None:
    """Return unused memory to the system, once: the inverse of `keep_memory`; and a GPU's, to be cut anew."""
    _tell_malloc("malloc_trim", 0)
    torch.cuda.empty_cache()


def upload(x: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; to a GPU through pinned memory, for which the host does not wait."""
    if x.device.type == "cuda" or device.type != "cuda":
        return x.to(device)
    pinned = torch.empty(x.shape, dtype=x.dtype, device="cpu", pin_memory=True).copy_(x)
    return pinned.to(device, non_blocking=True)


def begin_download(x: Tensor) -> tuple[Tensor, Callable[[], None]]:
    """Begin to copy a tensor to the host, and return the copy with what waits until it is there."""
    if x.device.type != "cuda":
        return x.cpu(), lambda: None
    pinned = torch.empty(x.shape, dtype=x.dtype, device="cpu", pin_memory=True).copy_(x, non_blocking=True)
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(x.device))
    return pinned, event.synchronize


def download(x: Tensor) -> Tensor:
    """Copy a tensor to the host, into memory that may be kept: pinned memory is scarce."""
    copy, wait = begin_download(x)
    wait()
    return copy.clone() if x.device.type == "cuda" else copy


def _tell_malloc(what: str, *values: int) -> None:
    with contextlib.suppress(AttributeError, OSError, TypeError):
        getattr(ctypes.CDLL(None), what)(*values)


def _granted() -> float:
    """Return the bytes that a Linux container may still take; infinity where no limit is set."""
    try:
        limit = int((_CGROUP / "memory.max").read_text(encoding="ascii"))
        return limit - int((_CGROUP / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return float("inf")


def usable_device(device: str | torch.device | None) -> torch.device:
    """Return the device, by default CUDA if there is one, else the CPU. Raises: UsageError for one that is missing."""
    try:
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=where)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"expected a device that this machine has, got {device!r}") from error
    return where
