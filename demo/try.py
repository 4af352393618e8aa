"""The main job on a real photograph: down to a quarter of each side, back up, beside what bicubic makes of it.

python demo/try.py [PICTURE] [--model irn-x4-small]
"""

import argparse
from pathlib import Path

import numpy as np

import rescale
from rescale.evaluation.protocol import round_trip, score
from rescale.io import images
from rescale.io.images import Picture

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", nargs="?", type=Path, default=HERE / "photo.png")
    parser.add_argument("--model", default="irn-x4-small")
    args = parser.parse_args()

    out = HERE / "out"
    out.mkdir(exist_ok=True)
    rescaler = rescale.load(args.model)
    small = out / f"{args.picture.stem}.x{rescaler.scale}.png"
    restored = small.with_suffix(".restored.png")
    rescale.downscale_file(rescaler, args.picture, small, overwrite=True)
    rescale.upscale_file(small, restored, overwrite=True)

    original = images.read(args.picture)
    bicubic = rescale.load(f"bicubic-x{rescaler.scale}")
    plain = bicubic.upscale_picture(bicubic.downscale_picture(original), size=original.size)
    beside = out / f"{args.picture.stem}.compare.png"
    images.write(beside, compare(original, plain, images.read(restored)), overwrite=True)

    height, width = original.size
    print(
        f"{args.picture.name}: {width}x{height} -> {images.read(small).size[1]}x{images.read(small).size[0]} -> back\n"
    )
    print(f"{'':<16} PSNR (Y)   SSIM (Y)")
    for model in (bicubic, rescaler):
        row = score(round_trip(model, original, args.picture.stem), "demo", args.picture.stem)
        print(f"{model.name:<16} {row.psnr_y:>5.2f} dB   {row.ssim_y:.4f}")
    print(f"\nthe small picture  {small}\nthe restored one   {restored}")
    print(f"side by side       {beside}   (original | bicubic | {rescaler.name})")


def compare(*pictures: Picture) -> Picture:
    """The middles of some pictures beside each other, with a white line between."""
    height, width = pictures[0].size
    rows, columns = slice(height // 4, height // 4 * 3), slice(width // 4, width // 4 * 3)
    parts = [picture.pixels[rows, columns] for picture in pictures]
    line = np.full((parts[0].shape[0], 4, parts[0].shape[2]), 255, parts[0].dtype)
    return Picture(np.hstack([x for part in parts for x in (part, line)][:-1]))


if __name__ == "__main__":
    main()
