"""What a checkpoint keeps, and what a killed writer of one left."""

import numpy as np
import torch
from scipy import stats as scipy_stats
from zimage_layer_lab.cli.profile.checkpoint import Checkpoint
from zimage_layer_lab.core.profile.profile import ProfileStats


def test_statistics_go_on_as_if_unbroken_to_the_fourth_moment(tmp_path):
    rows = np.random.default_rng(0).gamma(0.5, size=(3, 40, 6))
    stats = ProfileStats(1, 6, (0,))
    stats.update({0: torch.from_numpy(rows[0])})
    Checkpoint(tmp_path, {"of": "one"}).save(stats, 1)
    gone_on, shards = Checkpoint(tmp_path, {"of": "one"}).load()
    for more in rows[1:]:
        gone_on.update({0: torch.from_numpy(more)})
    found = gone_on.dimensions[0].all
    assert shards == 1 and found.tokens == 120
    every = rows.reshape(-1, 6)
    np.testing.assert_allclose(found.std, every.std(0, ddof=1), rtol=1e-6)
    np.testing.assert_allclose(found.excess_kurtosis, scipy_stats.kurtosis(every), rtol=1e-5)


def test_half_a_checkpoint_of_a_killed_run_is_removed(tmp_path):
    checkpoint = Checkpoint(tmp_path, {"of": "one"})
    left = checkpoint.path.parent / ".writing-x"
    left.mkdir(parents=True)
    (left / checkpoint.path.name).write_bytes(b"half")
    assert checkpoint.load() is None and not left.exists()
