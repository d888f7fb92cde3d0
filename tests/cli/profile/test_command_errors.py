"""Bad input: a clear message, exit status 1, and nothing written."""

import re
import resource
import socket
import sys
import time

import pytest

LIMIT = 16 * 1024


def profile(layerlab, model, prompts, out, *more):
    return layerlab("profile", model, "--prompts", prompts, "--out", out, *more)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "there is no such file"),
        (b"", "holds no prompt"),
        (b"fine\n\xe9t\xe9\n", "is not UTF-8: line 2, byte 1 is 0xe9"),
        (b"w1\n" + b"w2 " * 61 + b"\n", "line 2: the prompt has 65 tokens and the model's context"),
    ],
    ids=["missing", "empty", "latin-1", "too long"],
)
def test_bad_prompt_files(content, why, tiny_model, tmp_path, layerlab):
    path = tmp_path / "prompts.txt"
    if content is not None:
        path.write_bytes(content)
    status, _, err = profile(layerlab, tiny_model(), path, tmp_path / "out")
    assert status == 1
    assert err.startswith("layerlab profile: ") and "prompts.txt" in err and why in err
    assert not (tmp_path / "out").exists()


def test_the_limits_are_those_of_the_model(tiny_model, tmp_path, layerlab):
    (tmp_path / "prompts.txt").write_text("w2 " * 60)
    assert profile(layerlab, tiny_model(), tmp_path / "prompts.txt", tmp_path / "out")[0] == 0


@pytest.mark.parametrize("damage", ["tokenizer", "truncated", "config", "absent"])
def test_bad_models(damage, model_copy, prompt_file, tmp_path, layerlab):
    weights = model_copy / "model.safetensors"
    if damage == "tokenizer":
        for path in model_copy.glob("tokenizer*"):
            path.unlink()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "config":
        (model_copy / "config.json").unlink()
    else:
        model_copy = model_copy / "nowhere"
    status, _, err = profile(layerlab, model_copy, prompt_file, tmp_path / "out")
    expected = {
        "tokenizer": "has no tokenizer",
        "truncated": "the weights cannot be read",
        "config": "has no config.json",
        "absent": "there is no such model",
    }[damage]
    assert status == 1 and str(model_copy) in err and expected in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("--layers=-9", "layer -9 does not exist: this encoder has 4 blocks"),
        ("--layers=two", "'two' is neither 'all' nor a list"),
        ("--layers=", "neither 'all' nor a list"),
        ("--batch-tokens=0", "--batch-tokens is 0"),
        ("--device=cuda:99", "--device cuda:99 cannot be used here"),
    ],
)
def test_bad_options(option, why, tiny_model, prompt_file, tmp_path, layerlab):
    status, _, err = profile(layerlab, tiny_model(), prompt_file, tmp_path / "out", option)
    assert status == 1 and why in err
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_left_alone(tiny_model, prompt_file, tmp_path, layerlab):
    out = tmp_path / "out"
    out.write_text("mine")
    status, _, err = profile(layerlab, tiny_model(), prompt_file, out)
    assert status == 1 and f"{out} is not a folder" in err and out.read_text() == "mine"


def test_a_full_disk_leaves_no_partial_file(tiny_model, prompt_file, tmp_path, layerlab_process):
    """A real refusal of the kernel: files of this process may not grow beyond 16 KiB."""
    process = layerlab_process(
        *("profile", tiny_model(), "--prompts", prompt_file, "--out", tmp_path / "out"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT)),
    )
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert "out cannot be written:" in " ".join(err.split()) and "Traceback" not in err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_disk_that_fills_at_the_end_costs_no_measurement(
    tiny_model, prompt_file, tmp_path, layerlab, monkeypatch
):
    """The checkpoint stays, and the next run only writes."""
    from zimage_layer_lab.cli.profile import command as command

    def full(*arguments):
        raise OSError(28, "No space left on device")

    arguments = (tiny_model(), prompt_file, tmp_path / "out", "--layers=-2")
    with monkeypatch.context() as patch:
        patch.setattr(command, "write_profile", full)
        status, _, err = profile(layerlab, *arguments)
    assert status == 1 and "No space left on device. Make room" in err
    status, out, _ = profile(layerlab, *arguments)
    assert status == 0 and "Going on from a checkpoint" in out
    assert not (tmp_path / "out" / ".checkpoint").exists()


def test_without_ray_it_says_how_to_install_it(
    tiny_model, prompt_file, tmp_path, layerlab, monkeypatch
):
    monkeypatch.setitem(sys.modules, "ray", None)
    arguments = (tiny_model(), prompt_file, tmp_path / "out", "--ray", "local")
    status, _, err = profile(layerlab, *arguments)
    assert status == 1 and 'python -m pip install "zimage-layer-lab[ray]"' in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("address", "more", "why"),
    [
        ("127.0.0.1:1", (), "no Ray answers at 127.0.0.1:1: .*refused"),
        ("127.0.0.1:99999", (), "no Ray answers at 127.0.0.1:99999"),
        ("somewhere", (), "give 'local', 'auto', or HOST:PORT"),
        ("ray://head:10001", (), "give 'local', 'auto', or HOST:PORT"),
        ("local", ("--workers=0",), "--workers is 0"),
        ("local", ("--device=cuda:1",), "say --device cuda"),
    ],
)
def test_bad_ray_addresses(address, more, why, tiny_model, prompt_file, tmp_path, layerlab):
    pytest.importorskip("ray", reason="ray, an optional extra, is not installed")
    arguments = (tiny_model(), prompt_file, tmp_path / "out", "--ray", address, *more)
    status, _, err = profile(layerlab, *arguments)
    assert status == 1
    assert re.search(why, err), err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_port_that_listens_but_is_no_ray(tiny_model, prompt_file, tmp_path, layerlab):
    """Ray itself would try for minutes."""
    pytest.importorskip("ray", reason="ray, an optional extra, is not installed")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        started = time.monotonic()
        arguments = (tiny_model(), prompt_file, tmp_path / "out", "--ray", address)
        status, _, err = profile(layerlab, *arguments)
    assert status == 1 and f"{address} does not answer as Ray does" in err
    assert time.monotonic() - started < 25
    assert not (tmp_path / "out").exists()
