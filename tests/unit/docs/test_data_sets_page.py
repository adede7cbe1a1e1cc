"""The page about data sets shows every kind of source, and nothing that would be refused."""

import re
from pathlib import Path
from typing import get_args

from pydantic import TypeAdapter

from nvae_core.config import DatasetSource

PAGE = (Path(__file__).parents[3] / "docs" / "data_sets.md").read_text()


def test_every_kind_of_source_has_an_example_that_is_valid() -> None:
    adapter: TypeAdapter[DatasetSource] = TypeAdapter(DatasetSource)
    examples = re.findall(r"^\| `(\{.*?\})` \|", PAGE, re.MULTILINE)
    shown = [type(adapter.validate_json(example)) for example in examples]
    assert set(shown) == set(get_args(get_args(DatasetSource)[0]))
