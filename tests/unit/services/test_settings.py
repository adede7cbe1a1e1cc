"""Settings are read from the environment and checked."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.settings import SourceSettings


def test_sources_may_lie_below_datasets_in_the_own_bucket_unless_set_otherwise(monkeypatch):
    assert SourceSettings().allowed("own") == ("s3://own/datasets/",)
    monkeypatch.setenv("NVAE_SOURCES_S3_PREFIXES", '["s3://a/", "s3://b/images/"]')
    assert SourceSettings().allowed("own") == ("s3://a/", "s3://b/images/")
    monkeypatch.setenv("NVAE_SOURCES_S3_PREFIXES", "[]")
    assert SourceSettings().allowed("own") == ()


@pytest.mark.parametrize("prefix", ["s3://", "s3://bucket", "s3://bucket/images", "/images/"])
def test_prefix_that_is_not_a_whole_folder_is_refused(monkeypatch, prefix):
    monkeypatch.setenv("NVAE_SOURCES_S3_PREFIXES", f'["{prefix}"]')
    with pytest.raises(ValidationError):
        SourceSettings()


def test_page_about_the_configuration_has_every_variable_and_its_default(setting_fields):
    page = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
    listed = dict(re.findall(r"^\| `((?:NVAE|CUDA)_\w+)` \| `?([^|`]*)`? ", page, flags=re.M))
    assert set(listed) == set(setting_fields)
    for name, field in setting_fields.items():
        told = listed[name].strip()
        if field.is_required():
            assert told.startswith("needed"), name
        elif isinstance(field.default, bool):
            assert told == str(field.default).lower(), name
        elif isinstance(field.default, int | float):
            assert float(told) == field.default, name
        elif isinstance(field.default, str):
            assert told == field.default, name
