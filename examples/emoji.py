"""3,786 colour pictures of 32x32 from the npm package emoji-datasource-google (Apache-2.0), as arrays to train on.

    npm pack emoji-datasource-google && tar xzf emoji-datasource-google-*.tgz
    python examples/emoji.py package/ [--out emoji]
    python run.py --sde vp --data "arrays(train='emoji-train.npy', test='emoji-test.npy')"

The sheet has a picture in each square of 34 pixels, with a border of one pixel. Transparent parts become white. Every tenth emoji
is held out with all its skin tones, so that no test picture is a training picture in another colour.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE, BORDER = 32, 1


def cut(package: Path) -> tuple[np.ndarray, np.ndarray]:
    """The pictures, uint8 (N, 3, 32, 32), and the number of each one's emoji (N,). Skin tones of an emoji share its number."""
    with Image.open(package / "img/google/sheets-clean/32.png") as opened:
        over = opened.convert("RGBA")
    sheet = np.asarray(Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB"))
    pictures, numbers = [], []
    for number, emoji in enumerate(json.loads((package / "emoji.json").read_text())):
        for entry in (emoji, *emoji.get("skin_variations", {}).values()):
            if entry.get("has_img_google"):
                x, y = (entry[axis] * (SIZE + 2 * BORDER) + BORDER for axis in ("sheet_x", "sheet_y"))
                pictures.append(sheet[y : y + SIZE, x : x + SIZE].transpose(2, 0, 1))
                numbers.append(number)
    return np.stack(pictures), np.array(numbers)


def main() -> None:
    """Write both arrays."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path, help="the unpacked npm package")
    parser.add_argument("--out", default="emoji")
    args = parser.parse_args()
    if not (args.package / "emoji.json").is_file():
        parser.error(f"{args.package} has no emoji.json: give the folder that npm pack's archive unpacks to, package/")
    pictures, numbers = cut(args.package)
    held_out = numbers % 10 == 9
    for name, chosen in (("train", ~held_out), ("test", held_out)):
        np.save(f"{args.out}-{name}.npy", pictures[chosen])
        print(f"{args.out}-{name}.npy: {chosen.sum()} pictures of {len(np.unique(numbers[chosen]))} emoji")


if __name__ == "__main__":
    main()
