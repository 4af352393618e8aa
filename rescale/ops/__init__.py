"""Pure functions on image tensors: no weights, no files, no state."""

from rescale.ops.color import chroma, from_ycbcr, full_range_luma, luma, to_ycbcr
from rescale.ops.pixels import (
    crop,
    from_bytes,
    full_precision,
    pad,
    quantize,
    shave,
    shuffle,
    size_of,
    to_bytes,
    to_levels,
)

__all__ = [
    "chroma", "crop", "from_bytes", "from_ycbcr", "full_precision", "full_range_luma", "luma", "pad", "quantize",
    "shave", "shuffle", "size_of", "to_bytes", "to_levels", "to_ycbcr",
]  # fmt: skip
