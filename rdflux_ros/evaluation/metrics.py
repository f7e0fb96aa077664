"""How far a radio map is from the truth, as the papers measure it, and in dB.

Metrics score the whole image on the grey scale (range 1) with cells without value at 0 on both
sides. NMSE = sum (y' - y)^2 / sum y^2, RMSE = sqrt(MSE), PSNR = 10 log10(1 / MSE), SSIM after Wang
et al. 2004 (with 2 sigma_xy): Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03, population
covariance, as scikit-image computes it. ``rmse_db`` scores the free cells only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from rdflux_ros.radio.units import GREY_SPAN_DB

KEYS = ("nmse", "nmse_pooled", "nmse_median", "rmse", "ssim", "psnr", "rmse_db")
"""What `summarise` gives, in the order of the tables."""
LEAST_GROUPS = 5
"""Of fewer groups, resampled, there is no interval: it would be far too narrow."""


def scores(
    predicted_grey: NDArray[np.float32], true_grey: NDArray[np.float32], free_mask: NDArray[np.bool_]
) -> dict[str, float]:
    """Scores of one map.

    Parameters
    ----------
    predicted_grey, true_grey
        [rows, cols] grey in [0, 1].
    free_mask
        [rows, cols] cells that have a value.

    Returns
    -------
    dict
        ``nmse``, ``rmse``, ``ssim``, ``psnr`` [dB, infinite for equal maps], ``rmse_db`` [dB], and the sums
        ``squared_error`` and ``energy`` that the pooled NMSE is made of. NMSE is NaN for a truth without
        energy, ``rmse_db`` for a map without free cells.
    """
    from skimage.metrics import structural_similarity

    if not predicted_grey.shape == true_grey.shape == free_mask.shape:
        raise ValueError(f"shapes {predicted_grey.shape}, {true_grey.shape} and {free_mask.shape} differ")
    predicted = np.where(free_mask, predicted_grey, 0.0).astype(np.float64)
    truth = np.where(free_mask, true_grey, 0.0).astype(np.float64)
    squared_error, energy = float(np.sum((predicted - truth) ** 2)), float(np.sum(truth**2))
    mse = squared_error / truth.size
    cells = int(np.count_nonzero(free_mask))
    return {
        "nmse": squared_error / energy if energy else math.nan,
        "rmse": math.sqrt(mse),
        "ssim": float(
            structural_similarity(
                truth, predicted, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            )
        ),
        "psnr": 10.0 * math.log10(1.0 / mse) if mse else math.inf,
        "rmse_db": GREY_SPAN_DB * math.sqrt(squared_error / cells) if cells else math.nan,
        "squared_error": squared_error,
        "energy": energy,
    }


def summarise(maps: Sequence[dict[str, float]]) -> dict[str, float]:
    """Scores over maps: means, with the pooled NMSE (ratio of sums) and the median beside the mean of ratios.

    Maps without energy or free cells count nowhere that they have no value. Without maps every value is NaN.
    """
    if not maps:
        return dict.fromkeys(KEYS, math.nan)
    columns = {key: np.array([scored[key] for scored in maps]) for key in maps[0]}
    means = {key: _finite(np.mean, column) for key, column in columns.items()}
    energy = float(np.sum(columns["energy"]))
    return {
        "nmse": means["nmse"],
        "nmse_pooled": float(np.sum(columns["squared_error"])) / energy if energy else math.nan,
        "nmse_median": _finite(np.median, columns["nmse"]),
        "rmse": means["rmse"],
        "ssim": means["ssim"],
        "psnr": means["psnr"],
        "rmse_db": means["rmse_db"],
    }


def _finite(reduce: Callable[[NDArray[np.float64]], np.floating], column: NDArray[np.float64]) -> float:
    values = column[~np.isnan(column)]
    return float(reduce(values)) if len(values) else math.nan


def mean(values: Sequence[float]) -> float:
    """Mean of the values that are numbers; NaN where none is."""
    return _finite(np.mean, np.asarray(values, np.float64))


def rank_correlation(a: Sequence[float] | NDArray[np.float32], b: Sequence[float] | NDArray[np.float32]) -> float:
    """Spearman's, where equal values share their rank; NaN where all are equal."""
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def paired_comparison(
    ours: Sequence[float], theirs: Sequence[float], groups: Sequence[str], *, seed: int = 0, draws: int = 10_000
) -> dict[str, float]:
    """What one method's figures are less another's on the same maps, with bootstrap intervals (95 %) over groups.

    Maps of one scene share its streets, so scenes are drawn, each with all of its maps: fewer than `LEAST_GROUPS` make
    no interval (NaN).

    Parameters
    ----------
    ours, theirs
        One for each map; maps where either is NaN do not count.
    groups
        The scene of each map.

    Returns
    -------
    dict
        Mean ``difference`` (ours less theirs) with ``low`` and ``high``; ``ratio`` of the means with ``ratio_low`` and
        ``ratio_high``.
    """
    pairs = np.array([ours, theirs], np.float64)
    counted = ~np.isnan(pairs).any(axis=0)
    pairs, scenes = pairs[:, counted], np.asarray(groups)[counted]
    names, number = np.unique(scenes, return_inverse=True)
    found = dict.fromkeys(("difference", "low", "high", "ratio", "ratio_low", "ratio_high"), math.nan)
    if not len(names):
        return found
    found["difference"] = float((pairs[0] - pairs[1]).mean())
    sums = np.array([np.bincount(number, weights=row) for row in (*pairs, np.ones(pairs.shape[1]))])
    with np.errstate(divide="ignore", invalid="ignore"):  # a ratio to nothing
        found["ratio"] = float(pairs[0].sum() / pairs[1].sum())
        if len(names) >= LEAST_GROUPS:
            drawn = np.random.default_rng(seed).integers(len(names), size=(draws, len(names)))
            a, b, maps = sums[:, drawn].sum(axis=2)
            found["low"], found["high"] = np.quantile((a - b) / maps, [0.025, 0.975]).tolist()
            found["ratio_low"], found["ratio_high"] = np.quantile(a / b, [0.025, 0.975]).tolist()
    return found
