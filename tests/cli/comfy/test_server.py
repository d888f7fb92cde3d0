"""Finding a ComfyUI, installing packs for it, and what happens when it does not start.

No ComfyUI is needed: the trees are fakes. The real server is covered by the end-to-end tests.
"""

import time
from pathlib import Path

import pytest
from zimage_layer_lab.cli.comfy import client as comfy_client
from zimage_layer_lab.cli.comfy import folder as comfy_folder
from zimage_layer_lab.cli.comfy import prompt as comfy_prompt
from zimage_layer_lab.cli.comfy.client import Queued
from zimage_layer_lab.cli.comfy.errors import PromptFailed
from zimage_layer_lab.cli.comfy.server import (
    ComfyServer,
    comfyui_version,
    find_comfyui,
    install_pack,
)


def fake_comfyui(path: Path, main: str = "") -> Path:
    (path / "comfy").mkdir(parents=True)
    (path / "main.py").write_text(main, encoding="utf-8")
    return path


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty home folder, so that no ComfyUI of this machine is found."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: home))
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    return home


def set_comfy_cli_workspace(workspace: Path) -> None:
    config = comfy_folder.comfy_cli_config()
    config.parent.mkdir(parents=True)
    config.write_text(
        f"[DEFAULT]\nenable_tracking = False\ndefault_workspace = {workspace}\n", encoding="utf-8"
    )


def test_order_of_the_places_looked_at(tmp_path, home, monkeypatch):
    around = tmp_path / "around"
    pack = around / "custom_nodes" / "pack"
    pack.mkdir(parents=True)
    assert find_comfyui(pack) is None

    in_home = fake_comfyui(home / "comfy" / "ComfyUI")
    assert find_comfyui(pack) == in_home

    workspace = fake_comfyui(tmp_path / "100% mine" / "ComfyUI")
    set_comfy_cli_workspace(workspace)
    assert find_comfyui(pack) == workspace

    fake_comfyui(around)
    assert find_comfyui(pack) == around

    named = fake_comfyui(tmp_path / "named")
    monkeypatch.setenv("COMFYUI_PATH", str(named))
    assert find_comfyui(pack) == named


def test_a_linked_pack_finds_the_comfyui_that_loads_it(tmp_path, home):
    elsewhere = tmp_path / "src" / "pack"
    elsewhere.mkdir(parents=True)
    around = fake_comfyui(tmp_path / "ComfyUI")
    link = around / "custom_nodes" / "pack"
    link.parent.mkdir()
    try:
        link.symlink_to(elsewhere, target_is_directory=True)
    except OSError:
        pytest.skip("this system allows no symbolic links")
    assert find_comfyui(link) == around
    assert find_comfyui(elsewhere) is None


def test_wrong_comfyui_path_is_named_and_not_skipped(tmp_path, home, monkeypatch):
    fake_comfyui(home / "comfy" / "ComfyUI")
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "empty"))
    with pytest.raises(FileNotFoundError, match="COMFYUI_PATH.*empty.*main.py"):
        find_comfyui(tmp_path)


def test_unreadable_comfy_cli_settings_are_passed_over(tmp_path, home):
    config = comfy_folder.comfy_cli_config()
    config.parent.mkdir(parents=True)
    config.write_text("default_workspace = no section\n", encoding="utf-8")
    in_home = fake_comfyui(home / "comfy" / "ComfyUI")
    assert find_comfyui(tmp_path) == in_home


def test_version_is_read_as_text_and_never_executed(tmp_path):
    (tmp_path / "comfyui_version.py").write_text(
        'raise SystemExit("executed")\n__version__ = "0.33.0"\n', encoding="utf-8"
    )
    assert comfyui_version(tmp_path) == "0.33.0"
    assert comfyui_version(tmp_path / "missing") is None


def test_a_server_that_dies_at_start_raises_with_its_last_words(tmp_path):
    main = "import sys\nprint('no such model folder')\nsys.exit(3)\n"
    server = ComfyServer(fake_comfyui(tmp_path / "c"), tmp_path / "base", cpu=True)
    (tmp_path / "c" / "main.py").write_text(main, encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"(?s)exit code 3.*no such model folder"):
        server.start()
    assert server.pid is None
    assert (tmp_path / "base" / "models").is_dir()


def test_a_server_that_never_answers_is_stopped_with_its_children(tmp_path):
    main = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', \"import time; time.sleep(1); "
        "open('alive', 'w').close(); time.sleep(60)\"])\n"
        "print('waiting', flush=True)\ntime.sleep(60)\n"
    )
    comfyui = fake_comfyui(tmp_path / "c", main)
    server = ComfyServer(comfyui, tmp_path / "base", cpu=True, startup_timeout=0.5)
    with pytest.raises(RuntimeError, match=r"(?s)did not answer in 0.5 s.*waiting"):
        server.start()
    time.sleep(1.5)
    assert not (comfyui / "alive").exists()


def test_the_command_line_keeps_everything_in_the_base_directory(tmp_path):
    main = "import sys\nprint('\\n'.join(sys.argv[1:]))\nsys.exit(1)\n"
    base = tmp_path / "base"
    server = ComfyServer(fake_comfyui(tmp_path / "c", main), base, extra_args=["--x"], cpu=True)
    with pytest.raises(RuntimeError), server:
        pass
    arguments = server.log_path.read_text(encoding="utf-8").split()
    assert arguments[arguments.index("--base-directory") + 1] == str(base)
    assert arguments[arguments.index("--listen") + 1] == "127.0.0.1"
    assert arguments[-2:] == ["--cpu", "--x"]


@pytest.mark.parametrize("links", [True, False])
def test_install_pack_links_or_copies_and_may_be_repeated(tmp_path, monkeypatch, links):
    pack = tmp_path / "pack"
    for file in ("__init__.py", "core/a.py", ".git/config", "tests/test_a.py"):
        (pack / file).parent.mkdir(parents=True, exist_ok=True)
        (pack / file).touch()
    # Inside the pack: a copy must not swallow the base directory, and so itself.
    base = pack / "out"
    if not links:

        def refuse(*args, **kwargs):
            raise OSError("a required privilege is not held by the client")

        monkeypatch.setattr(Path, "symlink_to", refuse)
    for _ in range(2):
        target = install_pack(base, pack, "the_pack")
    assert target == base / "custom_nodes" / "the_pack"
    assert (target / "core" / "a.py").is_file()
    if not links:
        assert sorted(p.name for p in target.iterdir()) == ["__init__.py", "core"]


def test_install_pack_refuses_what_comfyui_could_not_load(tmp_path):
    (tmp_path / "__init__.py").touch()
    with pytest.raises(ValueError, match="dot"):
        install_pack(tmp_path / "base", tmp_path, "pack-1.0")
    with pytest.raises(FileNotFoundError, match="__init__.py"):
        install_pack(tmp_path / "base", tmp_path / "nothing", "pack")


def test_refusal_names_node_input_and_reason(monkeypatch):
    import io
    import json
    import urllib.error

    answer = {
        "error": {"type": "x", "message": "Prompt outputs failed validation", "details": ""},
        "node_errors": {
            "2": {
                "class_type": "CLIPLoader",
                "errors": [
                    {
                        "message": "Value not in list",
                        "details": "clip_name: 'a' not in []",
                        "extra_info": {"input_name": "clip_name"},
                    }
                ],
            }
        },
    }

    def refuse(address, path, body=None, timeout=0.0):
        body = io.BytesIO(json.dumps(answer).encode())
        raise urllib.error.HTTPError("http://x/prompt", 400, "Bad Request", {}, body)

    monkeypatch.setattr(comfy_client, "request", refuse)
    with pytest.raises(comfy_client.PromptRefused) as caught:
        comfy_client.post_prompt("127.0.0.1:1", {}, "me")
    assert "node 2 (CLIPLoader), input 'clip_name': Value not in list" in str(caught.value)
    assert caught.value.node_errors == answer["node_errors"]


def test_a_node_that_raised_and_a_deleted_prompt_are_failures(monkeypatch):
    error = {
        "node_id": "7",
        "node_type": "KSampler",
        "exception_type": "ValueError",
        "exception_message": "bad\n",
    }
    entry = {"status": {"status_str": "error", "messages": [["execution_error", error]]}}
    answers = {"/queue": {"queue_running": [], "queue_pending": []}, "/history/id": {"id": entry}}
    monkeypatch.setattr(comfy_client, "get_json", lambda address, path, timeout: answers[path])
    limits = comfy_prompt.Limits(prompt=5.0, contact=5.0)
    with pytest.raises(PromptFailed, match=r"node 7 \(KSampler\) raised ValueError"):
        comfy_prompt.run_prompt("127.0.0.1:1", {}, "id", limits)

    answers["/history/id"] = {}
    monkeypatch.setattr(
        comfy_prompt, "post_prompt", lambda at, graph, client, known, timeout: Queued(known, [])
    )
    with pytest.raises(PromptFailed, match="deleted"):
        comfy_prompt.run_prompt("127.0.0.1:1", {}, "id", limits)


def test_no_server_is_said_plainly():
    with pytest.raises(comfy_client.ServerUnreachable, match="no ComfyUI answers at 127.0.0.1:9"):
        comfy_client.get_json("127.0.0.1:9", "/queue")


@pytest.mark.parametrize("runs", [True, False])
def test_only_the_own_prompt_is_interrupted(monkeypatch, runs):
    """A ComfyUI that does not read the id of an interrupt stops whatever runs."""
    running = [[0, "mine" if runs else "other's"]]
    posted = []
    monkeypatch.setattr(
        comfy_client, "request", lambda at, path, body, timeout: posted.append(path)
    )
    monkeypatch.setattr(
        comfy_client,
        "get_json",
        lambda at, path, timeout: (
            {"queue_running": running, "queue_pending": []} if path == "/queue" else {}
        ),
    )
    comfy_client.cancel_prompt("x:1", "mine")
    assert posted == (["/queue", "/interrupt"] if runs else ["/queue"])
