"""What the benchmarks take for a quiet machine, and that both sides take turns."""

import itertools
import os
import sys

import pytest
import torch


@pytest.fixture(scope="module")
def benchmarks(pack_root):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(pack_root))
        from benchmarks import llm_dit, measure, quiet

        yield {"llm_dit": llm_dit, "measure": measure, "quiet": quiet}
    for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        del sys.modules[name]


def test_a_row_counts_that_was_measured_between_two_quiet_looks(benchmarks, monkeypatch):
    quiet = benchmarks["quiet"]
    monkeypatch.setattr(quiet.time, "sleep", lambda seconds: None)
    still, busy, uneven = quiet.Probe(1.0, 1.0), quiet.Probe(0.5, 1.0), quiet.Probe(1.0, 3.0)
    assert [one.is_quiet for one in (still, busy, uneven)] == [True, False, False]
    looks = iter([still, still, busy, busy, still, uneven, still])
    told = [(row, found.is_quiet) for row, found in quiet.judged("abcd", 0.0, lambda: next(looks))]
    # b: noise after it; c: noise before it still; d: uneven turns.
    assert told == [("a", True), ("b", False), ("c", False), ("d", False)]
    looks = itertools.chain([busy, busy], itertools.repeat(still))
    assert quiet.wait_until_quiet(60.0, lambda: next(looks)) == still


def test_a_thread_that_waits_for_a_core_is_noticed(benchmarks, monkeypatch):
    quiet = benchmarks["quiet"]
    monkeypatch.setattr(quiet.torch, "get_num_threads", lambda: 4 * os.cpu_count())
    assert not quiet.probe(0.2).is_quiet


def test_both_sides_take_turns_call_by_call(benchmarks):
    calls = []
    benchmarks["measure"].in_turn(lambda: calls.append("a"), lambda: calls.append("b"), 3, 0.0)
    assert calls == ["a", "b"] * 4


def test_the_two_lines_are_the_std(benchmarks):
    states = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) * 5 + 1
    found = benchmarks["llm_dit"].std_in_two_lines(states)
    torch.testing.assert_close(found, states.std(dim=0))
