"""``layerlab dim`` on tiny models: what it writes, and that how it is run changes nothing."""

import json

import numpy as np
import pytest
from zimage_layer_lab.cli.dim.meter import DimMeter
from zimage_layer_lab.core.dimension.dim_file import DimFileError, load_dim

from .conftest import FEW


def dim(layerlab, model, prompts, out, *more):
    return layerlab("dim", model, "7", "12", "--prompts", prompts, "--out", out, *more)


def costs(path):
    document = json.loads((path / "dim.json").read_text(encoding="utf-8"))
    return {
        (probe["dimension"], probe["index"], cost["way"], cost["place"]): cost["per_prompt"]
        for probe in document["probes"]
        for cost in probe["costs"]
    }


def test_what_is_written(dim_run, tiny_model, prompt_file, naive_states):
    """Shares by position and by side are NumPy's, of transformers' states."""
    import transformers

    out, document, printed = dim_run
    assert load_dim(out / "dim.json") == document
    assert sorted(path.name for path in out.iterdir()) == [
        *("dim.json", "dim_12.png", "dim_7.png", "report.html"),
    ]
    page = (out / "report.html").read_text(encoding="utf-8")
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_model())
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_model())
    prompts = prompt_file.read_text().split("\n")[:-1]
    ids = [
        tokenizer(f"<s> user {prompt} </s> assistant", add_special_tokens=False)["input_ids"]
        for prompt in prompts
    ]
    states = naive_states(model, ids)
    assert document["tokens"] == sum(map(len, ids)) and document["prompts"] == len(prompts)
    assert document["shared_tokens"] == [2, 2]
    assert len(document["probes"]) == 4
    for probe in document["probes"]:
        values = [rows[:, probe["dimension"]] for rows in states[probe["index"]]]
        everything = np.concatenate(values)
        squares = [(own - everything.mean()) ** 2 for own in values]
        total = sum(own.sum() for own in squares)
        assert probe["std"] == pytest.approx(everything.std(ddof=1), rel=1e-4)
        for part in probe["where"]["positions"][:-1]:
            at = int(part["name"])
            there = sum(own[at] for own in squares if len(own) > at)
            assert part["share"] == pytest.approx(there / total, abs=1e-5)
        assert sum(part["share"] for part in probe["where"]["classes"]) == pytest.approx(1.0)
        name = probe["verdict"]["name"]
        where = f"Dimension {probe['dimension']} at layer {probe['layer']}"
        for text in (page, printed):
            assert f"{where} (hidden state {probe['index']}): {name}." in text
        assert probe["verdict"]["overturned"] in page.replace("&#39;", "'")


def test_order_of_prompts_and_batch_size_change_nothing(
    dim_run, tiny_model, prompt_file, tmp_path, layerlab
):
    turned = tmp_path / "turned.txt"
    turned.write_text("\n".join(prompt_file.read_text().split("\n")[:-1][::-1]) + "\n")
    status, _, _ = dim(layerlab, tiny_model(), turned, tmp_path / "out", *FEW, "--batch-tokens=50")
    assert status == 0
    before, after = costs(dim_run[0]), costs(tmp_path / "out")
    assert before.keys() == after.keys()
    for key, values in before.items():
        assert after[key] == pytest.approx(values, abs=1e-5)


def test_an_interrupted_run_goes_on(
    dim_run, tiny_model, prompt_file, tmp_path, layerlab, monkeypatch
):
    real, calls = DimMeter.losses, []

    def breaks(self, job):
        calls.append(job)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, job)

    arguments = (tiny_model(), prompt_file, tmp_path / "out", *FEW)
    with monkeypatch.context() as patch:
        patch.setattr(DimMeter, "losses", breaks)
        status, _, _ = dim(layerlab, *arguments)
    assert status == 130 and not (tmp_path / "out" / "dim.json").exists()
    status, printed, _ = dim(layerlab, *arguments)
    assert status == 0 and "Going on from a checkpoint: " in printed
    assert costs(tmp_path / "out") == costs(dim_run[0])
    assert not (tmp_path / "out" / ".checkpoint").exists()
    (tmp_path / "out" / ".checkpoint").mkdir()
    (tmp_path / "out" / ".checkpoint" / "dim.json").write_text('{"format": 3}')
    status, printed, _ = dim(layerlab, *arguments)
    assert status == 0 and "Starting anew: there is a checkpoint in" in printed


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("w1 w2 w3\n", "at least two prompts are needed, since shuffling takes"),
        ("", "holds no prompt: write at least one"),
    ],
)
def test_too_few_prompts(text, says, tiny_model, tmp_path, layerlab):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text(text)
    status, _, err = dim(layerlab, tiny_model(), prompts, tmp_path / "out", *FEW)
    assert status == 1 and says in err
    assert not (tmp_path / "out").exists()


def test_prompts_of_one_token(tiny_model, tmp_path, layerlab):
    """Without a template and BOS nothing would predict it; here <s> does. A model of which even
    that is missing has no loss to measure."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("w1\nw2\nw3\nw4\n")
    status, _, _ = dim(
        layerlab, tiny_model("llama", template=False), prompts, tmp_path / "out", *FEW
    )
    assert status == 0
    document = json.loads((tmp_path / "out" / "dim.json").read_text())
    assert document["shared_tokens"] == [1, 0] and document["loss_prompts"] == 4


def test_a_model_without_a_head(tiny_model, tmp_path, prompt_file, layerlab):
    import transformers

    folder = tmp_path / "headless"
    model = transformers.AutoModel.from_pretrained(tiny_model())
    model.config.tie_word_embeddings = False
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(tiny_model()).save_pretrained(folder)
    status, _, err = dim(layerlab, folder, prompt_file, tmp_path / "out", *FEW)
    assert status == 1 and "lacks 1 weights of the language-model head" in err


def test_two_runs_side_by_side(dim_run, tmp_path, layerlab):
    out, document, _ = dim_run
    status, printed, _ = layerlab("compare", out, out / "dim.json", "--out", tmp_path / "both")
    assert status == 0
    page = (tmp_path / "both" / "report.html").read_text(encoding="utf-8")
    for probe in document["probes"]:
        where = f"Dimension {probe['dimension']} at layer {probe['layer']}"
        sentence = f"{where}: {probe['verdict']['name']} in both"
        assert sentence in printed and sentence in page
    document["probes"] = [{**probe, "dimension": 1} for probe in document["probes"][:1]]
    other = tmp_path / "other" / "dim.json"
    other.parent.mkdir()
    other.write_text(json.dumps(document))
    status, _, err = layerlab("compare", out, other, "--out", tmp_path / "both")
    assert status == 1 and "they share no dimension at one layer" in err


def test_damaged_files_are_refused(dim_run, tmp_path):
    """Every field that is used, taken out, or of another kind."""
    _, document, _ = dim_run
    path = tmp_path / "dim.json"
    probe = document["probes"][0]
    for broken in (
        {**document, "schema_version": 2},
        {**document, "model": None},
        {**document, "tokens": -1},
        {**document, "probes": {}},
        {**document, "probes": [{**probe, "dimension": 10**6}]},
        {**document, "probes": [{**probe, "layer": -1}]},
        {**document, "probes": [{**probe, "verdict": {"name": "noise"}}]},
        {**document, "probes": [{**probe, "costs": probe["costs"][1:]}]},
        {**document, "probes": [probe, probe]},
        [],
    ):
        path.write_text(json.dumps(broken))
        with pytest.raises(DimFileError, match="dim.json"):
            load_dim(path)
    with pytest.raises(DimFileError, match="there is no such file"):
        load_dim(tmp_path / "gone.json")
