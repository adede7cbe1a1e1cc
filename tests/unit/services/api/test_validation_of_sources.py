"""Which sources a job may name."""

import pytest

from nvae_core.config import BundledSource, MnistSource
from services.api.jobs.validation import check_source
from services.domain.errors import InvalidSpec


def test_source_in_s3_is_refused_where_no_prefix_is_allowed():
    with pytest.raises(InvalidSpec, match="/source/path: sources in S3 are not allowed here"):
        check_source(MnistSource(path="s3://bucket/mnist"), s3_prefixes=())


def test_path_that_only_looks_like_one_that_leads_out_is_allowed():
    check_source(MnistSource(path="..mnist/a..b/..."), s3_prefixes=())
    check_source(BundledSource(name="mnist_5k"), s3_prefixes=())
