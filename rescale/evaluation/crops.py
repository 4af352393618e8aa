"""Crops of originals and restored images side by side: the same detail of each, magnified, with its PSNR below."""

from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

from rescale.evaluation.protocol import Trial
from rescale.evaluation.tables import psnr_text
from rescale.io.picture import Picture
from rescale.metrics import psnr
from rescale.ops import to_bytes

SIDE, ZOOM, LABEL = 96, 2, 34  # pixels of a detail, how often each is repeated, and of the line below
MOST = 12
"""Largest number of images shown; later ones are left out."""
_STEP = 8
_MARGIN = 9  # what the largest scale may crop


@dataclass
class Grid:
    """A grid of crops: a row for each image, the original first, then each model's result."""

    rows: dict[Hashable, dict[str, Image.Image]] = field(default_factory=dict)

    def add(self, key: Hashable, cells: dict[str, Image.Image]) -> None:
        """Add one model's result on an image, from `details`: `key` tells images apart."""
        self.rows.setdefault(key, {}).update(cells)

    def picture(self) -> Picture:
        """Return the whole grid as one image."""
        columns = list(dict.fromkeys(name for row in self.rows.values() for name in row))
        width, height = SIDE * ZOOM + 4, SIDE * ZOOM + LABEL
        sheet = Image.new("RGB", (width * len(columns), height * len(self.rows)), "white")
        for y, row in enumerate(self.rows.values()):
            for x, name in enumerate(columns):
                if name in row:
                    sheet.paste(row[name], (x * width, y * height))
        return Picture(np.asarray(sheet))


def details(name: str, original: Picture, trial: Trial) -> dict[str, Image.Image]:
    """Crop the original's busiest place, called `name`, and the same of the restored image."""
    top, left = busiest(original)
    place = slice(top, top + SIDE), slice(left, left + SIDE)
    score = psnr_text(psnr(trial.restored.rgb, trial.picture.rgb).item())
    title = " ".join(filter(None, (trial.model, str(trial.scale), trial.refined, trial.saved_as)))
    return {"": _cell(original, place, name), title: _cell(trial.restored, place, f"{title}\n{score} dB RGB")}


def busiest(picture: Picture) -> tuple[int, int]:
    """Return the top left of the window with the most detail, in steps of a few pixels; clear of cropped borders."""
    grey = picture.rgb[0].mean(dim=0)
    energy = (grey[1:, 1:] - grey[:-1, 1:]).abs() + (grey[1:, 1:] - grey[1:, :-1]).abs()
    energy = energy[: max(len(energy) - _MARGIN, 1), : max(energy.shape[1] - _MARGIN, 1)]
    window = [min(SIDE, length) for length in energy.shape]
    sums = F.avg_pool2d(energy[None, None], window, stride=_STEP)[0, 0]
    row, column = divmod(int(sums.argmax()), sums.shape[1])
    return row * _STEP, column * _STEP


def _cell(picture: Picture, window: tuple[slice, slice], label: str) -> Image.Image:
    detail = to_bytes(picture.rgb[0].permute(1, 2, 0)[window]).numpy()
    large = Image.fromarray(detail).resize((detail.shape[1] * ZOOM, detail.shape[0] * ZOOM), Image.Resampling.NEAREST)
    cell = Image.new("RGB", (SIDE * ZOOM, SIDE * ZOOM + LABEL), "white")
    cell.paste(large)
    ImageDraw.Draw(cell).text((2, SIDE * ZOOM + 3), label, fill="black", font=ImageFont.load_default(13))
    return cell
