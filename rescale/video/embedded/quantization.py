"""Quantise the networks of a video: whole steps away from the shipped network that they started from.

```
network.k     codes of the wide parameters as int16, low bytes first, then codes of the others as int8; LZMA
```

A step is a share of the largest number of its row (an output channel) in the start, which the receiver has too, so no
step travels. Kernels that read the image, and biases, have steps 66 times as fine: detail is faint beside brightness,
and at 6 bits their rounding alone cost 1.1 dB where that of all others cost 0.05.
"""

import copy
import lzma
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rescale.errors import RecordError
from rescale.models import LumaSR, weights, zoo

_STEPS, _WIDE_STEPS = 31, 2047
"""Steps from zero to the largest number of a row."""
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 0, "lp": 0, "pb": 0}]
_DAMAGED = "the networks in it are damaged"


class _Grid(NamedTuple):
    """Values that a parameter may travel as."""

    base: Tensor
    """The start's numbers."""
    step: Tensor
    """Of each row."""
    is_wide: bool
    """Whether its codes are of 16 bits."""

    def codes(self, value: Tensor) -> Tensor:
        """Return how many steps lead to a value, as a float and unrounded."""
        return (value - self.base.to(value.device)) / self.step.to(value.device)

    def rounded(self, codes: Tensor) -> Tensor:
        limit = 2**15 - 1 if self.is_wide else 127
        return codes.round().clamp(-limit, limit)

    def value(self, codes: Tensor) -> Tensor:
        """Return the value at so many steps: the opposite of `codes`."""
        return self.base.to(codes.device) + codes * self.step.to(codes.device)


@dataclass(frozen=True)
class Start:
    """A shipped network that others are coded against."""

    network: LumaSR
    digest: str
    """First 16 hex digits of the SHA-256 of its weight file."""

    @classmethod
    def find(cls, digest: str) -> "Start | None":
        """Look up a shipped network by its digest; None where this release has none."""
        name = next((key for key, entry in zoo.manifest().items() if entry.sha256.startswith(digest)), None)
        model = weights.load(name).model if name else None
        return cls(model, digest) if isinstance(model, LumaSR) else None

    def quantized(self, network: LumaSR) -> LumaSR:
        """Return a copy with its parameters rounded as they travel."""
        return self._filled(self._codes(network))

    def straight_through(self, network: LumaSR) -> dict[str, Tensor]:
        """Round the parameters for a training step: values as they travel, gradients as if nothing were rounded."""
        made = {}
        for key, value in network.named_parameters():
            grid = self._grids[key]
            exact = grid.codes(value)
            made[key] = grid.value(exact + (grid.rounded(exact) - exact).detach())
        return made

    def pack(self, network: LumaSR) -> bytes:
        """Serialise a network; the opposite of `unpack`."""
        numbers = np.concatenate([code.flatten() for code in self._codes(network).values()])
        wide, narrow = np.split(numbers, [self._wide_count])
        data = wide.astype("<i2").view(np.uint8).reshape(-1, 2).T.tobytes() + narrow.astype(np.int8).tobytes()
        return lzma.compress(data, lzma.FORMAT_RAW, filters=_FILTERS)

    def unpack(self, data: bytes) -> LumaSR:
        """Deserialise a network. Raises: RecordError for bytes that are not as many numbers as the network has."""
        count = self._wide_count
        plain = _decompressed(data, count + self.network.parameter_count)
        columns = np.frombuffer(plain, np.uint8, 2 * count).reshape(2, count)
        wide = np.ascontiguousarray(columns.T).view("<i2").flatten()
        numbers = np.concatenate([wide, np.frombuffer(plain, np.int8, offset=2 * count)])
        parts = torch.from_numpy(numbers).split([grid.base.numel() for grid in self._grids.values()])
        return self._filled(dict(zip(self._grids, parts, strict=True)))

    def _codes(self, network: LumaSR) -> dict[str, Tensor]:
        values = {key: value.detach().cpu() for key, value in network.state_dict().items()}
        return {key: grid.rounded(grid.codes(values[key])).int() for key, grid in self._grids.items()}

    def _filled(self, codes: dict[str, Tensor]) -> LumaSR:
        made = copy.deepcopy(self.network).eval().requires_grad_(False)
        shaped = {key: codes[key].reshape(grid.base.shape).float() for key, grid in self._grids.items()}
        made.load_state_dict({key: grid.value(shaped[key]) for key, grid in self._grids.items()})
        return made

    @cached_property
    def _grids(self) -> dict[str, _Grid]:
        """Grid of each parameter, the wide ones first: biases, and the first kernel, which reads the image."""
        state = {key: value.detach().cpu() for key, value in self.network.state_dict().items()}
        first = next(key for key, value in state.items() if value.ndim == 4)
        grids = {key: _grid(value, is_wide=key == first or value.ndim == 1) for key, value in state.items()}
        return dict(sorted(grids.items(), key=lambda item: not item[1].is_wide))

    @property
    def _wide_count(self) -> int:
        return sum(grid.base.numel() for grid in self._grids.values() if grid.is_wide)


def _grid(base: Tensor, *, is_wide: bool) -> _Grid:
    rows = (base.flatten(1) if base.ndim > 1 else base[None]).abs().amax(1)
    largest = torch.maximum(rows, rows.mean()).clamp_min(1e-6)
    step = (largest / (_WIDE_STEPS if is_wide else _STEPS)).reshape(-1, *[1] * (base.ndim - 1))
    return _Grid(base, step, is_wide)


def _decompressed(data: bytes, length: int) -> bytes:
    """Decompress exactly so many bytes; longer output is never produced. Raises: RecordError."""
    reader = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS)
    try:
        made = reader.decompress(data, max_length=length + 1)
    except lzma.LZMAError as error:
        raise RecordError(_DAMAGED) from error
    if len(made) != length:
        raise RecordError(f"{_DAMAGED}: they are of another length")
    return made
