"""Reference statistics: files that keep every bit, refusals that name the file, atomic writes."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from zimage_layer_lab.core.measure import reference as reference_module
from zimage_layer_lab.core.measure.reference import (
    Reference,
    ReferenceFileError,
    load_reference,
    published_qwen3_4b,
    reference_from_stats,
    save_reference,
)
from zimage_layer_lab.core.measure.split_stats import SplitStats

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "llm_dit_qwen3_4b_layer-2.npz"
PROVENANCE = {"model": "Qwen3-4B", "layer": "-2", "note": "grün \u2713 'quoted'"}


def make(width=6, seed=0, without_sinks=True):
    generator = torch.Generator().manual_seed(seed)

    def vector():
        return torch.randn(width, generator=generator, dtype=torch.float64) * 1e3

    sinks_apart = (vector(), vector().abs()) if without_sinks else (None, None)
    return Reference(vector(), vector().abs(), 0.1, 61.096, *sinks_apart, PROVENANCE)


def assert_same(got, want):
    for name in ("mean", "std", "mean_without_sinks", "std_without_sinks"):
        one, other = getattr(got, name), getattr(want, name)
        assert (one is None) == (other is None), name
        assert one is None or (one.dtype == torch.float64 and torch.equal(one, other)), name
    assert (got.global_mean, got.global_std) == (want.global_mean, want.global_std)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(width=st.integers(1, 50), seed=st.integers(0, 2**31), without_sinks=st.booleans())
def test_a_file_keeps_every_bit_and_the_provenance(tmp_path, suffix, width, seed, without_sinks):
    reference = make(width, seed, without_sinks)
    save_reference(reference, tmp_path / f"own{suffix}")
    loaded = load_reference(tmp_path / f"own{suffix}")
    assert_same(loaded, reference)
    assert dict(loaded.provenance) == PROVENANCE
    assert loaded.width == width


def test_the_npz_has_what_llm_dit_reads(tmp_path):
    """Its keys and shapes; further keys do not trouble it."""
    reference = make()
    save_reference(reference, tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["per_dim_mean"], reference.mean.numpy())
        np.testing.assert_array_equal(file["per_dim_std"], reference.std.numpy())
        assert file["global_mean"].shape == file["global_std"].shape == ()
        assert float(file["global_mean"]) == 0.1 and float(file["global_std"]) == 61.096
        assert all(file[name].dtype != object for name in file)


def test_an_npz_of_llm_dit_itself_is_read_as_it_is(tmp_path):
    mean, std = np.float32([0.1, -5, 3]), np.float32([1, 2, 1e4])
    arrays = {"per_dim_mean": mean, "per_dim_std": std}
    np.savez(tmp_path / "theirs.npz", global_mean=np.float32(0.3), global_std=61.1, **arrays)
    loaded = load_reference(tmp_path / "theirs.npz")
    np.testing.assert_array_equal(loaded.mean.numpy(), mean.astype(np.float64))
    np.testing.assert_array_equal(loaded.std.numpy(), std.astype(np.float64))
    assert (loaded.global_mean, loaded.global_std) == (float(np.float32(0.3)), 61.1)
    assert loaded.std_without_sinks is None, "the layout does not tell"
    assert "theirs" in loaded.name


def test_a_reference_whose_vectors_share_memory_can_be_saved(tmp_path):
    """Without any sink both views of the statistics are one and the same."""
    both = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    reference = Reference(both[0], both[1], 0.0, 1.0, both[0], both[1])
    save_reference(reference, tmp_path / "x.safetensors")
    assert_same(load_reference(tmp_path / "x.safetensors"), reference)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_truncated_file_is_refused_by_name_at_any_length(tmp_path, suffix):
    path = tmp_path / f"whole{suffix}"
    save_reference(make(), path)
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 20, len(whole) // 2, len(whole) - 1):
        (tmp_path / f"cut{suffix}").write_bytes(whole[:length])
        with pytest.raises(ReferenceFileError, match="cut"):
            load_reference(tmp_path / f"cut{suffix}")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_with_damaged_bytes_is_refused(tmp_path, save):
    path = tmp_path / "damaged.npz"
    rng = np.random.default_rng(0)
    save(path, per_dim_mean=rng.normal(size=900), per_dim_std=rng.random(900), global_mean=0.0,
         global_std=1.0)  # fmt: skip
    content = bytearray(path.read_bytes())
    content[2000:2100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(ReferenceFileError, match="damaged.npz"):
        load_reference(path)


def test_a_pickled_npz_is_refused_and_its_pickle_never_runs(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "it ran",))

    np.savez(tmp_path / "trap.npz", per_dim_mean=np.array([Trap()], dtype=object))
    with pytest.raises(ReferenceFileError, match="trap.npz"):
        load_reference(tmp_path / "trap.npz")
    assert not (tmp_path / "it ran").exists()


def npy_bytes():
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("array.npz", npy_bytes()),
        ("text.npz", b"not a zip file"),
        ("text.safetensors", b"not a safetensors file at all, but long enough"),
        ("other.pt", b"\x80\x04."),
    ],
)
def test_a_file_of_another_kind_is_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ReferenceFileError, match=name):
        load_reference(tmp_path / name)


def test_safetensors_that_are_no_reference_are_refused(tmp_path):
    """A model's weights, for example."""
    save_file({"mean": torch.zeros(3)}, tmp_path / "weights.safetensors")
    with pytest.raises(ReferenceFileError, match="not a reference of this pack"):
        load_reference(tmp_path / "weights.safetensors")


@pytest.mark.parametrize("missing", ["per_dim_mean", "per_dim_std", "global_mean", "global_std"])
def test_an_npz_that_lacks_a_key_is_refused_and_the_key_is_named(tmp_path, missing):
    arrays = {"per_dim_mean": np.zeros(3), "per_dim_std": np.ones(3), "global_mean": 0.0}
    arrays["global_std"] = 1.0
    del arrays[missing]
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ReferenceFileError, match=missing):
        load_reference(tmp_path / "x.npz")


@pytest.mark.parametrize(
    "changed",
    [
        {"per_dim_std": np.ones(4)},
        {"per_dim_std": -np.ones(3)},
        {"per_dim_mean": np.array([0.0, np.nan, 0.0])},
        {"per_dim_mean": np.zeros((3, 1)), "per_dim_std": np.ones((3, 1))},
        {"per_dim_mean": np.array(["a", "b", "c"])},
        {"global_std": np.ones(2)},
        {"global_std": np.float32(np.nan)},
    ],
    ids=["widths", "negative", "NaN", "2-D", "strings", "two globals", "NaN global"],
)
def test_an_npz_with_impossible_statistics_is_refused(tmp_path, changed):
    arrays = {"per_dim_mean": np.zeros(3), "per_dim_std": np.ones(3)}
    np.savez(tmp_path / "x.npz", **{**arrays, "global_mean": 0.0, "global_std": 1.0, **changed})
    with pytest.raises(ReferenceFileError, match="x.npz"):
        load_reference(tmp_path / "x.npz")


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ReferenceFileError, match="no such file"):
        load_reference(tmp_path / "nothing.safetensors")


def test_an_unknown_suffix_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ReferenceFileError, match=".pt"):
        save_reference(make(), tmp_path / "folder" / "x.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("culprit", ["writer", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_no_litter(
    tmp_path, monkeypatch, suffix, culprit
):
    path = tmp_path / f"x{suffix}"
    save_reference(make(seed=1), path)
    old = path.read_bytes()

    def disk_full(*_, **__):
        raise OSError("No space left on device")

    if culprit == "replace":
        monkeypatch.setattr("pathlib.Path.replace", disk_full)
    elif suffix == ".npz":
        monkeypatch.setattr("numpy.savez", disk_full)
    else:
        monkeypatch.setattr(reference_module, "save_file", disk_full)
    with pytest.raises(OSError, match="No space left"):
        save_reference(make(seed=2), path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_saving_creates_the_folder_and_replaces_an_older_file(tmp_path):
    path = tmp_path / "a" / "b" / "x.safetensors"
    for seed in (1, 2):
        save_reference(make(seed=seed), path)
    assert_same(load_reference(path), make(seed=2))


def test_streamed_statistics_become_a_reference_with_both_views():
    rng = np.random.default_rng(0)
    rows = rng.normal(1, 1, (9, 3)).astype(np.float32)
    rows[0] *= 1000
    stats = SplitStats(3)
    stats.update(torch.from_numpy(rows))
    reference = reference_from_stats(stats, {"model": "m"})
    wide = rows.astype(np.float64)
    np.testing.assert_allclose(reference.std, wide.std(0, ddof=1), rtol=1e-9)
    np.testing.assert_allclose(reference.std_without_sinks, wide[1:].std(0, ddof=1), rtol=1e-9)
    np.testing.assert_allclose(reference.mean_without_sinks, wide[1:].mean(0), rtol=1e-9)
    assert reference.global_std == pytest.approx(wide.std(ddof=1))
    assert reference.statistics(without_sinks=True)[1] is reference.std_without_sinks
    assert reference.statistics(without_sinks=False)[1] is reference.std


def test_a_reference_without_the_second_view_serves_the_first():
    reference = make(without_sinks=False)
    assert reference.statistics(without_sinks=True) == (reference.mean, reference.std)


def known(**facts):
    return Reference(torch.zeros(2), torch.ones(2), 0.0, 1.0, provenance=facts)


def test_a_reference_of_another_model_is_said_where_both_models_are_known():
    reference = known(model="qwen_3_4b", layer="-2", fingerprint="0123")
    assert reference.remarks(-2, False, "0123", "mine") == []
    assert reference.remarks(-2, False, "", "mine") == []
    assert known(model="qwen_3_4b").remarks(-2, False, "4567", "mine") == []
    assert known(layer="-2").remarks(None, False) == []
    assert reference.remarks(-6, False, "4567", "qwen3vl_4b") == [
        "measured against qwen_3_4b at -2: another model (fingerprint 0123; these states are of "
        "qwen3vl_4b, fingerprint 4567)",
        "the reference is of layer -2 and the states of layer -6",
    ]
    assert known(fingerprint="0123").remarks(None, False, "4567", "mine") == [
        "measured against an unnamed model: another model (fingerprint 0123; these states are of "
        "mine, fingerprint 4567)"
    ]
    assert reference.name_for("4567") == "qwen_3_4b at layer -2: another model"
    assert reference.name_for("0123") == reference.name_for("") == "qwen_3_4b at layer -2"
    assert reference.for_any_model().name_for("4567") == "qwen_3_4b at layer -2"


def test_a_reference_that_knows_no_sinks_says_so_where_states_have_some():
    line = (
        "the reference has no statistics without sink tokens: both views are measured against "
        "those that include them"
    )
    assert known().remarks(-2, True) == [line]
    assert known().remarks(-2, False) == make().remarks(-2, True) == []


def test_provenance_cannot_be_changed_from_outside():
    known = {"model": "m"}
    reference = Reference(torch.zeros(2), torch.ones(2), 0.0, 1.0, provenance=known)
    known["model"] = "other"
    assert reference.provenance["model"] == "m"
    with pytest.raises(TypeError):
        reference.provenance["model"] = "other"
    json.dumps(dict(reference.provenance))


PUBLISHED_STD = {4: 2752.57, 396: 948.70, 0: 193.41, 100: 77.22, 9: 36.02}
PUBLISHED_MEAN = {4: 924.87, 396: -206.41, 0: 232.77, 100: -21.10, 9: 23.70}


def test_the_published_qwen3_4b_numbers_are_the_published_ones():
    reference = published_qwen3_4b()
    assert reference.width == 2560
    assert (reference.global_mean, reference.global_std) == (0.311, 61.096)
    for dimension, std in PUBLISHED_STD.items():
        assert float(reference.std[dimension]) == std
        assert float(reference.mean[dimension]) == PUBLISHED_MEAN[dimension]
    others = [d for d in range(2560) if d not in PUBLISHED_STD]
    assert set(reference.std[others].tolist()) == {5.588}
    assert float(reference.mean.mean()) == pytest.approx(0.311, rel=1e-9)
    assert reference.name == (
        "Qwen3-4B at layer -2 (published figures, approximate: exact in 5 of 2560 dimensions)"
    )


def test_where_the_published_numbers_are_not_exact_is_said_and_the_way_to_exact_ones(tmp_path):
    save_reference(published_qwen3_4b(), tmp_path / "published.safetensors")
    for reference in (published_qwen3_4b(), load_reference(tmp_path / "published.safetensors")):
        assert reference.remarks(-2, False) == [
            "these published figures are exact in dimensions 0, 4, 9, 100, 396 only: every other "
            "one holds the median std of all, so its ratio may be several times too high or too "
            "low. llm-dit's own file is exact in all: layerlab stats convert qwen3_4b_stats.npz "
            "FILE.safetensors turns it into a reference to measure against"
        ]
        assert reference.remarks(-2, False, by_dimension=False) == []
    # As versions before this one saved it.
    old = known(model="Qwen3-4B", approximate="true")
    assert old.name == "Qwen3-4B (published figures, approximate)"
    assert old.approximation.startswith("these published figures are exact in few dimensions only:")


@pytest.mark.skipif(not SHARED.is_file(), reason=f"{SHARED.name} is not beside this checkout")
def test_the_published_numbers_agree_with_llm_dits_own_file():
    file, published = load_reference(SHARED), published_qwen3_4b()
    assert file.width == published.width
    assert published.global_mean == pytest.approx(file.global_mean, abs=5e-4)
    assert published.global_std == pytest.approx(file.global_std, abs=5e-4)
    for dimension in PUBLISHED_STD:
        assert float(file.std[dimension]) == pytest.approx(PUBLISHED_STD[dimension], abs=5e-3)
        assert float(file.mean[dimension]) == pytest.approx(PUBLISHED_MEAN[dimension], abs=5e-3)
    assert float(np.median(file.std.numpy())) == pytest.approx(5.588, abs=5e-4)
    assert float(file.std.min()) == pytest.approx(3.522, abs=5e-4)
