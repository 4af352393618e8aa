"""Record of an LR video, in its container's metadata; see `rescale.io.record` for images."""

import hashlib
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from rescale.errors import RecordError
from rescale.io.record import KEY, parsed
from rescale.video.io.colour import Colours, Levels
from rescale.video.io.frames import StreamInfo
from rescale.video.io.layouts import LAYOUTS

_Side = Annotated[int, Field(ge=1, le=65_536)]
_Tag = Annotated[int, Field(ge=0, le=22)]  # as far as H.273 goes
_Hex = Annotated[str, Field(pattern=r"^([0-9a-f]{2}){1,256}$")]


class VideoRecord(BaseModel):
    """Contents of a record: all that `up` needs to restore an LR video; unknown further fields are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    version: Annotated[int, Field(ge=1, le=2)]
    """Version; 2 with networks."""
    model: str = Field(pattern=r"^\w[\w .+()-]{0,63}$")
    weights: str = Field(pattern=r"^[0-9a-f]{16}$")
    """First 16 hex digits of the SHA-256 of the weight file."""
    size: tuple[_Side, _Side]
    """Height and width of the original."""
    layout: str = Field(pattern=r"^[a-z0-9]{1,16}$")
    """FFmpeg's name of the pixel format of the original's planes."""
    tags: tuple[_Tag, _Tag, _Tag, _Tag]
    matrix: _Tag
    full: bool
    siting: Literal["left", "center", "topleft", "top", "bottomleft", "bottom"]
    first: str = Field(pattern=r"^[0-9a-f]{16}$")
    """Digest of the first LR frame."""
    networks: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the bundle in the video; `model` and `weights` then name the generic network it started from."""
    side: dict[Literal["MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"], _Hex] = {}
    """HDR metadata, as FFmpeg lays it out in memory."""

    @classmethod
    def of(
        cls, model: str, weights: str, original: StreamInfo, first: list[Tensor], networks: str | None = None
    ) -> "VideoRecord":
        """Make the record of an LR video from its original."""
        colours = original.colours
        return cls(
            version=2 if networks else 1, model=model, weights=weights, size=original.size, layout=original.layout,
            tags=original.tags, matrix=colours.matrix, full=colours.levels.is_full, siting=colours.siting,
            first=digest(first), networks=networks,
            side={key: value.hex() for key, value in original.side_data.items()},  # type: ignore[misc]
        )  # fmt: skip

    @classmethod
    def find(cls, metadata: dict[str, Any]) -> "VideoRecord | None":
        """Read the record in a container's metadata. Raises: RecordError for one that is damaged or newer."""
        text = next((value for key, value in metadata.items() if key.lower() == KEY), None)
        if text is None:
            return None
        found = parsed(cls, text)
        if found.layout not in LAYOUTS or not found._is_possible():
            raise RecordError(f"the record is damaged: no video is {found.layout} with matrix {found.matrix}")
        return found

    def _is_possible(self) -> bool:
        is_rgb, known = self.layout.startswith("gbrp"), (1, 4, 5, 6, 7, 9, 10)
        return (self.matrix == 0) == is_rgb and (is_rgb or self.matrix in known) and self.tags[0] <= 2

    def original(self, small: StreamInfo) -> StreamInfo:
        """Properties of the restored video."""
        chroma, depth = LAYOUTS[self.layout]
        colours = Colours(Levels(depth, self.full), self.matrix, chroma, self.siting)
        side = {str(key): bytes.fromhex(value) for key, value in self.side.items()}
        return StreamInfo(
            self.size, self.layout, colours, small.time_base, small.rate, Fraction(1), self.tags, None, side
        )


def digest(planes: list[Tensor]) -> str:
    """Digest of a frame's samples: 16 hex digits."""
    total = hashlib.sha256()
    for plane in planes:
        total.update(str(tuple(plane.shape)).encode() + plane.int().cpu().numpy().astype("<i4").tobytes())
    return total.hexdigest()[:16]
