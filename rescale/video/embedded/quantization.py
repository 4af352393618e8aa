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

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rescale.errors import RecordError
from rescale.models import LumaSR, weights, zoo

_STEPS, _WIDE_STEPS = 31, 2047
"""Steps from zero to the largest number of a row."""
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 0, "lp": 0, "pb": 0}]
_DAMAGED = "the networks in it are damaged"


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
            base, step, limit = self._grid(key)
            base, step = base.to(value.device), step.to(value.device)
            exact = (value - base) / step
            rounded = exact.round().clamp(-limit, limit)
            made[key] = base + (exact + (rounded - exact).detach()) * step
        return made

    def pack(self, network: LumaSR) -> bytes:
        """Serialise a network; the opposite of `unpack`."""
        codes = self._codes(network)
        wide = [code.flatten() for key, code in codes.items() if self._is_wide(key)]
        narrow = [code.flatten() for key, code in codes.items() if not self._is_wide(key)]
        low_first = np.concatenate(wide).astype("<i2").view(np.uint8).reshape(-1, 2).T
        data = low_first.tobytes() + np.concatenate(narrow).astype(np.int8).tobytes()
        return lzma.compress(data, lzma.FORMAT_RAW, filters=_FILTERS)

    def unpack(self, data: bytes) -> LumaSR:
        """Deserialise a network. Raises: RecordError for bytes that are not as many numbers as the network has."""
        sizes = {key: value.numel() for key, value in self.network.state_dict().items()}
        wide = sum(size for key, size in sizes.items() if self._is_wide(key))
        plain = _decompressed(data, 2 * wide + sum(sizes.values()) - wide)
        columns = np.frombuffer(plain, np.uint8, 2 * wide).reshape(2, wide)
        coarse = np.frombuffer(plain, np.int8, offset=2 * wide)
        fine = np.ascontiguousarray(columns.T).view("<i2").reshape(wide)
        return self._filled(self._split(sizes, fine, coarse))

    def _split(self, sizes: dict[str, int], fine: NDArray[np.int16], coarse: NDArray[np.int8]) -> dict[str, Tensor]:
        left, codes = {True: fine.astype(np.int32), False: coarse.astype(np.int32)}, {}
        for key, size in sizes.items():
            is_wide = self._is_wide(key)
            codes[key], left[is_wide] = torch.from_numpy(left[is_wide][:size]), left[is_wide][size:]
        return codes

    def _codes(self, network: LumaSR) -> dict[str, Tensor]:
        codes = {}
        for key, value in network.state_dict().items():
            base, step, limit = self._grid(key)
            codes[key] = ((value.detach().cpu() - base) / step).round().clamp(-limit, limit).int()
        return codes

    def _filled(self, codes: dict[str, Tensor]) -> LumaSR:
        made = copy.deepcopy(self.network).eval().requires_grad_(False)
        state = {}
        for key, code in codes.items():
            base, step, _ = self._grid(key)
            state[key] = base + code.reshape(base.shape).float() * step
        made.load_state_dict(state)
        return made

    def _is_wide(self, key: str) -> bool:
        state = self.network.state_dict()
        first = next(name for name, value in state.items() if value.ndim == 4)
        return key == first or state[key].ndim == 1

    def _grid(self, key: str) -> tuple[Tensor, Tensor, int]:
        """Return the start's parameter, the steps of its rows, and the largest code."""
        base, is_wide = self.network.state_dict()[key].cpu(), self._is_wide(key)
        rows = (base.flatten(1) if base.ndim > 1 else base[None]).abs().amax(1)
        largest = torch.maximum(rows, rows.mean()).clamp_min(1e-6)
        step = (largest / (_WIDE_STEPS if is_wide else _STEPS)).reshape(-1, *[1] * (base.ndim - 1))
        return base, step, 2**15 - 1 if is_wide else 127


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
