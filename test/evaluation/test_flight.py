"""Jitter along a flight: changes are taken at the same place of the map frame, beside the truth's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_scenes import make_scenes

from rdflux_ros.data.radiomapseer import DataError
from rdflux_ros.evaluation.evaluate import main
from rdflux_ros.evaluation.flight import Flight, changed_db
from rdflux_ros.evaluation.reuse_bench import ReuseBench
from rdflux_ros.model.tiny import model_file

POSES = (3, 4, 5, 7)
"""That have a truth here; between the first two the track enters another region."""


@pytest.fixture(scope="module")
def folder(krems: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The flight that ships with the repository, with the truth of `POSES` only, and a tiny model."""
    folder = tmp_path_factory.mktemp("flight")
    for path in krems.glob("*.*"):
        shutil.copy(path, folder)
    (folder / "truth").mkdir()
    for pose in POSES:
        shutil.copy(krems / "truth" / f"{pose:03}.png", folder / "truth")
    model_file(folder / "model.safetensors", steps=10, reuse_ratio=0.8)
    return folder


def test_frames_lie_where_the_truth_does(folder: Path) -> None:
    flight = Flight(folder)
    assert len(flight) == len(POSES) and flight.steps() == [(0, 1), (1, 2)]
    assert flight.regions[0] != flight.regions[1] and flight.regions[1] == flight.regions[2]
    assert [flight.first_in_region(k) for k in range(3)] == [0, 1, 1]
    frames = [flight[k] for k in range(2)]
    grid = frames[0].region.grid
    x, y = frames[0].sample.position[:2] + np.array([grid.origin_x, grid.origin_y])
    row = [float(value) for value in (folder / "poses.csv").read_text().splitlines()[1 + POSES[0]].split(",")]
    assert (x, y, frames[0].sample.position[2]) == pytest.approx(tuple(row[1:]))

    images = [cv2.imread(str(folder / "truth" / f"{pose:03}.png"), cv2.IMREAD_UNCHANGED)[::-1] for pose in POSES[:2]]
    known = []
    for frame in frames:  # on the whole map
        seen = np.zeros(images[0].shape, bool)
        for south, west in np.argwhere(frame.known):
            seen[south + round(frame.region.grid.origin_y), west + round(frame.region.grid.origin_x)] = True
        known.append(seen)
    change = (images[1].astype(float) - images[0])[known[0] & known[1]] / 255
    expected = 99.16 * np.sqrt(np.mean(change**2))
    assert changed_db((frames[0], frames[1]), (frames[0].sample.grey, frames[1].sample.grey)) == pytest.approx(expected)
    assert len(change) > 20_000 and expected > 0.5


def test_jitter_stands_in_the_report_and_is_computed_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, city = tmp_path / "reuse.json", make_scenes(tmp_path / "city")
    command = ["reuse", "--scenario", "transmitter", "--ratios", "0.8", "--data", str(city), "--map-resolution", "1"]
    command += ["--pairs", "1", "--model", str(folder / "model.safetensors"), "--device", "cpu"]
    command += ["--json", str(out), "--flight", str(folder)]
    assert main(command) == 0
    assert "steps of which 1 cross" in capsys.readouterr().out
    found = json.loads(out.read_text())["flight"]
    assert found["steps"] == 2 and found["crossings"] == 1
    methods = found["methods"]
    assert set(methods) == {"truth", "physics", "full", "vanilla", "flux", "flux_short", "aligned"}
    assert methods["truth"]["less_truth_db"] == 0.0
    for name in ("full", "vanilla", "aligned"):
        excess = methods[name]["rms_db"] - methods["truth"]["rms_db"]
        assert methods[name]["less_truth_db"] == pytest.approx(excess) and methods[name]["rms_db"] > 0.0

    def nothing(*_: object) -> None:
        raise AssertionError("computes")

    monkeypatch.setattr(ReuseBench, "answers", nothing)
    assert main(command) == 0
    assert json.loads(out.read_text())["flight"] == found


def test_a_flight_that_does_not_fit_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["reuse", "--ratios", "0.8", "--data", str(tmp_path), "--flight", str(folder)]
    assert main([*command, "--scenario", "static"]) == 2
    assert "does not go with the scenario static" in capsys.readouterr().err
    lonely = tmp_path / "lonely"
    shutil.copytree(folder, lonely)
    for pose in POSES[1:3]:
        (lonely / "truth" / f"{pose:03}.png").unlink()
    assert Flight(lonely).steps() == []
    with pytest.raises(DataError, match="no such folder"):
        shutil.rmtree(lonely / "truth")
        Flight(lonely)
