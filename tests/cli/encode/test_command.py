"""``layerlab encode`` on a tiny Qwen3: read back with readers that know the formats alone."""

import json

import numpy as np
import pytest
from zimage_layer_lab.core.record.embedding_file import load_embedding
from zimage_layer_lab.core.record.record import Role

from ...oracles import caption_caches
from .conftest import WIDTH, near

CAPTIONS = {
    "fox.png": "a red fox in deep snow",
    "狐.jpg": "一只红狐狸, 雪地\n",
    "cafe_2.webp": "naïve café,two  spaces <|im_end|> and more " * 4,
}


@pytest.fixture
def encode(layerlab, tiny_qwen3):
    """Run ``layerlab encode`` with the tiny Qwen3 in float32."""

    def run(captions, *options):
        return layerlab("encode", captions, "--model", tiny_qwen3, "--dtype=f32", *options)

    return run


def test_musubi_gets_what_transformers_makes_of_each_caption(
    encode, write_dataset, hidden_states_of, tmp_path
):
    folder, out = write_dataset(CAPTIONS), tmp_path / "out"
    status, text, _ = encode(folder, "--format=musubi", "--layer", "-3", "--out", out)
    assert status == 0, text
    assert "must use the same layer" in text and "captions/s" in text
    for image, caption in CAPTIONS.items():
        stem = image.rpartition(".")[0]
        found, said = caption_caches.musubi(out, f"{stem}_0064x0064_zi.safetensors", WIDTH)
        assert said == caption.strip()
        assert near(found, hidden_states_of(said)[-3])
    report = json.loads((out / "layerlab-encode.json").read_text(encoding="utf-8"))
    assert report["settings"]["layer"] == "-3" and report["finished"] is True
    assert report["settings"]["model"] == "tiny-qwen3" and len(report["files"]) == 3
    assert report["command"].startswith("layerlab encode") and "same layer" in report["warning"]
    assert {path.name for path in out.iterdir()} - set(report["files"]) == {
        "layerlab-encode.json",
        ".queue-lock",
    }


def test_ai_toolkit_finds_its_caches_beside_the_images(encode, write_dataset, hidden_states_of):
    folder = write_dataset(CAPTIONS)
    status, text, _ = encode(folder, "--format=ai-toolkit", "--trigger=sks", "--dropout")
    assert status == 0, text
    for image, caption in CAPTIONS.items():
        processed = caption_caches.ai_toolkit_caption(caption, "sks")
        for seen in (processed, "sks "):
            found = caption_caches.ai_toolkit(folder / image, seen, WIDTH)
            assert near(found, hidden_states_of(seen)[-2])


def test_plain_has_the_record_of_a_mix_that_was_masked_and_normalized(
    encode, write_dataset, hidden_states_of, tmp_path
):
    caption, out = "a red fox, 雪", tmp_path / "out"
    options = ("--layer", "-2:0.75,-3:0.25", "--mix=raw", "--mask=zero", "--threshold=5")
    status, text, _ = encode(
        write_dataset({"a.png": caption}),
        *("--format=plain", "--out", out, *options, "--normalize=rms-per-token"),
    )
    assert status == 0, text
    [entry] = load_embedding(out / "a.safetensors")
    states = hidden_states_of(caption)
    mixed = 0.75 * states[-2] + 0.25 * states[-3]
    std = mixed.std(0, ddof=1)
    masked = np.where(std > 5 * np.quantile(std, 0.5), 0.0, mixed)
    assert (masked == 0).all(0).nonzero()[0].tolist() == [7]
    rms = np.sqrt(np.square(masked).mean(1, keepdims=True))
    found = entry.hidden[0].double().numpy()
    directions = found / np.sqrt(np.square(found).mean(1, keepdims=True))
    assert near(directions, masked / rms)
    record = entry.record
    assert record.layer is None and len(record.edits) == 3
    assert record.edits[0] == "layer mix: raw, -2: 0.75, -3: 0.25"
    assert record.prompt == f"<|im_start|>user\n{caption}<|im_end|>\n<|im_start|>assistant\n"
    assert record.roles.count(Role.TEXT) == len(caption.encode())
    assert all(edit in text for edit in ("outlier mask: zero", "normalize: rms per token"))


def test_at_minus_2_it_is_what_diffusers_encodes(encode, write_dataset, tiny_qwen3, tmp_path):
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed here")
    import transformers

    out = tmp_path / "out"
    assert encode(write_dataset(CAPTIONS), "--format=musubi", "--out", out)[0] == 0
    pipeline = diffusers.ZImagePipeline(
        scheduler=None,
        vae=None,
        transformer=None,
        text_encoder=transformers.AutoModel.from_pretrained(tiny_qwen3),
        tokenizer=transformers.AutoTokenizer.from_pretrained(tiny_qwen3),
    )
    for image, caption in CAPTIONS.items():
        [expected], _ = pipeline.encode_prompt(caption.strip(), do_classifier_free_guidance=False)
        stem = image.rpartition(".")[0]
        found, _ = caption_caches.musubi(out, f"{stem}_0064x0064_zi.safetensors", WIDTH)
        assert near(found, expected.detach().double().numpy())


def test_what_cannot_be_encoded_is_said_and_the_rest_goes_on(encode, write_dataset, tmp_path):
    folder = write_dataset(
        {
            **{"good.png": "a fox", "a.png": "twice", "a.jpg": None, "blank.png": " \n"},
            **{"long.png": "w" * 3000, "bare.png": None},
        }
    )
    (folder / "lonely.txt").write_text("no image")
    (folder / "latin.png").touch()
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    out = tmp_path / "out"
    status, text, _ = encode(folder, "--format=plain", "--out", out)
    assert status == 3
    for sentence in (
        "lonely.txt has no image beside it",
        "a.jpg and a.png would share one cache",
        "blank.txt is empty: write a caption",
        "long.txt: it has 3019 tokens, the template's included, and --max-tokens is 512",
        "bare.png has no caption: write bare.txt",
        "latin.txt is not UTF-8: byte 4",
    ):
        assert f"Left out: {sentence}" in text, sentence
    assert [path.name for path in out.glob("*.safetensors")] == ["good.safetensors"]
    report = json.loads((out / "layerlab-encode.json").read_text(encoding="utf-8"))
    assert len(report["left_out"]) == 6
    # The longest one cut as trainers do, and the rest left as it is.
    status, _, _ = encode(folder, "--format=plain", "--out", tmp_path / "cut", "--cut")
    assert status == 3
    assert load_embedding(tmp_path / "cut" / "long.safetensors")[0].hidden.shape[1] == 512


def test_a_list_names_its_images_and_lines_are_counted(encode, tmp_path):
    rows = tmp_path / "rows.jsonl"
    lines = [("x/b.png", "one"), ("y\\c.d.jpg", "two"), ("x/e.png", "three"), ("y/e.png", "four")]
    lines.append(("what?.png", "five"))
    rows.write_text(
        "\n".join(json.dumps({"image_path": image, "caption": text}) for image, text in lines)
    )
    status, text, _ = encode(rows, "--format=musubi", "--out", tmp_path / "rows")
    assert status == 3 and "rows.jsonl, line 3: its image has the name 'e'" in text
    assert "line 5: 'what?.txt' has '?', which Windows keeps for itself: rename" in text
    assert sorted(path.name for path in (tmp_path / "rows").glob("*_zi_te.safetensors")) == [
        "b_zi_te.safetensors",
        "c.d_zi_te.safetensors",
    ]
    lines = tmp_path / "lines.txt"
    lines.write_text("a fox\n\nsnow\n")
    assert encode(lines, "--format=plain", "--out", tmp_path / "lines")[0] == 0
    assert sorted(path.name for path in (tmp_path / "lines").glob("*.safetensors")) == [
        "000001.safetensors",
        "000003.safetensors",
    ]
