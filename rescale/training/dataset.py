"""Load a folder of images as training crops with their bicubic targets: decoded once, kept as bytes."""

import hashlib
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from rescale.errors import UsageError
from rescale.io.images import find, read
from rescale.ops import from_bytes, to_bytes
from rescale.ops.resample import resample
from rescale.training import graphics


@dataclass(frozen=True)
class Pictures:
    """Images in memory, each with the bicubic downscaling of the whole of it.

    The target is made from whole images, so that a crop's target is the crop of the target.
    """

    scale: int | None
    """HR side / LR side; None for pairs of any scale, whose targets are made of each crop."""
    hr: list[Tensor]
    """(3, H, W) uint8, sides multiples of the scale."""
    bicubic: list[Tensor]
    """Targets (3, H/scale, W/scale) in float16: its rounding error lies 30 dB under the error that is learned from."""
    digest: str
    """SHA-256 over names and contents."""

    @cached_property
    def _areas(self) -> list[int]:
        """Running total of pixels: an image is drawn from in proportion to its area."""
        return list(accumulate(x.shape[1] * x.shape[2] for x in self.hr))

    @classmethod
    def of(cls, files: Sequence[Path], hr: list[Tensor], scale: int | None) -> "Pictures":
        """Build from the decoded images of some files."""
        if scale is None:
            return cls(scale, hr, [], digest(files))
        bicubic = [resample(from_bytes(x), (x.shape[1] // scale, x.shape[2] // scale)).half() for x in hr]
        return cls(scale, hr, bicubic, digest(files))

    def to(self, device: str) -> "Pictures":
        """Return the same images in another device's memory, where crops are then cut."""
        return replace(self, hr=[x.to(device) for x in self.hr], bicubic=[x.to(device) for x in self.bicubic])

    def batch(
        self, size: int, crop: int, generator: torch.Generator, share: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """Cut `size` random crops of `crop` HR pixels a side, flipped and transposed -> hr, bicubic in [0, 1].

        Only those of `share` are cut; which ones they are depends on the generator alone.
        """
        draws = [torch.rand(6, generator=generator).tolist() for _ in range(size)]
        pairs = [self._crop(crop, draw) for draw in draws[share]]
        hr, bicubic = zip(*pairs, strict=True)
        return from_bytes(torch.stack(hr)), torch.stack(bicubic).float()

    def batch_of(
        self,
        size: int,
        small: int,
        scales: tuple[float, float],
        generator: torch.Generator,
        share: slice = slice(None),
    ) -> tuple[Tensor, Tensor]:
        """Cut a batch of any scale along each axis: `small` LR pixels a side, HR crops to match; else as `batch`."""
        height, width = (round(small * scale) for scale in scales)
        draws = [torch.rand(6, generator=generator).tolist() for _ in range(size)]
        hr = from_bytes(torch.stack([self._cut(height, width, draw) for draw in draws[share]]))
        return hr, resample(hr, (small, small))

    def _cut(self, height: int, width: int, draw: Sequence[float]) -> Tensor:
        hr = self.hr[bisect(self._areas, draw[0] * self._areas[-1])]
        if draw[5] < 0.5:  # it will be transposed
            height, width = width, height
        top, left = int(draw[1] * (hr.shape[1] - height + 1)), int(draw[2] * (hr.shape[2] - width + 1))
        return _turn(hr[:, top : top + height, left : left + width], draw[3:])

    def _crop(self, crop: int, draw: Sequence[float]) -> tuple[Tensor, Tensor]:
        assert self.scale is not None
        index = bisect(self._areas, draw[0] * self._areas[-1])
        hr, bicubic, small = self.hr[index], self.bicubic[index], crop // self.scale
        top = int(draw[1] * (bicubic.shape[1] - small + 1))
        left = int(draw[2] * (bicubic.shape[2] - small + 1))
        at = top * self.scale, left * self.scale
        hr = hr[:, at[0] : at[0] + crop, at[1] : at[1] + crop]
        bicubic = bicubic[:, top : top + small, left : left + small]
        return _turn(hr, draw[3:]), _turn(bicubic, draw[3:])


def load(
    folders: Sequence[Path], scale: int | None, *, least: int = 1, drawn: float = 0.0, seed: int = 0
) -> tuple[Pictures, Pictures]:
    """Load all images of some folders as (training, validation); a folder given twice counts twice.

    Args:
        folders: read with all their subfolders.
        scale: HR sides are cropped to a multiple of it; None for pairs of any scale.
        least: images with a side under this are left out.
        drawn: share of the training pixels that is drawn or grey, see `graphics`; none is held out.
        seed: seed of the drawn images.
    Raises: UsageError where a folder is missing or fewer than two different images remain; InputError for one that
        cannot be read.
    """
    for folder in folders:
        if not folder.exists():
            raise UsageError(f"{folder}: expected a folder of pictures, found nothing there")
    files = [file for folder in folders for file in find(folder)]
    hr = {file: _read(file, scale or 1) for file in dict.fromkeys(files)}
    fit = [file for file in files if min(hr[file].shape[1:]) >= least]
    if len({file.name for file in fit}) < 2:
        where = ", ".join(map(str, folders))
        raise UsageError(f"expected two pictures or more of at least {least}x{least}, found {len(fit)} in {where}")
    learn, held = split(fit)
    photos = [hr[f] for f in learn]
    extra = [_whole(x, scale or 1) for x in graphics.blend(photos, drawn, seed)] if drawn else []
    return Pictures.of(learn, photos + extra, scale), Pictures.of(held, [hr[f] for f in held], scale)


def split(files: Sequence[Path], every: int = 50) -> tuple[list[Path], list[Path]]:
    """Split into training and validation files: one in `every` or so is held out, at least one, by name alone."""

    def draw(name: str) -> int:
        return int(hashlib.sha256(name.encode()).hexdigest(), 16)

    names = sorted({file.name for file in files}, key=draw)
    held = {name for name in names if draw(name) % every == 0}
    if len(held) in (0, len(names)):
        held = {names[0]}
    return [file for file in files if file.name not in held], [file for file in files if file.name in held]


def digest(files: Sequence[Path]) -> str:
    """Compute the SHA-256 over the names and contents of some files, in order."""
    total = hashlib.sha256()
    for file in files:
        total.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def _read(file: Path, scale: int) -> Tensor:
    return _whole(to_bytes(read(file).rgb)[0], scale)


def _whole(x: Tensor, scale: int) -> Tensor:
    """Crop to a multiple of the scale."""
    return x[:, : x.shape[1] // scale * scale, : x.shape[2] // scale * scale].clone()


def _turn(x: Tensor, draw: Sequence[float]) -> Tensor:
    """Flip and transpose in one of eight ways, by three coin tosses."""
    if draw[0] < 0.5:
        x = x.flip(-1)
    if draw[1] < 0.5:
        x = x.flip(-2)
    return x.transpose(-1, -2) if draw[2] < 0.5 else x
