"""Metrics against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rdflux_ros.evaluation.console import with_interval
from rdflux_ros.evaluation.metrics import KEYS, mean, paired_comparison, rank_correlation, scores, summarise

FREE = np.ones((16, 16), bool)


def grey(value: float) -> np.ndarray:
    return np.full((16, 16), value, np.float32)


def test_a_constant_error() -> None:
    found = scores(grey(0.6), grey(0.5), FREE)
    assert found["nmse"] == pytest.approx(0.01 / 0.25, rel=1e-5)
    assert found["rmse"] == pytest.approx(0.1, rel=1e-5)
    assert found["psnr"] == pytest.approx(20.0, abs=1e-4)
    assert found["rmse_db"] == pytest.approx(9.916, rel=1e-5)
    # Without variance only the luminance term is left: (2 a b + C1) / (a^2 + b^2 + C1), C1 = 0.01^2.
    assert found["ssim"] == pytest.approx((2 * 0.6 * 0.5 + 1e-4) / (0.36 + 0.25 + 1e-4), rel=1e-5)


def test_ssim_has_twice_the_covariance() -> None:
    """The negative of a pattern of zero mean over the window has (-2 s^2 + C2) / (2 s^2 + C2), near -1."""
    rows, cols = np.indices((64, 64))
    pattern = 0.25 * np.where((rows + cols) % 2, 1.0, -1.0).astype(np.float32)
    free = np.ones((64, 64), bool)
    found = scores(0.5 + pattern, 0.5 - pattern, free)
    variance = 0.0625
    assert found["ssim"] == pytest.approx((-2 * variance + 9e-4) / (2 * variance + 9e-4), abs=0.01)


def test_cells_without_value_are_zero_on_both_sides_and_count_in_the_whole_image() -> None:
    free = FREE.copy()
    free[:8] = False
    answer, truth = grey(0.6), grey(0.5)
    answer[:8], truth[:8] = 0.9, 0.1
    found = scores(answer, truth, free)
    assert found["nmse"] == pytest.approx(0.01 / 0.25, rel=1e-5)
    assert found["rmse"] == pytest.approx(0.1 / math.sqrt(2), rel=1e-5), "over all cells"
    assert found["rmse_db"] == pytest.approx(9.916, rel=1e-5), "over the free cells"


def test_equal_maps() -> None:
    found = scores(grey(0.5), grey(0.5), FREE)
    assert (found["nmse"], found["rmse"], found["psnr"]) == (0.0, 0.0, math.inf)
    assert found["ssim"] == pytest.approx(1.0)


def test_what_has_no_value_is_no_number() -> None:
    assert math.isnan(scores(grey(0.5), grey(0.0), FREE)["nmse"])
    assert math.isnan(scores(grey(0.5), grey(0.5), ~FREE)["rmse_db"])
    with pytest.raises(ValueError, match="differ"):
        scores(grey(0.5), np.zeros((8, 8), np.float32), FREE)


def test_summary_has_mean_pooled_and_median_ratio() -> None:
    # Ratios 1, 0.04 and 0.01; errors 256 x 0.01, energies 256 x (0.01, 0.25, 1).
    maps = [scores(grey(t + 0.1), grey(t), FREE) for t in (0.1, 0.5, 1.0)]
    found = summarise(maps)
    assert tuple(found) == KEYS
    assert found["nmse"] == pytest.approx((1 + 0.04 + 0.01) / 3, rel=1e-4)
    assert found["nmse_pooled"] == pytest.approx(0.03 / 1.26, rel=1e-4)
    assert found["nmse_median"] == pytest.approx(0.04, rel=1e-4)
    assert found["rmse"] == pytest.approx(0.1, rel=1e-4)


def test_summary_leaves_out_maps_without_energy() -> None:
    found = summarise([scores(grey(0.6), grey(0.5), FREE), scores(grey(0.1), grey(0.0), FREE)])
    assert found["nmse"] == pytest.approx(0.04, rel=1e-4)
    assert all(math.isnan(value) for value in summarise([]).values())


def test_intervals_cover_a_known_mean_as_often_as_they_say() -> None:
    """Two maps of a scene share what its streets do, so the interval is as wide as that of the scenes' means."""
    random = np.random.default_rng(0)
    scenes = [f"{k // 2}" for k in range(80)]
    covered = 0
    for _ in range(200):
        values = (3.0 + random.normal(0.0, 2.0, size=40)).repeat(2)
        found = paired_comparison(values.tolist(), [0.0] * 80, scenes, draws=500)
        covered += found["low"] < 3.0 < found["high"]
        assert found["high"] - found["low"] < 2.0, "about 4 σ / √40 wide"
    assert 0.88 < covered / 200 < 0.99


def test_pairs_are_compared_by_scenes() -> None:
    ours, theirs = [0.2, 0.4, 0.1, math.nan], [0.1, 0.1, 0.2, 0.3]
    found = paired_comparison(ours, theirs, ["a", "a", "b", "b"])
    assert found["difference"] == pytest.approx(0.3 / 3) and found["ratio"] == pytest.approx(0.7 / 0.4)
    assert math.isnan(paired_comparison([math.nan], [1.0], ["a"])["difference"])


def test_an_interval_is_of_five_scenes_at_least_and_of_its_seed() -> None:
    ours, theirs, scenes = [0.2, 0.4, 0.3, 0.5, 0.6, math.nan], [0.1] * 6, list("abcdef")
    found = paired_comparison(ours, theirs, scenes, seed=1)
    assert found["difference"] == pytest.approx(0.3) and 0.1 < found["low"] < 0.3 < found["high"] < 0.5
    assert 2.0 < found["ratio_low"] < found["ratio"] < found["ratio_high"] < 6.0
    assert found == paired_comparison(ours, theirs, scenes, seed=1)
    few = paired_comparison(ours, theirs, ["a", "a", "b", "c", "d", "e"])
    assert few["difference"] == found["difference"] and math.isnan(few["low"]) and math.isnan(few["ratio_high"])


def test_means_and_ranks() -> None:
    assert mean([0.1, math.nan, 0.3]) == pytest.approx(0.2) and math.isnan(mean([math.nan]))
    assert rank_correlation([1.0, 5.0, 7.0], [0.1, 0.2, 9.0]) == pytest.approx(1.0)
    # Ties share their rank, in whatever order they come.
    assert rank_correlation([1.0, 1.0, 2.0], [0.1, 0.3, 0.2]) == rank_correlation([1.0, 1.0, 2.0], [0.3, 0.1, 0.2])


def test_a_figure_stands_with_its_interval_where_there_is_one() -> None:
    assert with_interval(0.1, -0.05, 0.15) == "+0.10000 [-0.05000, +0.15000]"
    assert with_interval(0.25, 0.19, 0.351, spec=".2g") == "0.25 [0.19, 0.35]"
    assert with_interval(0.1, math.nan, math.nan) == "+0.10000 [-]"
    assert with_interval(math.nan, math.nan, math.nan) == "-"
