"""Save and Load Embedding in a real ComfyUI: what comes back, what it samples, what is refused."""

import logging

import pytest
import torch
from safetensors.torch import load_file, save_file

from .stock import (
    RECORD,
    empty_latent,
    ksample,
    output,
    record,
    run,
    same_options,
    snapshot,
    states,
    text_encode,
    unchanged,
)

TEXT = "A red fox in deep snow"
FIRST = "layer_lab/embedding_00001_.safetensors"


@pytest.fixture(scope="module")
def fox(clip, pack):
    with torch.inference_mode():
        return run(pack.Qwen3Encode, clip=clip, text=TEXT, layer=-3)[0]


@pytest.fixture(scope="module")
def picture(vl_clip, pack):
    with torch.inference_mode():
        image = torch.rand(1, 300, 421, 3, generator=torch.Generator().manual_seed(0))
        return run(pack.VLEncode, clip=vl_clip, image=image, text=TEXT, two_layers=True, layer=0)[0]


def saved_and_loaded(pack, conditioning) -> list:
    run(pack.SaveEmbedding, conditioning=conditioning)
    return run(pack.LoadEmbedding, name=f"{FIRST} [output]")[0]


def offered(pack) -> list[str]:
    return pack.LoadEmbedding.define_schema().inputs[0].options


def assert_equal(got: list, want: list) -> None:
    assert len(got) == len(want)
    for (hidden, options), (expected, kept) in zip(got, want, strict=True):
        assert torch.equal(hidden, expected) and hidden.dtype == expected.dtype
        assert same_options(options, {k: v for k, v in kept.items() if k != RECORD})
        assert options.get(RECORD) == kept.get(RECORD)


@pytest.mark.parametrize("kind", ["fox", "picture"])
def test_a_conditioning_comes_back_whole_and_describe_says_the_same(
    pack, folders, request, kind, caplog
):
    conditioning = request.getfixturevalue(kind)
    before = snapshot(conditioning)
    loaded = saved_and_loaded(pack, conditioning)
    assert_equal(loaded, conditioning)
    assert record(loaded).checksum and record(loaded) is not record(conditioning)
    [said], [original] = (run(pack.Describe, conditioning=c) for c in (loaded, conditioning))
    assert said == original
    assert unchanged(conditioning, before)
    assert not [r for r in caplog.records if r.name.startswith("zimage_layer_lab")]


def test_other_programs_read_the_plain_tensor(pack, folders, fox):
    run(pack.SaveEmbedding, conditioning=fox)
    assert torch.equal(load_file(folders / "output" / FIRST)["hidden"], states(fox))


def test_a_loaded_conditioning_samples_bitwise_the_same_latent(pack, model, folders, fox):
    import nodes

    [late] = nodes.ConditioningSetTimestepRange().set_range(fox, 0.5, 1.0)
    [early] = nodes.ConditioningSetTimestepRange().set_range(fox, 0.0, 0.5)
    [area] = nodes.ConditioningSetArea().append(early, 64, 64, 32, 0, 0.7)
    [positive] = nodes.ConditioningCombine().combine(late, area)
    loaded = saved_and_loaded(pack, positive)
    assert_equal(loaded, positive)
    negative = nodes.ConditioningZeroOut().zero_out(fox)[0]
    one, other, without = (
        ksample(model, c, negative, empty_latent(), seed=3)["samples"]
        for c in (positive, loaded, late)
    )
    assert torch.equal(one, other) and not torch.equal(one, without)


def test_masks_of_regional_prompts_come_back(pack, folders, fox):
    import nodes

    mask = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    [masked] = nodes.ConditioningSetMask().append(fox, mask, "mask bounds", 0.6)
    [[_, options]] = loaded = saved_and_loaded(pack, masked)
    assert_equal(loaded, masked)
    assert torch.equal(options["mask"], mask) and options["set_area_to_bounds"] is True


def test_a_stock_conditioning_comes_back_without_a_record(pack, clip, folders):
    stock = text_encode(clip, TEXT)
    [[_, options]] = loaded = saved_and_loaded(pack, stock)
    assert_equal(loaded, stock)
    assert RECORD not in options


def test_a_record_that_no_longer_fits_is_not_saved(pack, folders, fox, caplog):
    import nodes

    [[hidden, options]] = fox
    doubled = nodes.ConditioningConcat().concat([[hidden, options]], [[hidden, {}]])[0]
    [[loaded, kept]] = saved_and_loaded(pack, doubled)
    assert loaded.shape[1] == 2 * hidden.shape[1] and RECORD not in kept
    assert "another node changed the length" in caplog.text


def test_what_a_file_cannot_hold_is_named_on_the_node_and_in_the_log(pack, folders, fox, caplog):
    class Control:
        pass

    [[hidden, options]] = fox
    conditioning = [[hidden, {**options, "control": Control()}]]
    with caplog.at_level(logging.WARNING, logger="zimage_layer_lab"):
        shown = output(pack.SaveEmbedding, conditioning=conditioning).ui["text"][0]
    assert "'control' (Control) of entry 1" in shown and "'control' (Control)" in caplog.text
    [loaded] = run(pack.LoadEmbedding, name=f"{FIRST} [output]")
    assert_equal(loaded, fox)


def test_files_are_numbered_shown_and_offered(pack, folders, fox):
    for number in (1, 2):
        shown = output(pack.SaveEmbedding, conditioning=fox).ui["text"][0]
        name = f"layer_lab/embedding_{number:05}_.safetensors"
        assert f"saved: {name}" in shown and (folders / "output" / name).is_file()
    assert offered(pack) == [f"layer_lab/embedding_0000{n}_.safetensors [output]" for n in (1, 2)]
    shown = output(pack.LoadEmbedding, name=offered(pack)[0]).ui["text"][0]
    tokens = states(fox).shape[1]
    assert f"entry 1: {tokens} tokens x 2560 dimensions, float32" in shown
    assert "qwen_3_4b.safetensors (Qwen3_4B) at layer -3" in shown


def test_only_embeddings_inside_the_two_folders_are_offered(pack, folders, fox):
    run(pack.SaveEmbedding, conditioning=fox, filename_prefix="a/b")
    saved = folders / "output" / "a" / "b_00001_.safetensors"
    deep = folders / "input" / "deep" / "er"
    deep.mkdir(parents=True)
    (deep / "copy.safetensors").write_bytes(saved.read_bytes())
    (folders / "outside.safetensors").write_bytes(saved.read_bytes())
    (deep / "link.safetensors").symlink_to(folders / "outside.safetensors")
    (deep / "broken.safetensors").write_bytes(b"no header")
    (deep / "cut.safetensors").write_bytes(saved.read_bytes()[:-1])
    save_file({"hidden": torch.zeros(1, 2, 3)}, deep / "lora.safetensors", {"format": "pt"})
    names = ["a/b_00001_.safetensors [output]", "deep/er/copy.safetensors [input]"]
    assert offered(pack) == names
    for name in names:
        assert_equal(run(pack.LoadEmbedding, name=name)[0], fox)


@pytest.mark.parametrize(
    "prefix",
    ["../escape", "/tmp/escape", "a/../../escape", "", ".", "link/x", "a\0b", "..", "a/.."],
)
def test_saving_outside_the_output_folder_is_refused(pack, folders, fox, prefix):
    (folders / "elsewhere").mkdir()
    (folders / "output" / "link").symlink_to(folders / "elsewhere")
    with pytest.raises(ValueError, match="output folder"):
        run(pack.SaveEmbedding, conditioning=fox, filename_prefix=prefix)
    assert not [path for path in folders.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", [r"\\server\share\x", "C:x", "con/x", "a./b", "a:b"])
def test_names_that_windows_reads_otherwise_are_refused_there(
    pack, folders, fox, name, monkeypatch
):
    monkeypatch.setattr("zimage_layer_lab.core.files.file_names.ON_WINDOWS", True)
    with pytest.raises(ValueError, match="output folder: (it begins|'(con|a.|a:b)' )"):
        run(pack.SaveEmbedding, conditioning=fox, filename_prefix=name)
    said = pack.LoadEmbedding.validate_inputs(name=f"{name}.safetensors [output]")
    assert "outside ComfyUI's output and input folders: " in said


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../secret.safetensors [output]", "outside"),
        ("../secret.safetensors", "outside"),
        ("/etc/secret.safetensors [input]", "outside"),
        ("link.safetensors [input]", "outside"),
        ("secret.safetensors [temp]", "outside"),
        ("a\0b.safetensors [output]", "outside"),
        ("gone.safetensors [output]", "does not exist"),
        (f"{'long' * 200}.safetensors [output]", "does not exist"),
        ("notes.pt [input]", "no embedding file"),
        ("", "no embedding file"),
    ],
)
def test_bad_names_are_refused_before_and_while_running(pack, folders, fox, name, message):
    run(pack.SaveEmbedding, conditioning=fox)
    (folders / "secret.safetensors").write_bytes((folders / "output" / FIRST).read_bytes())
    (folders / "input" / "link.safetensors").symlink_to(folders / "secret.safetensors")
    (folders / "input" / "notes.pt").write_bytes(b"x")
    said = pack.LoadEmbedding.validate_inputs(name=name)
    assert isinstance(said, str) and message in said
    with pytest.raises(ValueError, match=message):
        run(pack.LoadEmbedding, name=name)


def test_with_no_file_the_list_and_the_answer_say_what_to_do(pack, folders):
    [said] = offered(pack)
    assert said == "no embedding file yet: run Save Embedding, then press R"
    sentence = (
        "there is no embedding file to load: run Save Embedding, press R, and choose its file"
    )
    assert pack.LoadEmbedding.validate_inputs(name=said) == sentence
    with pytest.raises(ValueError, match=sentence):
        run(pack.LoadEmbedding, name=said)


def test_files_from_elsewhere_and_truncated_ones_say_so(pack, folders, fox):
    run(pack.SaveEmbedding, conditioning=fox)
    whole = (folders / "output" / FIRST).read_bytes()
    (folders / "input" / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    save_file({"hidden": states(fox).clone()}, folders / "input" / "other.safetensors")
    assert pack.LoadEmbedding.validate_inputs(name=None) is True
    for name, message in (
        ("cut.safetensors", "cut.safetensors cannot be read as an embedding"),
        ("other.safetensors", "only files that Save Embedding wrote"),
    ):
        assert pack.LoadEmbedding.validate_inputs(name=f"{name} [input]") is True
        with pytest.raises(ValueError, match=message):
            run(pack.LoadEmbedding, name=f"{name} [input]")


def test_states_with_nan_and_an_empty_conditioning_leave_no_file(pack, folders, fox):
    broken = states(fox).clone()
    broken[0, 1, 2] = torch.nan
    with pytest.raises(ValueError, match="token 1 dimension 2"):
        run(pack.SaveEmbedding, conditioning=[[broken, {}]])
    with pytest.raises(ValueError, match="has no entries"):
        run(pack.SaveEmbedding, conditioning=[])
    assert not [path for path in folders.rglob("*") if path.is_file()]


def test_a_changed_file_is_read_again(pack, folders, fox, picture):
    run(pack.SaveEmbedding, conditioning=fox)
    name = f"{FIRST} [output]"
    before = pack.LoadEmbedding.fingerprint_inputs(name=name)
    assert before == pack.LoadEmbedding.fingerprint_inputs(name=name)
    (folders / "output" / FIRST).unlink()
    run(pack.SaveEmbedding, conditioning=picture)
    assert pack.LoadEmbedding.fingerprint_inputs(name=name) != before
    linked = pack.LoadEmbedding.fingerprint_inputs(name=None)
    assert linked != linked
