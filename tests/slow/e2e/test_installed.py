"""The pack as the registry ships it: only what its archive holds, in a folder of any name."""

import shutil
import subprocess
from urllib.parse import quote

import pytest
from zimage_layer_lab.cli.comfy.client import get_json, request
from zimage_layer_lab.cli.comfy.folder import comfyui_python, missing_requirements
from zimage_layer_lab.cli.comfy.server import ComfyServer

PLAIN, SPACED = "zimage-layer-lab", "Z-Image Layer Lab (copy 2)"
NEIGHBOUR = '''
"""Another pack, with modules of the same names as ours."""
from . import core, nodes
NODE_CLASS_MAPPINGS = {"Neighbour": nodes.Neighbour}
'''


def archived(root) -> list[str]:
    """What git tracks less what .comfyignore names, as the registry's own tool packs it."""
    listing = ["git", "-C", str(root), "ls-files", "-z"]
    try:
        tracked = subprocess.run(listing, capture_output=True, check=True).stdout
        left_out = subprocess.run(
            [*listing, "-c", "-i", f"--exclude-from={root / '.comfyignore'}"],
            capture_output=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git work tree, so what the archive would hold is not known")
    names = set(tracked.decode().split("\0")) - set(left_out.decode().split("\0"))
    return sorted(name for name in names if name and (root / name).is_file())


@pytest.fixture(scope="module", params=[PLAIN, SPACED])
def installed(request, comfyui, pack_root, tmp_path_factory, skip_or_fail):
    """A server with the pack in a folder of that name, and the name."""
    base = tmp_path_factory.mktemp("installed")
    for name in archived(pack_root):
        target = base / "custom_nodes" / request.param / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(pack_root / name, target)
    neighbour = base / "custom_nodes" / "neighbour"
    neighbour.mkdir()
    (neighbour / "__init__.py").write_text(NEIGHBOUR)
    (neighbour / "core.py").write_text("")
    (neighbour / "nodes.py").write_text(
        "class Neighbour:\n"
        "    RETURN_TYPES = ()\n    FUNCTION = 'run'\n    CATEGORY = 'x'\n"
        "    @classmethod\n    def INPUT_TYPES(cls):\n        return {}\n"
    )
    python = comfyui_python(comfyui)
    missing = missing_requirements(comfyui, python)
    if missing:
        skip_or_fail(f"ComfyUI's requirements are not installed here: {', '.join(missing)}")
    with ComfyServer(comfyui, base, python=python) as server:
        yield server, request.param


def test_it_loads_beside_other_packs(installed):
    server, folder = installed
    log = server.log_path.read_text(encoding="utf-8").splitlines()
    failed = [line for line in log if "IMPORT FAILED" in line]
    assert not [line for line in failed if folder in line or "neighbour" in line]
    nodes = get_json(server.address, "/object_info")
    ours = [name for name, node in nodes.items() if folder in node["python_module"]]
    assert len(ours) == 32 and all(name.startswith("LayerLab") for name in ours)
    assert "Neighbour" in nodes


def test_its_templates_help_and_languages_are_served(installed):
    server, folder = installed
    name = "1 Two text layers side by side - Z-Image Layer Lab"
    assert name in get_json(server.address, "/workflow_templates")[folder]
    assert get_json(server.address, "/i18n")["zh"]["nodeDefs"]["LayerLabBlend"]["display_name"]
    if folder == SPACED:
        pytest.skip("ComfyUI 0.33 itself serves no static files of a folder with a space (404)")

    def read(path: str) -> bytes:
        return request(server.address, path)

    assert read(f"/api/workflow_templates/{folder}/{quote(name)}.json")
    assert read(f"/api/workflow_templates/{folder}/{quote(name)}.jpg")
    for page in ("LayerLabBlend.md", "LayerLabBlend/zh.md"):
        assert b"Embedding Blend" in read(f"/extensions/{folder}/docs/{page}")
    assert b"registerExtension" in read(f"/extensions/{folder}/reports.js")


def test_the_archive_holds_no_tests_and_what_the_pack_needs(pack_root):
    names = archived(pack_root)
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", ".ci/"))]
    for needed in (
        "__init__.py",
        "pyproject.toml",
        "requirements.txt",
        "README.md",
        "LICENSE",
        "stats/z_image.json",
        "web/docs/LayerLabBlend.md",
        "locales/zh/nodeDefs.json",
        "workflows/api/layer_compare.json",
        "workflows/1 Two text layers side by side - Z-Image Layer Lab.json",
        "workflows/1 Two text layers side by side - Z-Image Layer Lab.jpg",
        "subgraphs/Compare two layers.json",
        "web/docs/pictures/LayerLabBlend.png",
    ):
        assert needed in names
