"""The rules of the house: who may import what, and that importing the pack is cheap."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "zimage_layer_lab"
HOST_MODULES = {
    "api_server",
    "app",
    "comfy",
    "execution",
    "folder_paths",
    "latent_preview",
    "node_helpers",
    "nodes",
    "server",
}


def sources(*folders):
    """Every module of the package under ``folders``, as paths relative to the root."""
    found = [path.relative_to(ROOT) for name in folders for path in (ROOT / name).rglob("*.py")]
    return sorted(found)


def outside_the_pack():
    """sys.path without the pack's root, where its own `nodes` would be found as a module."""
    return [entry for entry in sys.path if entry and Path(entry).resolve() != ROOT]


def imported(module):
    """Absolute dotted names that ``module`` (a path under the root) imports anywhere in it."""
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    here = (PACKAGE, *module.parent.parts)
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else ()
            base = ".".join([*base, *([node.module] if node.module else [])])
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else None
            called = node.func.id if isinstance(node.func, ast.Name) else called
            first = node.args[0]
            if called in ("import_module", "__import__", "find_spec") and isinstance(
                getattr(first, "value", None), str
            ):
                names.add(first.value)
    return names


def test_an_install_holds_every_package():
    """What `pip install .` copies; an editable install finds the others all the same."""
    listed = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.findall(r'"([^"]+)"', listed.split("\npackages = [")[1].split("]")[0])
    found = [module.parent for module in sources("cli", "core", "nodes", "tiny_host")]
    assert set(listed) == {PACKAGE, *(".".join((PACKAGE, *folder.parts)) for folder in found)}


def is_of_the_host(name):
    top = name.split(".")[0]
    return top in HOST_MODULES or top.startswith("comfy")


def is_under(name, *packages):
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("import comfy.utils", {"comfy.utils"}),
        ("from nodes import X", {"nodes", "nodes.X"}),
        ("from ..nodes import masking", {f"{PACKAGE}.nodes", f"{PACKAGE}.nodes.masking"}),
        ("from .. import cli", {PACKAGE, f"{PACKAGE}.cli"}),
        ("from .utils import f", {f"{PACKAGE}.core.utils", f"{PACKAGE}.core.utils.f"}),
        ("def f():\n    import folder_paths", {"folder_paths"}),
        ("import importlib\nimportlib.import_module('comfy')", {"importlib", "comfy"}),
    ],
)
def test_the_reader_of_imports_sees_every_kind(line, names, tmp_path, monkeypatch):
    """A proof that sees nothing proves nothing."""
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "x.py").write_text(line)
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert imported(Path("core/x.py")) == names


@pytest.mark.parametrize("name", ["comfy", "comfy_api.latest", "comfy_extras.x", "nodes.Y"])
def test_names_of_the_host_are_known_as_such(name):
    assert is_of_the_host(name) and not is_of_the_host(f"{PACKAGE}.{name}")


def test_the_folders_have_modules():
    assert len(sources("core")) > 10 and len(sources("cli")) > 3 and len(sources("nodes")) > 3


def offenders(modules, faults):
    """Module -> what ``faults(module)`` found in it, for those where it found anything."""
    return {module.as_posix(): found for module in modules if (found := faults(module))}


def test_core_and_cli_import_nothing_of_comfyui():
    def faults(module):
        return {name for name in imported(module) if is_of_the_host(name)}

    assert offenders(sources("core", "cli"), faults) == {}


def test_core_imports_neither_cli_nor_nodes_and_cli_no_nodes():
    """Inside functions too, and by name, of which the contracts of import-linter know nothing."""

    def faults(module):
        upper = [f"{PACKAGE}.nodes"]
        upper += [f"{PACKAGE}.cli", "cli"] if module.parts[0] == "core" else []
        return {name for name in imported(module) if is_under(name, *upper)}

    assert offenders(sources("core", "cli"), faults) == {}


def test_the_package_is_imported_relatively_only():
    """ComfyUI loads the pack under a name of its own."""

    def faults(module):
        tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
        return [
            node.lineno
            for node in ast.walk(tree)
            if (isinstance(node, ast.ImportFrom) and not node.level)
            and is_under(node.module, PACKAGE)
            or (isinstance(node, ast.Import) and any(is_under(a.name, PACKAGE) for a in node.names))
        ]

    assert offenders(sources("core", "cli", "nodes"), faults) == {}


DRAWS = [path for path in (ROOT / "core" / "draw").glob("*.py") if path.stem != "__init__"]
DRAWING = {
    "matplotlib",
    *(path.stem for path in DRAWS if "import matplotlib" in path.read_text(encoding="utf-8")),
    *(path.stem for path in DRAWS if "from matplotlib" in path.read_text(encoding="utf-8")),
}


def test_no_node_module_imports_matplotlib_when_it_is_loaded():
    """ComfyUI must start, and every other node work, where matplotlib is missing."""

    def faults(module):
        names = []
        for node in ast.parse((ROOT / module).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names += [node.module or "", *(alias.name for alias in node.names)]
        return DRAWING & {part for name in names for part in name.split(".")}

    assert offenders(sources("nodes"), faults) == {}


def test_the_contracts_of_import_linter_are_kept():
    """Those of pyproject.toml: what stands on what, inside core too."""
    script = "import sys; from importlinter.cli import lint_imports_command as run; run()"
    done = subprocess.run(
        [sys.executable, "-c", script, "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(outside_the_pack())},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


def test_there_is_no_utils_module_and_nobody_imports_one():
    modules = sources("core", "cli", "nodes")
    assert not [module for module in modules if module.stem == "utils"]

    def faults(module):
        own = {name for name in imported(module) if is_under(name, PACKAGE)}
        return {name for name in own if "utils" in name.split(".")}

    assert offenders(modules, faults) == {}


PROBE = """
import importlib.abc, json, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top.startswith("comfy") or top in ("folder_paths", "nodes", "execution", "server"):
            raise ImportError(f"{name} must not be imported")

sys.meta_path.insert(0, Refuse())
import zimage_layer_lab
after_root = sorted(sys.modules)
from zimage_layer_lab.core import *
print(json.dumps([after_root, sorted(sys.modules), zimage_layer_lab.__version__]))
"""


@pytest.fixture(scope="module")
def fresh_import(tmp_path_factory):
    """(modules after the root, after core, version), in a process that cannot import ComfyUI."""
    paths = outside_the_pack()
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.path[:] = {paths!r}\n{PROBE}"],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def tops(modules):
    return {name.split(".")[0] for name in modules}


def test_the_root_imports_without_comfyui_and_without_anything_heavy(fresh_import):
    after_root, _, version = fresh_import
    assert version
    assert not tops(after_root) & {"torch", "numpy", "transformers", "matplotlib", "safetensors"}
    assert not [name for name in after_root if name.startswith(f"{PACKAGE}.")]


def test_core_imports_without_comfyui_and_without_transformers_or_matplotlib(fresh_import):
    _, after_core, _ = fresh_import
    assert f"{PACKAGE}.core.edit.masking" in after_core
    assert not tops(after_core) & {"transformers", "matplotlib", "rich", "PIL", "gguf"}
