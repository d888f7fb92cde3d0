"""layerlab stats show and convert."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.cli import main
from zimage_layer_lab.core.measure.reference import Reference, load_reference, save_reference
from zimage_layer_lab.core.outliers.detection import get_outlier_dimensions


@pytest.fixture
def reference():
    generator = torch.Generator().manual_seed(1)

    def vector():
        return torch.rand(40, generator=generator, dtype=torch.float64) + 0.1

    return Reference(
        vector(), vector(), 0.25, 61.096, vector(), vector(), {"model": "a model", "layer": "-2"}
    )


def same(first, second):
    for name in ("mean", "std", "mean_without_sinks", "std_without_sinks"):
        one, other = getattr(first, name), getattr(second, name)
        assert (one is None and other is None) or torch.equal(one, other), name
    assert (first.global_mean, first.global_std) == (second.global_mean, second.global_std)


def test_safetensors_to_npz_and_back_loses_no_number(tmp_path, reference):
    start, middle, end = (tmp_path / name for name in ("a.safetensors", "b.npz", "c.safetensors"))
    save_reference(reference, start)
    assert main(["stats", "convert", str(start), str(middle)]) == 0
    assert main(["stats", "convert", str(middle), str(end)]) == 0
    same(reference, load_reference(end))
    assert dict(load_reference(end).provenance) == dict(reference.provenance)


def test_npz_of_llm_dit_to_safetensors_and_back_loses_no_number(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "per_dim_mean": rng.normal(size=16).astype(np.float32),
        "per_dim_std": rng.random(16).astype(np.float32),
        "global_mean": np.float32(0.311),
        "global_std": np.float32(61.096),
    }
    np.savez(tmp_path / "theirs.npz", **arrays)
    assert (
        main(["stats", "convert", str(tmp_path / "theirs.npz"), str(tmp_path / "o.safetensors")])
        == 0
    )
    assert (
        main(["stats", "convert", str(tmp_path / "o.safetensors"), str(tmp_path / "back.npz")]) == 0
    )
    with np.load(tmp_path / "back.npz", allow_pickle=False) as back:
        for name, array in arrays.items():
            np.testing.assert_array_equal(back[name].astype(np.float32), array)


def test_show_prints_provenance_and_the_loudest_dimensions(tmp_path, reference, capsys):
    path = tmp_path / "a.safetensors"
    save_reference(reference, path)
    assert main(["stats", "show", str(path)]) == 0
    said = capsys.readouterr().out
    assert "a model" in said
    loudest = int(reference.std.argmax())
    assert f"{float(reference.std[loudest]):.6g}" in said


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.safetensors", None, "no such file"),
        ("broken.safetensors", b"\x08\0\0\0\0\0\0\0{not json", "cannot be read"),
        ("broken.npz", b"PK\x03\x04 but not a zip", "cannot be read"),
    ],
)
def test_files_that_are_no_reference_are_refused(tmp_path, capsys, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for arguments in (["show", str(path)], ["convert", str(path), str(tmp_path / "out.npz")]):
        assert main(["stats", *arguments]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out.npz").exists()


def test_npz_with_pickled_objects_is_refused(tmp_path, capsys):
    path = tmp_path / "evil.npz"
    np.savez(path, per_dim_mean=np.array([{}], dtype=object), per_dim_std=np.ones(1))
    assert main(["stats", "show", str(path)]) == 1
    assert "evil.npz" in capsys.readouterr().err


def test_an_existing_target_is_kept_unless_forced(tmp_path, reference, capsys):
    source, target = tmp_path / "a.safetensors", tmp_path / "b.npz"
    save_reference(reference, source)
    target.write_bytes(b"precious")
    assert main(["stats", "convert", str(source), str(target)]) == 1
    assert "--force" in capsys.readouterr().err
    assert target.read_bytes() == b"precious"
    assert main(["stats", "convert", str(source), str(target), "--force"]) == 0
    same(load_reference(source), load_reference(target))


def test_llm_dits_own_file_gives_the_ratio_that_the_published_figures_miss(tmp_path, layerlab):
    """The way that each report against them names; the dimension here was not published."""
    rng = np.random.default_rng(0)
    theirs = {"per_dim_mean": np.zeros(2560), "per_dim_std": rng.uniform(4, 20, 2560)}
    for dimension, std in {4: 2752.57, 396: 948.70, 0: 193.41, 100: 77.22, 9: 36.02}.items():
        theirs["per_dim_std"][dimension] = std
    theirs["per_dim_std"][7] = 14.7
    np.savez(tmp_path / "qwen3_4b_stats.npz", global_mean=0.311, global_std=61.096, **theirs)
    files = tmp_path / "qwen3_4b_stats.npz", tmp_path / "x.safetensors"
    assert layerlab("stats", "convert", *files)[0] == 0
    rows = rng.normal(size=(50, 2560))
    rows = (rows - rows.mean(0)) / rows.std(0, ddof=1) * theirs["per_dim_std"]
    rows[:, 7] *= 30
    hidden = torch.from_numpy(rows)
    [found] = get_outlier_dimensions(hidden, 20, load_reference(tmp_path / "x.safetensors"))
    assert found == (7, pytest.approx(30))
    [found] = get_outlier_dimensions(hidden, 20)
    assert found == (7, pytest.approx(30 * 14.7 / 5.588))
