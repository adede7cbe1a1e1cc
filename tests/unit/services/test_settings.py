"""Settings are read from the environment and checked."""

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
