"""Model configs: what fits is taken, anything else is refused with section and name."""

import json
import subprocess
import sys
from dataclasses import fields

import pytest

from rdflux_ros.model.config import COMPACT, PAPER, PRESETS, ModelConfig, model_config
from rdflux_ros.settings import SettingError


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_survive_a_file(preset):
    config = PRESETS[preset]
    assert model_config(json.loads(json.dumps(config.as_dict()))) == config
    assert model_config({"preset": preset}) == config


def test_sections_change_what_they_name_and_nothing_else():
    config = model_config({"denoiser": {"widths": [16, 32, 48, 64]}, "method": {"seed": 3}})
    assert config.denoiser.widths == (16, 32, 48, 64)
    assert config.method.seed == 3
    assert config.denoiser.heads == COMPACT.denoiser.heads
    assert config.streets == COMPACT.streets
    assert model_config({"preset": "paper", "method": {"seed": 3}}).denoiser == PAPER.denoiser


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"denoser": {}}, r"unknown section denoser.*denoiser"),
        ({"denoiser": {"width": 3}}, r"denoiser: unknown setting width.*widths"),
        ({True: {}, 1.5: 2}, r"unknown section 1.5, True; known are method"),
        ({"denoiser": {1: 3}}, r"denoiser: unknown setting 1;"),
        ({"preset": ["paper"]}, r"preset = \['paper'\].*compact, paper"),
        ({"preset": "tiny"}, r"preset = 'tiny'.*compact, paper"),
        ({"method": 3}, r"method = 3.*section"),
        ({"method": {"reuse_ratio": 0.985}}, r"method: reuse_ratio.*whole steps"),
        ({"method": {"reuse_ratio": 1.0}}, r"method: reuse_ratio = 1.0"),
        ({"method": {"lowest_z_m": 200.0}}, r"method: lowest_z_m = 200.*highest_z_m = 120"),
        ({"method": {"target": "sum"}}, r"method: target = 'sum'.*'map', 'residual'"),
        ({"denoiser": {"widths": [16, 32, 48]}}, r"denoiser: widths.*4 positive"),
        ({"denoiser": {"widths": [16, 32, 48, -8]}}, r"denoiser: widths.*positive"),
        ({"denoiser": {"widths": [16, 32, 48, 64.0]}}, r"denoiser: widths.*whole"),
        ({"denoiser": {"widths": [16, 32, 48, 60]}}, r"denoiser: widths.*multiples of 8"),
        ({"denoiser": {"attention_levels": [4]}}, r"denoiser: attention_levels.*0 to 3"),
        ({"denoiser": {"attention_levels": []}}, r"denoiser: attention_levels = \(\).*0 to 3, one at least"),
        ({"denoiser": {"attention_levels": [3, 2]}}, r"denoiser: attention_levels.*rising"),
        ({"denoiser": {"heads": 5}}, r"denoiser: heads = 5.*divide"),
        ({"denoiser": {"decoders": 3}}, r"denoiser: decoders = 3.*1 to 2"),
        ({"autoencoder": {"multipliers": [1, 2]}}, r"autoencoder: multipliers.*3 positive"),
        ({"autoencoder": {"kind": "kl"}}, r"denoiser.fine_width.*space_to_depth"),
        ({"streets": {"swin_heads": [3, 8, 16, 32]}}, r"streets: swin_heads"),
    ],
)
def test_what_does_not_fit_is_refused_by_section_and_name(values, says):
    with pytest.raises(SettingError, match=says):
        model_config(values)


@pytest.mark.parametrize("section", fields(ModelConfig), ids=lambda section: section.name)
def test_every_setting_is_documented(section):
    assert all(field.metadata["doc"] for field in fields(getattr(COMPACT, section.name)))


def test_the_papers_split_is_two_steps_of_a_hundred():
    assert (COMPACT.method.steps, COMPACT.method.reuse_ratio) == (100, 0.98)


def test_configs_do_not_import_torch():
    code = "import sys, rdflux_ros.model.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
