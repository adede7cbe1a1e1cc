import shutil

from nvae_core.kernels.library import find_library


def test_where_there_is_a_compiler_there_are_kernels() -> None:
    has_compiler = shutil.which("cc") is not None or shutil.which("gcc") is not None
    assert find_library() is not None or not has_compiler
