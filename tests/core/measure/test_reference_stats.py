"""llm-dit's ``reference_stats`` argument, by name and in its place, against llm-dit's formulas."""

import io
import pickle

import numpy as np
import pytest
import torch
from zimage_layer_lab.core import get_outlier_dimensions, mask_outlier_dimensions
from zimage_layer_lab.core.measure.reference import Reference, ReferenceFileError, save_reference
from zimage_layer_lab.core.measure.reference_stats import ReferenceStatsError, as_reference

RNG = np.random.default_rng(0)
STD = np.float32([1.0, 2.0, 0.5, 4.0])
MEAN = np.float32([3.0, -1.0, 0.0, 10.0])
STATS = {"per_dim_mean": MEAN, "per_dim_std": STD, "global_mean": 3.0, "global_std": 5.0}
HIDDEN = torch.from_numpy(RNG.normal(size=(50, 4)) * [1.0, 60.0, 9.0, 4.0] + MEAN)
RATIOS = HIDDEN.numpy().std(axis=0, ddof=1) / STD
LOUD = [(int(d), pytest.approx(RATIOS[d])) for d in np.argsort(-RATIOS) if RATIOS[d] > 10]
assert [dimension for dimension, _ in LOUD] == [1, 2]


@pytest.fixture(params=["dict", "tensors", "lists", "NpzFile", "path", "str", "two arrays", "own"])
def given(request, tmp_path):
    """The same statistics in every form that is taken."""
    path = tmp_path / "stats.npz"
    np.savez(path, **STATS)
    own = Reference(*(torch.from_numpy(x.astype(np.float64)) for x in (MEAN, STD)), 3.0, 5.0)
    if request.param == "two arrays":
        np.savez(path, per_dim_std=STD, per_dim_mean=MEAN)
    if request.param == "own":
        save_reference(own, tmp_path / "own.safetensors")
    return {
        "dict": lambda: STATS,
        "tensors": lambda: {name: torch.tensor(value) for name, value in STATS.items()},
        "lists": lambda: {"per_dim_std": STD.tolist(), "per_dim_mean": MEAN.tolist()},
        "NpzFile": lambda: np.load(path),
        "path": lambda: path,
        "str": lambda: str(path),
        "two arrays": lambda: path,
        "own": lambda: tmp_path / "own.safetensors",
    }[request.param]()


def test_it_is_taken_by_name_and_in_its_place(given):
    assert get_outlier_dimensions(HIDDEN, 10.0, given) == LOUD
    assert get_outlier_dimensions(HIDDEN, reference_stats=given) == LOUD
    for masked, info in (
        mask_outlier_dimensions(HIDDEN, 10.0, "zero", given),
        mask_outlier_dimensions(HIDDEN, reference_stats=given),
    ):
        assert info["masked_dimensions"] == [1, 2] and info["ratios"] == dict(LOUD)
        assert bool((masked[:, 1:3] == 0).all()) and torch.equal(masked[:, ::3], HIDDEN[:, ::3])


def test_the_mean_is_used_where_a_mode_needs_it(given):
    masked, _ = mask_outlier_dimensions(HIDDEN, 10.0, "mean", given)
    assert masked[0, 1:3].tolist() == [-1.0, 0.0]


def test_our_own_calls_keep_working():
    own = Reference(torch.zeros(4).double(), torch.from_numpy(STD).double(), 0.0, 1.0)
    for found in (
        get_outlier_dimensions(HIDDEN, 10.0, own),
        get_outlier_dimensions(HIDDEN, reference=own),
        get_outlier_dimensions(HIDDEN, 10.0, own, "both"),
    ):
        assert found == LOUD
    assert mask_outlier_dimensions(HIDDEN, reference=own)[1]["masked_dimensions"] == [1, 2]


def test_of_a_file_of_this_pack_everything_is_read(tmp_path):
    """Its .npz has llm-dit's arrays too, and more than they say."""
    bare = torch.from_numpy(STD / 2).double()
    own = Reference(
        *(torch.from_numpy(x).double() for x in (MEAN, STD)),
        3.0,
        5.0,
        bare,
        bare,
        {"model": "a model", "layer": "-6"},
    )
    save_reference(own, tmp_path / "own.npz")
    found = as_reference(tmp_path / "own.npz", None)
    assert found.name == own.name == "a model at layer -6"
    assert torch.equal(found.std_without_sinks, bare) and found.global_std == 5.0


def test_a_std_alone_is_enough_but_for_the_modes_that_need_the_mean():
    alone = {"per_dim_std": STD}
    assert get_outlier_dimensions(HIDDEN, 10.0, alone) == LOUD
    assert mask_outlier_dimensions(HIDDEN, 10.0, "scale", alone)[1]["masked_dimensions"] == [1, 2]
    for mode in ("clamp", "mean"):
        with pytest.raises(ReferenceStatsError, match="lacks per_dim_mean, which this mode needs"):
            mask_outlier_dimensions(HIDDEN, 10.0, mode, alone)


@pytest.mark.parametrize(
    ("stats", "says"),
    [
        ({}, "reference_stats lacks per_dim_std: give a dict or the path of an .npz with"),
        ({"per_dim_mean": MEAN}, "reference_stats lacks per_dim_std"),
        ({**STATS, "per_dim_std": STD[:3]}, "per_dim_mean has 4 values and per_dim_std 3"),
        ({**STATS, "per_dim_std": -STD}, "std holds a negative value"),
        ({**STATS, "per_dim_std": STD * np.nan}, "std holds NaN or infinity"),
        ({**STATS, "per_dim_std": STD[None]}, r"per_dim_std is of shape \(1, 4\)"),
        ({**STATS, "per_dim_std": np.array(["a"] * 4)}, "per_dim_std is of shape .* and <U1"),
        ({**STATS, "per_dim_std": np.array([{}] * 4)}, "per_dim_std is of shape .* and object"),
        ({**STATS, "per_dim_std": [[1.0], [1.0, 2.0]]}, "reference_stats is of no use: "),
        ({**STATS, "per_dim_std": []}, r"per_dim_std is of shape \(0,\)"),
        ({**STATS, "per_dim_std": None}, r"per_dim_std is of shape \(\) and object"),
        (7, "reference_stats is 7: give a dict"),
        ([1.0, 2.0], r"reference_stats is \[1.0, 2.0\]: give a dict"),
        ({"per_dim_std": np.ones(3)}, "has 3 dimensions and the states have 4"),
    ],
)
def test_what_is_no_statistics_is_refused_with_a_sentence(stats, says):
    for call in (
        lambda: get_outlier_dimensions(HIDDEN, 10.0, stats),
        lambda: mask_outlier_dimensions(HIDDEN, 10.0, "zero", stats),
    ):
        with pytest.raises(ValueError, match=says):
            call()


def test_only_one_of_the_two_names_may_be_given():
    own = Reference(torch.zeros(4).double(), torch.ones(4).double(), 0.0, 1.0)
    for call in (get_outlier_dimensions, mask_outlier_dimensions):
        with pytest.raises(ReferenceStatsError, match="both given.*give one of them"):
            call(HIDDEN, reference=own, reference_stats=STATS)


class Trap:
    ran = False

    def __reduce__(self):
        return setattr, (Trap, "ran", True)


def test_a_file_of_another_kind_is_refused_by_name_and_no_pickle_runs(tmp_path):
    np.savez(tmp_path / "trap.npz", per_dim_std=np.array([Trap()] * 4, dtype=object))
    (tmp_path / "text.npz").write_bytes(b"no zip")
    (tmp_path / "raw.pkl").write_bytes(pickle.dumps(STATS))
    np.savez(tmp_path / "other.npz", weights=STD)
    array = io.BytesIO()
    np.save(array, STD)
    (tmp_path / "array.npz").write_bytes(array.getvalue())
    for name in ("trap.npz", "text.npz", "raw.pkl", "array.npz", "gone.npz"):
        with pytest.raises(ReferenceFileError, match=name):
            get_outlier_dimensions(HIDDEN, 10.0, tmp_path / name)
    with pytest.raises(ReferenceStatsError, match="other.npz lacks per_dim_std"):
        get_outlier_dimensions(HIDDEN, 10.0, tmp_path / "other.npz")
    assert not Trap.ran
