"""`evaluate`: tables on data with a truth that can be worked out, and one clear line where input does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from rdflux_ros.data.radiomapseer import spread
from rdflux_ros.evaluation.evaluate import main
from rdflux_ros.evaluation.metrics import KEYS
from rdflux_ros.evaluation.physics import compare_part, summarise_parts
from rdflux_ros.radio.units import free_space_gain, grey_from_gain


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A dataset of empty ground, one transmitter above 25 m and one below; the truth is free space."""
    antennas = [[60.0, 200.0, 80.0], [190.0, 30.0, 20.0]]
    root = tmp_path / "city"
    for folder in ("antenna", "png/buildingsWHeight", "png/surroundings", "gain/static"):
        (root / folder).mkdir(parents=True)
    (root / "split.json").write_text(json.dumps({"train": [], "val": [], "test": ["plain"]}))
    (root / "antenna" / "plain.json").write_text(json.dumps(antennas))
    cv2.imwrite(str(root / "png" / "buildingsWHeight" / "plain.png"), np.zeros((256, 256), np.uint8))
    cv2.imwrite(str(root / "png" / "surroundings" / "plain.png"), np.zeros((1216, 1216), np.uint16))
    y, x = np.indices((256, 256)) + 0.5
    for k, (tx, ty, tz) in enumerate(antennas):
        distance = np.sqrt((x - tx) ** 2 + (y - ty) ** 2 + (1.5 - tz) ** 2)
        grey = np.rint(255 * grey_from_gain(free_space_gain(distance))).astype(np.uint8)
        cv2.imwrite(str(root / "gain" / "static" / f"plain_{k}.png"), grey[::-1])
    return root


def test_accuracy_over_empty_ground(plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, report = tmp_path / "figures" / "accuracy.json", tmp_path / "report"
    arguments = ["accuracy", "--data", str(plain), "--model", "physics", "--json", str(out), "--report", str(report)]
    assert main(arguments) == 0
    found = json.loads(out.read_text())
    assert list(found["methods"]) == ["physics"] and found["model"] is None and found["left_out"] == {}
    assert found["maps"] == 2 and found["split"] == "test" and found["map_resolution"] == 0.25
    physics = found["methods"]["physics"]
    assert set(KEYS) <= set(physics)
    for part in (physics["above_25m"], physics["below_25m"]):
        assert part["maps"] == 1
        # The ground's reflection, which the truth here leaves out, is worth a decibel.
        assert part["nmse"] < 0.005 and part["rmse_db"] < 3.0 and part["ssim"] > 0.9
        assert part["where"]["line_of_sight"]["cells_share"] == 1.0
        assert -0.2 < part["where"]["line_of_sight"]["bias_db"] < 3.0
    assert physics["nmse"] == pytest.approx((physics["above_25m"]["nmse"] + physics["below_25m"]["nmse"]) / 2)
    assert "| physics" in capsys.readouterr().out
    assert "plain_0" in (report / "report.md").read_text()
    assert (report / "physics.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "val"], "no maps of split 'val'"),
        (["--methods", "physics,magic"], "unknown method magic; known are autoencoder, physics"),
        (["--cars"], "gain/cars: no such folder"),
    ],
)
def test_what_does_not_fit_is_one_line_and_exit_code_2(
    plain: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["accuracy", "--data", str(plain), *arguments]) == 2
    (line,) = [text for text in capsys.readouterr().err.splitlines() if text.strip()]
    assert line.startswith("evaluate: ") and message in line


@pytest.mark.parametrize(
    ("command", "option", "message"),
    [
        ("accuracy", "--seed=-1", "must not be negative"),
        ("movement", "--seed=-1", "must not be negative"),
        ("uncertainty", "--limit=-1", "must be positive"),
        ("accuracy", "--limit=0", "must be positive"),
        ("physics", "--limit=0", "must be positive"),
    ],
)
def test_numbers_that_are_none_of_maps_or_seeds_are_refused(
    capsys: pytest.CaptureFixture[str], command: str, option: str, message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--data", "city", option])
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_maps_are_spread_from_the_first_to_the_last() -> None:
    assert spread(9, 3) == [0, 4, 8] and spread(9, 1) == [0] and spread(3, 9) == spread(3, None) == [0, 1, 2]


def test_missing_folders_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["accuracy", "--data", str(tmp_path / "none")]) == 2
    assert main(["physics", "--data", str(tmp_path)]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "no such folder" in first and "parts/" in second


def test_a_published_map_is_not_finer_than_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rdflux_ros.data.radiomapseer import published_split

    scene = published_split()["test"][0]
    for folder in ("png/buildings_complete", "antenna", "gain/DPM"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "antenna" / f"{scene}.json").write_text("[[20, 30]]")
    cv2.imwrite(str(tmp_path / "png" / "buildings_complete" / f"{scene}.png"), np.zeros((256, 256), np.uint8))
    cv2.imwrite(str(tmp_path / "gain" / "DPM" / f"{scene}_0.png"), np.full((256, 256), 99, np.uint8))
    command = ["accuracy", "--data", str(tmp_path), "--model", "physics"]
    assert main([*command, "--map-resolution", "0.5"]) == 2
    assert "map resolution 0.5 m from a map of 1 m" in capsys.readouterr().err


def test_a_part_is_compared_where_both_reach() -> None:
    truth = np.zeros((4, 4), np.float32)
    truth[0] = 0.5
    answer = np.zeros((4, 4), np.float32)
    answer[:, 0] = 0.6
    answer[0, 1] = 0.4
    mask = np.ones((4, 4), bool)
    mask[3] = False
    part = compare_part(answer, truth, mask)
    assert (part.in_truth, part.in_answer, part.in_both) == (4, 4, 2)
    found = summarise_parts([part, part])
    assert found["missed"] == 0.5 and found["false"] == 0.5
    assert found["bias_db"] == pytest.approx(0.0, abs=1e-5)
    assert found["rms_db"] == pytest.approx(9.916, rel=1e-5)
    assert found["median_abs_db"] == pytest.approx(9.916, rel=1e-5)


def test_physics_against_the_ray_tracer(data_root: Path, tmp_path: Path) -> None:
    """Both ways to name the data; the truth's own parts beside ours."""
    found = []
    for data in (data_root, data_root / "city"):
        out = tmp_path / "physics.json"
        assert main(["physics", "--data", str(data), "--limit", "2", "--json", str(out)]) == 0
        found.append(json.loads(out.read_text()))
    assert found[0] == found[1]
    assert found[0]["maps"] == 2
    for part in ("reflections", "first_reflections", "diffraction"):
        scored = found[0]["parts"][part]
        assert abs(scored["bias_db"]) < 6 and scored["missed"] < 0.3
    assert found[0]["nmse"]["with_both"] < found[0]["nmse"]["physics"]
    assert found[0]["nmse"]["with_both"] < 0.01


def test_the_shipped_model_beats_the_physics_layer_on_unseen_cities(data_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "accuracy.json"
    arguments = ["accuracy", "--data", str(data_root / "city"), "--limit", "12", "--methods", "physics,aligned"]
    assert main([*arguments, "--json", str(out)]) == 0
    physics, aligned = json.loads(out.read_text())["methods"].values()
    assert physics["above_25m"]["nmse"] < 0.025
    assert physics["below_25m"]["nmse"] < 0.12
    assert aligned["nmse"] < 0.95 * physics["nmse"] and aligned["nmse_pooled"] < 0.95 * physics["nmse_pooled"]


def test_maps_with_cars_are_scored_without_the_cars_cells(data_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "cars.json"
    arguments = ["accuracy", "--data", str(data_root / "city"), "--cars", "--map-resolution", "1", "--limit", "2"]
    assert main([*arguments, "--methods", "physics", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["cars"] is True and found["map_resolution"] == 1.0 and found["maps"] == 2
    assert found["methods"]["physics"]["nmse"] < 0.2
