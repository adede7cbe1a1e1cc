"""The command from a wheel of the project, beside nothing but what its `client` extra asks for."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import Distribution, distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PACKAGE = "nvae-service"
ROOT = Path(__file__).parents[3]
PARTS = ("nvae_core", "services", "nvae_client", "pyproject.toml", "README.md")
COMPLETE = """
eval "$(_NVAE_COMPLETE=source_bash nvae)"
COMP_WORDS=(nvae $1) COMP_CWORD=$2
_nvae_completion nvae
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The folder of programs of an environment into which the wheel was installed."""
    folder = tmp_path_factory.mktemp("installed")
    environment = folder / "environment"
    _python("-m", "venv", "--without-pip", environment)
    [packages] = environment.glob("lib/python*/site-packages")
    for found in required_distributions("client"):
        link_into(packages, found)
    pip = ("-m", "pip", "--quiet", "--python", environment / "bin" / "python")
    _python(*pip, "install", "--no-deps", "--no-index", build_wheel(folder))
    return environment / "bin"


def build_wheel(folder: Path) -> Path:
    """Build the wheel of a copy of the tree, without a compiler."""
    copy = folder / "tree"
    copy.mkdir()
    for name in PARTS:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.so")
            shutil.copytree(source, copy / name, ignore=ignored)
        else:
            shutil.copy(source, copy)
    wheels = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, copy)
    _python("-m", "pip", *wheels, CC=shutil.which("false"))
    [wheel] = folder.glob("*.whl")
    return wheel


def required_distributions(extra: str) -> list[Distribution]:
    """Return what an extra of the project needs, and what that needs, as installed here."""
    found: dict[str, Distribution] = {}
    wanted = _requirements(distribution(PACKAGE), extra)
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = distribution(name)
            wanted += _requirements(found[name], extra="")
    return list(found.values())


def link_into(packages: Path, found: Distribution) -> None:
    """Make the files of an installed distribution importable from another folder."""
    names = {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}
    for name in names:
        link = packages / name
        if not link.exists():
            link.symlink_to(Path(str(found.locate_file(name))))


def _requirements(found: Distribution, extra: str) -> list[str]:
    required = map(Requirement, found.requires or ())
    return [one.name for one in required if not one.marker or one.marker.evaluate({"extra": extra})]


def _python(*words: str | Path, **variables: str | None) -> None:
    environment = os.environ | {name: value for name, value in variables.items() if value}
    subprocess.run([sys.executable, *words], check=True, timeout=120, env=environment)


@pytest.fixture
def run(programs):
    """Return a function that runs a command line of bash which finds only that environment."""

    def run_line(line, *words):
        environment = {"PATH": f"{programs}{os.pathsep}/usr/bin:/bin", "HOME": str(programs)}
        ended = subprocess.run(
            ["bash", "-c", line, "bash", *words],
            env=environment,
            cwd=programs,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return run_line


def test_command_says_its_version_and_what_there_is(run):
    assert run("nvae --version") == f"nvae {version(PACKAGE)}\n"
    told = run("nvae --help")
    assert "checkpoints" in told
    assert "Exit codes" in told


def test_extra_of_the_client_leaves_out_what_a_client_does_not_need(run):
    script = (
        "import importlib.util as u; print([n for n in ('torch', 'fastapi') if u.find_spec(n)])"
    )
    assert run(f'python -c "{script}"') == "[]\n"


@pytest.mark.parametrize(
    ("words", "position", "offered"),
    [
        ("ch", 1, {"checkpoints"}),
        ("checkpoints d", 2, {"download", "delete"}),
        ("train --pre", 2, {"--preset"}),
    ],
)
def test_bash_completes_commands_and_options(run, words, position, offered):
    assert set(run(COMPLETE, words, str(position)).split()) == offered
