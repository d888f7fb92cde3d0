"""The shapes in which people have a model on their disk, each against transformers itself."""

import shutil
from pathlib import Path

import pytest
import torch
import transformers
from zimage_layer_lab.cli.model.errors import ModelError
from zimage_layer_lab.cli.model.files import ModelFiles
from zimage_layer_lab.cli.model.language_model import find_smollm2, load_decoder
from zimage_layer_lab.cli.model.layout import find_layout

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
IDS = [1, 4, 9, 30, 2]


@pytest.fixture
def pipeline(tiny_model, tmp_path):
    """A diffusers pipeline with a tiny Qwen3, as Z-Image is published."""
    root = tmp_path / "Z-Image-Turbo"
    shutil.copytree(tiny_model("qwen3"), root / "text_encoder")
    for folder in ("tokenizer", "transformer", "vae"):
        (root / folder).mkdir()
    for name in TOKENIZER:
        (root / "text_encoder" / name).rename(root / "tokenizer" / name)
    (root / "model_index.json").write_text('{"_class_name": "ZImagePipeline"}')
    return root


def cached(tiny_model, folder, *commits, main=None):
    """A Hugging Face cache root with a snapshot a commit; files are links to blobs."""
    cache = folder / "models--Tongyi-MAI--Z-Image"
    (cache / "blobs").mkdir(parents=True)
    for commit in commits:
        snapshot = cache / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for number, file in enumerate(sorted(tiny_model("qwen3").iterdir())):
            blob = cache / "blobs" / f"{commit}{number}"
            shutil.copy(file, blob)
            (snapshot / file.name).symlink_to(blob)
    if main is not None:
        (cache / "refs").mkdir()
        (cache / "refs" / "main").write_text(f"{main}\n")
    return cache


def require_the_tiny_qwen3(path, folder, name):
    """What is read at ``path`` has the name, tokens and states of the model in ``folder``."""
    files = ModelFiles.find(path)
    assert files.name == name
    ids = transformers.AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(
        "<s> user w1 w2 </s> assistant".split()
    )
    assert files.tokenizer().ids("w1 w2") == ids
    found = load_decoder(files, "cpu", "float32").hidden_states(IDS, [-2])
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        truth = model(torch.tensor([IDS]), output_hidden_states=True).hidden_states[-2]
    assert torch.allclose(found[3], truth[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("inside", ["", "text_encoder"])
def test_a_diffusers_pipeline(pipeline, tiny_model, inside):
    require_the_tiny_qwen3(pipeline / inside, tiny_model("qwen3"), "Z-Image-Turbo")


def test_the_second_text_encoder_of_a_pipeline_has_the_second_tokenizer(pipeline, tiny_model):
    for name in ("text_encoder", "tokenizer"):
        (pipeline / name).rename(pipeline / f"{name}_2")
    require_the_tiny_qwen3(pipeline / "text_encoder_2", tiny_model("qwen3"), "Z-Image-Turbo")
    with pytest.raises(ModelError, match="pipeline without text_encoder/config.json: download its"):
        find_layout(pipeline)


def test_a_pipeline_without_tokenizer_asks_for_one(pipeline, tiny_model):
    shutil.rmtree(pipeline / "tokenizer")
    with pytest.raises(ModelError, match="text_encoder has no tokenizer.*--tokenizer"):
        ModelFiles.find(pipeline).tokenizer()
    own = ModelFiles.find(pipeline, tiny_model("qwen3")).tokenizer()
    assert own.ids("w1") == [1, 4, 7, 2, 5]


def test_a_cache_root_gives_the_snapshot_that_main_names(tiny_model, tmp_path):
    cache = cached(tiny_model, tmp_path, "aaa", "bbb", main="bbb")
    assert find_layout(cache).weights == cache / "snapshots" / "bbb"
    require_the_tiny_qwen3(cache, tiny_model("qwen3"), "Tongyi-MAI/Z-Image")
    require_the_tiny_qwen3(cache / "snapshots/aaa", tiny_model("qwen3"), "Tongyi-MAI/Z-Image")


@pytest.mark.parametrize("main", [None, "ccc"])
def test_a_cache_root_without_main_gives_its_only_snapshot(tiny_model, tmp_path, main):
    cache = cached(tiny_model, tmp_path, "aaa", main=main)
    assert find_layout(cache).weights == cache / "snapshots" / "aaa"


@pytest.mark.parametrize("main", [None, "ccc"])
def test_a_cache_root_with_several_snapshots_lists_them(tiny_model, tmp_path, main):
    cache = cached(tiny_model, tmp_path, "aaa", "bbb", main=main)
    with pytest.raises(
        ModelError, match="has 2 snapshots.*Give one: snapshots/aaa, snapshots/bbb$"
    ):
        find_layout(cache)


def test_a_pipeline_in_a_cache_root(pipeline, tiny_model, tmp_path):
    snapshot = tmp_path / "models--Tongyi-MAI--Z-Image-Turbo" / "snapshots" / "0a1b"
    snapshot.parent.mkdir(parents=True)
    pipeline.rename(snapshot)
    require_the_tiny_qwen3(snapshot.parent.parent, tiny_model("qwen3"), "Tongyi-MAI/Z-Image-Turbo")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("SmolLM2.Q4_1.gguf", "SmolLM2.Q4_1"),
        ("SmolLM2.Q4_1", "SmolLM2.Q4_1"),
        ("sha256-4a8f", "sha256-4a8f"),
        ("weights.bin", "weights.bin"),
    ],
)
def test_a_gguf_is_known_by_its_first_bytes(tmp_path, name, shown):
    (tmp_path / name).write_bytes(b"GGUF" + bytes(60))
    files = ModelFiles.find(tmp_path / name)
    assert (files.is_gguf, files.name) == (True, shown)


@pytest.mark.slow
def test_a_gguf_without_ending_and_beside_another_model_is_read_alone(smollm2, tmp_path):
    """As ollama keeps it. What lies in the same folder is of another model."""
    path = tmp_path / "sha256-4a8f"
    path.symlink_to(find_smollm2())
    (tmp_path / "chat_template.jinja").write_text("of another model")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    files = ModelFiles.find(path)
    assert files.tokenizer().ids("a cat") == smollm2.chat_ids("a cat")
    ids = smollm2.chat_ids("a cat in the snow")
    found = load_decoder(files, "cpu", "float32").hidden_states(ids, [-2])[29]
    assert torch.equal(found, smollm2.hidden_states(ids, [-2])[29])
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "chat_template.jinja",
        "sha256-4a8f",
        "tokenizer_config.json",
    ]


def test_names(tmp_path):
    for name, expected in [
        ("Qwen3-4B", "Qwen3-4B"),
        ("models--Qwen--Qwen3-4B/snapshots/0a1b2c", "Qwen/Qwen3-4B"),
    ]:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        assert ModelFiles.find(folder).name == expected
        # A link has the name of what it is to, and the file in a cache that of the link.
        link = tmp_path / f"link-{folder.name}"
        link.symlink_to(folder)
        assert ModelFiles.find(link).name == expected


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "weights.bin").touch()
    (tmp_path / "notes.txt").touch()
    for path, why in [
        (tmp_path / "absent", "there is no such model.*nothing is downloaded"),
        (tmp_path, "is no model: it has no config.json. Give a folder"),
        (tmp_path / "weights.bin", "pickle format.*never opened: give the model as safetensors"),
        (tmp_path / "notes.txt", "neither a GGUF nor a .safetensors file: give a folder"),
    ]:
        with pytest.raises(ModelError, match=f"{path.name}.*{why}"):
            ModelFiles.find(path)
    for number in range(7):
        (tmp_path / f"{number}.gguf").touch()
    with pytest.raises(ModelError, match="0.gguf, 1.gguf, 2.gguf, 3.gguf, 4.gguf and 2 more$"):
        ModelFiles.find(Path(tmp_path))
