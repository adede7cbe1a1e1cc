"""A mark for tests of the kernels."""

import pytest
from nvae_core.kernels.library import find_library

needs_kernels = pytest.mark.skipif(
    find_library() is None, reason="the package was installed without a C compiler"
)
