"""The page about analyses has each of them with its own fields, and an example that is valid."""

import re
from pathlib import Path
from typing import get_args

from nvae_core.config import RUN_CONFIG, AnalyzeConfig

PAGE = (Path(__file__).parents[3] / "docs" / "analyses.md").read_text()
COMMON = {"kind", "analysis", "checkpoint", "dataset", "seed"}
OF_FILES = {"statistics"}  # told in the text
ALIASES = {"jobs"}  # what `runs` are over HTTP


def test_every_analysis_is_listed_with_its_fields() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", PAGE, re.MULTILINE)
    shown = {name: set(re.findall(r"`(\w+)`", cell)) - ALIASES for name, cell in rows[1:]}
    analyses = get_args(get_args(AnalyzeConfig)[0])
    assert shown == {
        analysis.model_fields["analysis"].default: analysis.model_fields.keys() - COMMON - OF_FILES
        for analysis in analyses
    }


def test_example_is_valid() -> None:
    [example] = re.findall(r"echo '(\{.*?\})'", PAGE, re.DOTALL)
    assert RUN_CONFIG.validate_json(example).kind == "analyze"
