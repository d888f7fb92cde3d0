"""What SECURITY.md promises of the sources: who may reach the network, and nothing runs data."""

import ast
import re
from pathlib import Path

import pytest

from .test_house import ROOT, imported, is_under, offenders, sources

NETWORK = """aiohttp asyncio.open_connection ftplib http httpx httpx2 huggingface_hub imaplib
paramiko poplib requests smtplib socket socketserver ssl telnetlib urllib urllib3 websocket
websockets webbrowser xmlrpc""".split()
# To write and read addresses as text opens nothing.
HARMLESS = {"urllib", "urllib.parse", "urllib.error"}
MAY_TALK = {
    "cli/comfy/client.py": {"http"},
    "cli/comfy/server.py": {"socket"},
    "cli/comfy/socket.py": {"websocket"},
    "cli/comfy/transport.py": {"http", "ssl", "urllib"},
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


def test_only_the_commands_clients_import_what_can_open_a_connection():
    def faults(module):
        return talking(imported(module)) - MAY_TALK.get(module.as_posix(), set())

    assert offenders(MODULES, faults) == {}


def test_the_clients_that_may_do():
    for module, expected in MAY_TALK.items():
        assert talking(imported(Path(module))) == expected


def test_nothing_that_runs_data_is_imported_or_called():
    def faults(module):
        names = {name for name in imported(module) if is_under(name, *RUNS_DATA)}
        return names | {name for name, _ in calls(module)} & CALLS

    assert offenders(MODULES, faults) == {}


def is_true(call, keyword):
    """Whether a call sets ``keyword`` to anything but a plain False."""
    given = [one.value for one in call.keywords if one.arg == keyword]
    return any(not isinstance(value, ast.Constant) or value.value for value in given)


def unpacked(call):
    """What stands after ** among the arguments of a call."""
    return [one.value for one in call.keywords if one.arg is None]


def test_files_are_read_without_pickles_and_processes_started_without_a_shell():
    def is_fault(name, call):
        given = {one.arg for one in call.keywords}
        return (
            name in ("torch.load", "torch.hub.load", "yaml.load", "os.system", "os.popen")
            or any(is_true(call, word) for word in ("shell", "trust_remote_code", "allow_pickle"))
            or name in ("np.load", "numpy.load", "np.lib.format.read_array")
            and "allow_pickle" not in given
            or re.search(r"\bfrom_pretrained$", name)
            and not any(ast.unparse(one) == "LOCAL_ONLY" for one in unpacked(call))
        )

    def faults(module):
        return [f"{call.lineno}: {name}" for name, call in calls(module) if is_fault(name, call)]

    assert offenders(MODULES, faults) == {}


def test_only_the_command_starts_processes():
    def faults(module):
        if module.as_posix() in MAY_START_PROCESSES:
            return set()
        return {n for n in imported(module) if is_under(n, "subprocess", "multiprocessing")}

    assert offenders(MODULES, faults) == {}


def test_what_goes_into_from_pretrained_forbids_the_network_and_foreign_code():
    from zimage_layer_lab.cli.model.local_only import LOCAL_ONLY

    assert LOCAL_ONLY == {"local_files_only": True, "trust_remote_code": False}


def test_the_browsers_part_asks_no_server():
    network = r"fetch\(|fetchApi|XMLHttpRequest|WebSocket|sendBeacon|EventSource|import\("
    pages = [path.relative_to(ROOT) for path in sorted((ROOT / "web").glob("*.js"))]
    allowed = {f"../../scripts/{name}.js" for name in ("api", "app")}
    allowed |= {f"./{page.name}" for page in pages}

    def faults(page):
        text = (ROOT / page).read_text(encoding="utf-8")
        found = re.findall(rf"{network}|\beval\(|new Function|innerHTML|https?://", text)
        imports = re.findall(r'from "([^"]+)"', text)
        return found + [one for one in imports if one not in allowed]

    assert pages and offenders(pages, faults) == {}
