"""What the page about the run directory says is true."""

import re
from pathlib import Path

from nvae_core.config import RUN_CONFIG
from nvae_core.presets import find_preset
from nvae_core.run_directory import ExitReason

PAGE = (Path(__file__).parents[3] / "docs" / "run_directory.md").read_text()


def test_example_configuration_is_the_cpu_preset():
    [example] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    config = RUN_CONFIG.validate_json(example)
    preset = find_preset("mnist-cpu")
    assert (config.model, config.optimization) == (preset.model, preset.optimization)


def test_every_reason_is_explained():
    explained = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert set(ExitReason) <= explained
