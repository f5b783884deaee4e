"""Predictions for a split whose labels are kept elsewhere: a zip of index PNGs, one per picture with its stem.

SEGUE_DATA=... python tools/test_predictions.py runs/camvid --data camvid:test --out results/camvid_test.zip --flip
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

from tqdm import tqdm

from segue.data.dataset import open_dataset
from segue.engine.load import load
from segue.engine.predictor import PixelOptions
from segue.files import atomic_write
from segue.tasks.semantic import index_picture


def main() -> None:
    """Predict and pack."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("run", type=Path)
    parse.add_argument("--data", required=True)
    parse.add_argument("--out", type=Path, required=True)
    parse.add_argument("--flip", action="store_true")
    parse.add_argument("--scales", type=float, nargs="+", default=[1.0])
    options = parse.parse_args()
    predictor = load(options.run).with_options(PixelOptions(options.flip, tuple(options.scales)))
    dataset = open_dataset(options.data, {})
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
        for index in tqdm(range(len(dataset)), unit="image"):
            scene = predictor.scenes([(dataset.image(index), None)], threshold=0.0)[0]
            picture = io.BytesIO()
            index_picture(scene).save(picture, "PNG")
            name = f"{dataset.records[index].file.stem}.png"
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), picture.getvalue())  # no clock inside
    atomic_write(options.out, packed.getvalue())
    print(f"{len(dataset)} label maps in {options.out}")


if __name__ == "__main__":
    main()
