"""Keep of each truth image what an answer may cover, zero the rest, so that the flight fits into a few megabytes.

    python examples/krems/mask_truth.py FOLDER_OF_THE_WHOLE_IMAGES [--out examples/krems/truth]

An answer's window is centred within 48 m of the pose along x and y, on a lattice of 64 m; kept is the union of all
windows that this allows.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import cv2
import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))
from rdflux_ros.mapping.regions import HYSTERESIS_M  # noqa: E402
from rdflux_ros.radio.grid import LATTICE_M, WINDOW_M  # noqa: E402


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder with 000.png ..., whole images of the map, 1 m a pixel")
    parser.add_argument("--out", type=Path, default=HERE / "truth")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    with (HERE / "poses.csv").open(newline="") as file:
        for i, row in enumerate(csv.DictReader(file)):
            image = cv2.imread(str(args.source / f"{i:03d}.png"), cv2.IMREAD_UNCHANGED)
            cols = reach(float(row["x"]), image.shape[1])
            south_up = reach(float(row["y"]), image.shape[0])
            rows = slice(image.shape[0] - south_up.stop, image.shape[0] - south_up.start)
            kept = np.zeros_like(image)
            kept[rows, cols] = image[rows, cols]
            cv2.imwrite(str(args.out / f"{i:03d}.png"), kept, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return 0


def reach(position: float, size: int) -> slice:
    """Cells along one axis that a window with its centre within 48 m of `position` [m] can hold."""
    first = np.ceil((position - HYSTERESIS_M) / LATTICE_M) * LATTICE_M
    last = np.floor((position + HYSTERESIS_M) / LATTICE_M) * LATTICE_M
    return slice(int(max(first - WINDOW_M / 2, 0)), int(min(last + WINDOW_M / 2, size)))


if __name__ == "__main__":
    sys.exit(main())
