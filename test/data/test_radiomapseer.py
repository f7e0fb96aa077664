"""Both layouts on disk become the same samples: metres, row 0 in the south."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from rdflux_ros.data.radiomapseer import DataError, RadioMapSeer, published_split


def save(path: Path, south_up: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), south_up[::-1])


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Two maps of RadioMapSeer's test split and one of train: a building, three antennas, a car."""
    buildings = np.zeros((256, 256), np.uint8)
    buildings[10:30, 200:240] = 255
    car = np.zeros((256, 256), np.uint8)
    car[50:52, 60:65] = 255
    split = published_split()
    for scene in (*split["test"][:2], split["train"][0]):
        save(tmp_path / "png" / "buildings_complete" / f"{scene}.png", buildings)
        save(tmp_path / "png" / "cars" / f"{scene}.png", car)
        antennas = [[20, 5], [100, 200], [250, 128]]
        (tmp_path / "antenna").mkdir(exist_ok=True)
        (tmp_path / "antenna" / f"{scene}.json").write_text(json.dumps(antennas))
        for k, (x, y) in enumerate(antennas):
            for folder in ("DPM", "carsDPM"):
                gain = np.zeros((256, 256), np.uint8)
                gain[y, x] = 255
                save(tmp_path / "gain" / folder / f"{scene}_{k}.png", gain)
    return tmp_path


def test_published_layout_is_read_with_the_south_first(published: Path) -> None:
    dataset = RadioMapSeer(published, "test")
    assert len(dataset) == 6
    assert dataset.names[0] == f"{published_split()['test'][0]}_0"
    sample = dataset[1]
    row, col = np.unravel_index(np.argmax(sample.grey), sample.grey.shape)
    assert (row, col) == (200, 100), "image row 255 - y"
    assert (np.floor(sample.position[:2]) == (col, row)).all()
    assert sample.position[2] == 1.5
    assert sample.heights_m[10, 200] == 25.0 and sample.heights_m[9, 200] == 0.0
    assert sample.surroundings_m.shape == (304, 304)
    assert sample.surroundings_m[24 + 10, 24 + 200] == 25.0
    assert sample.free.sum() == 256 * 256 - 20 * 40


def test_published_layout_with_cars(published: Path) -> None:
    with_cars = RadioMapSeer(published, "test", cars=True)[0]
    assert with_cars.cars[50, 60] and not with_cars.free[50, 60]
    assert len(RadioMapSeer(published, "train")) == 3


def test_published_split_is_the_usual_one() -> None:
    split = published_split()
    assert [len(split[name]) for name in ("train", "val", "test")] == [500, 100, 100]
    assert sorted(int(name) for names in split.values() for name in names) == list(range(1, 701))
    # The first indices that numpy's seed 42 shuffles 0..699 into, plus 1.
    np.random.seed(42)  # noqa: NPY002
    indices = np.arange(0, 700, 1, dtype=np.int16)
    np.random.shuffle(indices)  # noqa: NPY002
    assert split["train"][:3] == [str(i + 1) for i in indices[:3]]
    assert split["test"][-1] == str(indices[-1] + 1)


@pytest.fixture
def with_heights(tmp_path: Path) -> Path:
    """One scene in the layout with heights: a 12.34 m house of 10 x 20 m near the north-east."""
    (tmp_path / "split.json").write_text(json.dumps({"train": [], "val": [], "test": ["town_7"]}))
    (tmp_path / "antenna").mkdir()
    (tmp_path / "antenna" / "town_7.json").write_text("[[30.5, 200.25, 40.0]]")
    heights = np.zeros((256, 256), np.uint8)
    heights[220:230, 180:200] = 12
    fine = np.zeros((1216, 1216), np.uint16)
    fine[96 + 4 * 220 : 96 + 4 * 230, 96 + 4 * 180 : 96 + 4 * 200] = 1234
    grey = np.full((256, 256), 51, np.uint8)
    grey[heights > 0] = 0
    save(tmp_path / "png" / "buildingsWHeight" / "town_7.png", heights)
    save(tmp_path / "png" / "surroundings" / "town_7.png", fine)
    save(tmp_path / "gain" / "static" / "town_7_0.png", grey)
    return tmp_path


def test_layout_with_heights(with_heights: Path) -> None:
    (sample,) = list(RadioMapSeer(with_heights, "test"))
    assert sample.name == "town_7_0"
    assert sample.position.tolist() == [30.5, 200.25, 40.0]
    assert sample.heights_m[220, 180] == 12.0 and sample.heights_m[219, 180] == 0.0
    assert sample.surroundings_m[96 + 880, 96 + 720] == pytest.approx(12.34)
    assert sample.resolution == 0.25
    assert sample.grey[0, 0] == pytest.approx(0.2)
    assert not sample.cars.any()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "split.json").unlink(), "no layout known"),
        (lambda root: (root / "split.json").write_text("{"), "split.json: not valid JSON"),
        (lambda root: (root / "antenna" / "town_7.json").unlink(), "town_7.json"),
        (lambda root: (root / "antenna" / "town_7.json").write_text("[[1, 2]]"), "x, y, z"),
        (lambda root: (root / "antenna" / "town_7.json").write_text('[["a", 1, 2]]'), "town_7.json: .*in numbers"),
        (lambda root: (root / "antenna" / "town_7.json").write_text("[[1, 2, null]]"), "town_7.json: .*in numbers"),
        (lambda root: (root / "antenna" / "town_7.json").write_text("[[1, 2, NaN]]"), "town_7.json: .*in numbers"),
        (lambda root: (root / "gain" / "static" / "town_7_0.png").unlink(), "1 transmitters of town_7, but 0 maps"),
        (lambda root: (root / "gain" / "static" / "town_7_0.png").write_bytes(b"no image"), "not a readable image"),
        (lambda root: save(root / "gain" / "static" / "town_7_0.png", np.zeros((9, 9), np.uint8)), "9 x 9 pixels"),
    ],
)
def test_what_is_missing_or_damaged_is_named(with_heights: Path, damage, message: str) -> None:  # type: ignore[no-untyped-def]
    damage(with_heights)
    with pytest.raises(DataError, match=message):
        list(RadioMapSeer(with_heights, "test"))


def test_real_data(data_root: Path) -> None:
    dataset = RadioMapSeer(data_root / "city", "test")
    assert len(dataset) == 102
    assert len(RadioMapSeer(data_root / "city", "test", cars=True)) == 34
    for index in (0, 50, 101):
        sample = dataset[index]
        assert not sample.grey[sample.heights_m > 0].any(), "no value inside buildings"
        centres = sample.surroundings_m[97 : 97 + 1024 : 4, 97 : 97 + 1024 : 4]
        assert np.mean((centres > 0) == (sample.heights_m > 0)) > 0.98, "the window lies in its surroundings"
