"""A pass that goes on where another one stopped, against whole passes of the same tiny model."""

import itertools

import pytest
import torch
import transformers
from zimage_layer_lab.core.encoder.capture import capture_hidden_states
from zimage_layer_lab.core.encoder.recent import (
    Recent,
    capture_once,
    digest,
    put_away,
    take_out,
)

BLOCKS = 5
IDS = torch.tensor([[3, 17, 9, 41, 5, 60, 22]])
KEY = b"these weights and these ids"


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(7)
    config = transformers.Qwen3Config(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=BLOCKS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
    )
    return transformers.Qwen3ForCausalLM(config).float().eval()


@pytest.fixture
def ran(model):
    """The numbers of the blocks that ran."""
    numbers = []
    handles = [
        block.register_forward_hook(lambda *_, number=number: numbers.append(number))
        for number, block in enumerate(model.model.layers)
    ]
    yield numbers
    for handle in handles:
        handle.remove()


@torch.no_grad()
def whole(model, layers):
    with capture_hidden_states(model.model, layers) as capture:
        model.model(IDS)
    return capture.passes[0]


@torch.no_grad()
def once(model, layers, recent, key=KEY, ids=IDS):
    with capture_once(model.model, layers, recent, key) as capture:
        model.model(ids)
    [states] = capture.passes
    return states


def same(states, others):
    return states.keys() == others.keys() and all(
        torch.equal(states[index], others[index]) for index in states
    )


@pytest.mark.parametrize(
    "first, second", [*itertools.product([(0,), (1,), (3,), (5,), (1, 4), (4, 2)], repeat=2)]
)
def test_two_passes_run_the_blocks_of_the_deeper_one(model, ran, first, second):
    wanted = whole(model, first), whole(model, second)
    ran.clear()
    recent = Recent()
    assert same(once(model, first, recent), wanted[0])
    assert same(once(model, second, recent), wanted[1])
    deeper = max(1, *first, *second)
    # Layer 0 is the input of block 0, which runs all the same, and again where nothing came of it.
    assert [number for number in ran if number] == list(range(1, deeper))
    assert len(model.model.layers) == BLOCKS


def test_what_has_no_room_is_computed_again_and_the_highest_states_stay(model, ran):
    one = IDS.shape[1] * 32 * 4
    recent = Recent(limit=2 * one)
    once(model, [4], recent)
    assert recent.bytes == 2 * one
    ran.clear()
    assert same(once(model, [3], recent), whole(model, [3])) and ran[:1] == [0]
    del ran[:]
    assert same(once(model, [1], recent), whole(model, [1]))
    assert ran[0] == 0
    assert recent.bytes <= 2 * one


def test_a_sweep_larger_than_the_limit_comes_out_whole(model):
    recent = Recent(limit=1000)
    every = range(BLOCKS + 1)
    assert same(once(model, every, recent), whole(model, every))
    assert recent.bytes <= 1000


def test_another_key_is_another_pass(model, ran):
    recent = Recent()
    once(model, [4], recent)
    ran.clear()
    other = IDS.flip(1)
    states = once(model, [4], recent, b"other ids", other)
    assert ran == [0, 1, 2, 3]
    with torch.no_grad():
        expected = model.model(other, output_hidden_states=True).hidden_states[4]
    assert torch.equal(states[4], expected)


def test_nothing_is_kept_of_a_pass_that_failed(model, ran):
    recent = Recent()

    def fail(*_):
        raise RuntimeError("out of memory")

    handle = model.model.layers[3].register_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="out of memory"):
            once(model, [4], recent)
    finally:
        handle.remove()
    assert recent.bytes == 0
    assert len(model.model.layers) == BLOCKS
    assert same(once(model, [4], recent), whole(model, [4]))


def test_a_failure_while_going_on_leaves_the_decoder_whole(model):
    recent = Recent()
    once(model, [2], recent)

    def fail(*_):
        raise RuntimeError("stopped")

    handle = model.model.layers[3].register_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="stopped"):
            once(model, [4], recent)
    finally:
        handle.remove()
    assert len(model.model.layers) == BLOCKS
    assert same(once(model, [4], recent), whole(model, [4]))


def test_the_longest_unused_goes_first():
    recent = Recent(limit=3000)
    for key in (b"a", b"b", b"c"):
        recent.put(key, {"states": torch.zeros(250)})
    recent.get(b"a")
    recent.put(b"d", {"states": torch.zeros(250)})
    assert [bool(recent.get(key)) for key in (b"a", b"b", b"c", b"d")] == [True, False, True, True]
    recent.put(b"too much", {"states": torch.zeros(751)})
    assert not recent.get(b"too much") and recent.bytes == 3000


def test_a_result_that_is_put_again_counts_once():
    recent = Recent(limit=3000)
    for _ in range(3):
        recent.put(b"a", {"states": torch.zeros(500)})
    assert recent.bytes == 2000


VALUES = [
    None,
    1,
    1.0,
    True,
    "1",
    "",
    [],
    [[]],
    [1, 2],
    [[1], 2],
    ["ab", "c"],
    ["a", "bc"],
    {"a": 1},
    {"a": "1"},
    {"a": None},
    float("nan"),
    torch.zeros(4),
    torch.zeros(2, 2),
    torch.zeros(4, dtype=torch.int32),
    torch.zeros(4, dtype=torch.bfloat16),
    torch.tensor([0.0, 0.0, 0.0, 1e-30]),
    [torch.zeros(2), torch.zeros(2)],
    "\ud83e",
]


def test_what_differs_has_another_digest_and_what_is_equal_the_same():
    digests = [digest(value) for value in VALUES]
    assert None not in digests and len(set(digests)) == len(VALUES)
    assert digest({"a": torch.arange(6).reshape(2, 3).T}) == digest(
        {"a": torch.tensor([[0, 3], [1, 4], [2, 5]])}
    )
    assert digest((1, 2)) == digest([1, 2])


def test_what_cannot_be_told_from_its_like_has_none():
    assert digest([1, object()]) is None
    assert digest({"a": {1, 2}}) is None


def test_what_was_put_away_comes_out_as_it_was_and_is_a_copy():
    value = (torch.arange(3.0), {"grid": torch.tensor([[1, 2]]), "layers": [torch.ones(2)]}, "x")
    kept = put_away(value)
    value[0].zero_()
    for _ in range(2):
        states, extra, text = take_out(kept)
        assert torch.equal(states, torch.arange(3.0))
        assert torch.equal(extra["grid"], torch.tensor([[1, 2]]))
        assert torch.equal(extra["layers"][0], torch.ones(2)) and text == "x"
        states.zero_()
