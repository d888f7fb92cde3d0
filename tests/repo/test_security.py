"""What SECURITY.md promises of the sources: who may reach the network, and nothing runs data."""

import ast
import re
from pathlib import Path

import pytest

from .test_house import ROOT, imported, is_under, sources

NETWORK = """aiohttp asyncio.open_connection ftplib http httpx httpx2 huggingface_hub imaplib
paramiko poplib requests smtplib socket socketserver ssl telnetlib urllib urllib3 websocket
websockets webbrowser xmlrpc""".split()
# To write and read addresses as text opens nothing.
HARMLESS = {"urllib", "urllib.parse", "urllib.error"}
MAY_TALK = {
    "cli/comfy/client.py": {"http", "urllib"},
    "cli/comfy/server.py": {"socket"},
    "cli/comfy/socket.py": {"websocket"},
    "cli/ray_cluster.py": {"socket"},
}
MAY_START_PROCESSES = {
    "cli/comfy/folder.py",
    "cli/comfy/server.py",
    "cli/demo/command.py",
    "cli/ray_cluster.py",
}
RUNS_DATA = (
    "pickle cPickle _pickle dill cloudpickle joblib shelve marshal code codeop runpy".split()
)
CALLS = {"eval", "exec", "compile", "__import__", "execfile", "breakpoint"}
MODULES = [Path("__init__.py"), *sources("core", "nodes", "cli", "tiny_host")]


def talking(names):
    """The network modules among imported names."""
    parsing = {name for name in names if is_under(name, "urllib.parse", "urllib.error")}
    names = names - HARMLESS - parsing
    return {known for known in NETWORK for name in names if is_under(name, known)}


def calls(module):
    """(dotted name, call) of every call in a module, as far as the name is plain."""
    for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ({"urllib.request"}, {"urllib"}),
        ({"urllib", "urllib.parse", "urllib.parse.quote"}, set()),
        ({"http.client"}, {"http"}),
        ({"requests", "requests.get"}, {"requests"}),
        ({"socketio"}, set()),
    ],
)
def test_a_network_module_is_known_as_such(names, found):
    assert talking(names) == found


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_only_the_commands_clients_import_what_can_open_a_connection(module):
    assert talking(imported(module)) <= MAY_TALK.get(module.as_posix(), set())


def test_the_clients_that_may_do():
    for module, expected in MAY_TALK.items():
        assert talking(imported(Path(module))) == expected


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_nothing_that_runs_data_is_imported_or_called(module):
    names = imported(module)
    assert not {name for name in names if is_under(name, *RUNS_DATA)}
    assert not {name for name, _ in calls(module)} & CALLS


def is_true(call, keyword):
    """Whether a call sets ``keyword`` to anything but a plain False."""
    given = [one.value for one in call.keywords if one.arg == keyword]
    return any(not isinstance(value, ast.Constant) or value.value for value in given)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_files_are_read_without_pickles_and_processes_started_without_a_shell(module):
    for name, call in calls(module):
        assert name not in ("torch.load", "torch.hub.load", "yaml.load", "os.system", "os.popen")
        assert not is_true(call, "shell") and not is_true(call, "trust_remote_code")
        assert not is_true(call, "allow_pickle")
        if name in ("np.load", "numpy.load", "np.lib.format.read_array"):
            assert any(one.arg == "allow_pickle" for one in call.keywords)
        if re.search(r"\bfrom_pretrained$", name):
            assert any(one.arg is None for one in call.keywords), "ModelFiles.location goes in"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_only_the_command_starts_processes(module):
    if module.as_posix() not in MAY_START_PROCESSES:
        assert not {n for n in imported(module) if is_under(n, "subprocess", "multiprocessing")}


def test_what_goes_into_from_pretrained_forbids_the_network_and_foreign_code(tmp_path):
    from zimage_layer_lab.cli.model.files import ModelFiles

    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    for path in (tmp_path, tmp_path / "model.gguf"):
        _, arguments = ModelFiles(path).location
        assert arguments["local_files_only"] is True and arguments["trust_remote_code"] is False


@pytest.mark.parametrize("page", sorted((ROOT / "web").glob("*.js")), ids=lambda path: path.name)
def test_the_browsers_part_asks_no_server(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"fetch\(|XMLHttpRequest|WebSocket|sendBeacon|EventSource|import\(", text)
    assert not re.search(r"\beval\(|new Function|innerHTML|https?://", text)
    assert re.findall(r'from "([^"]+)"', text) == ["../../scripts/app.js"]
