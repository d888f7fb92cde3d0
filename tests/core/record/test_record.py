"""Roles of ChatML prompts, and the record that carries them."""

import dataclasses
import logging
import struct
import zlib

import pytest
import torch
from zimage_layer_lab.core.record.record import (
    PROMPT_JOINT,
    RECORD_KEY,
    Record,
    Role,
    assign_roles,
    current_record,
    plain_record,
    role_mask,
)
from zimage_layer_lab.core.taps.layout import Taps

LETTER = {
    "t": Role.TEMPLATE,
    "s": Role.SYSTEM,
    "k": Role.THINK,
    "x": Role.TEXT,
    "v": Role.VISION_MARKER,
    "i": Role.IMAGE,
    "p": Role.PAD,
}


def roles(marked):
    """Tokens and roles from (token, letter) pairs."""
    texts = [text for text, _ in marked]
    return assign_roles(texts), tuple(LETTER[letter] for _, letter in marked)


USER = [("<|im_start|>", "t"), ("user", "t"), ("\n", "t")]
FOX = [("a", "x"), (" red", "x"), (" fox", "x")]
STOP = [("<|im_end|>", "t"), ("\n", "t")]
ASSISTANT = [("<|im_start|>", "t"), ("assistant", "t"), ("\n", "t")]
SYSTEM = [("<|im_start|>", "t"), ("system", "t"), ("\n", "t"), ("Be", "s"), (" terse", "s"), *STOP]
EMPTY_THINK = [("<think>", "k"), ("\n\n", "k"), ("</think>", "k"), ("\n\n", "k")]
IMAGE = [("<|vision_start|>", "v"), *[("<|image_pad|>", "i")] * 3, ("<|vision_end|>", "v")]


@pytest.mark.parametrize(
    "marked",
    [
        pytest.param([*USER, *FOX, *STOP, *ASSISTANT], id="Z-Image"),
        pytest.param([*USER, *STOP, *ASSISTANT], id="empty text"),
        pytest.param([*SYSTEM, *USER, *FOX, *STOP, *ASSISTANT], id="system"),
        pytest.param([*USER, *FOX, *STOP, *ASSISTANT, *EMPTY_THINK], id="empty think block"),
        pytest.param(
            [*USER, *FOX, *STOP, *ASSISTANT, ("<think>", "k"), ("\n", "k"), ("Hm", "k")],
            id="open think block",
        ),
        pytest.param([*USER, *IMAGE, *FOX, *STOP, *ASSISTANT], id="image"),
        pytest.param([*USER, *IMAGE, *IMAGE, *STOP, *ASSISTANT], id="two images, no text"),
        pytest.param(
            [*SYSTEM, *USER, *IMAGE, *FOX, *STOP, *ASSISTANT, *EMPTY_THINK], id="everything"
        ),
        pytest.param(
            [*USER, ("one", "x"), ("\n\n", "x"), ("two", "x"), *STOP, *ASSISTANT],
            id="blank line in the text",
        ),
        pytest.param(
            [*USER, *FOX, *STOP, *ASSISTANT, ("Sure", "x"), *STOP, *USER, *FOX, *STOP, *ASSISTANT],
            id="several turns",
        ),
        pytest.param(
            [("<|im_start|>", "t"), ("sys", "t"), ("tem", "t"), ("\n", "t"), ("Be", "s"), *STOP],
            id="name in pieces",
        ),
        pytest.param(
            [("<|im_start|>", "t"), ("user", "t"), ("\n\n", "t"), *FOX], id="merged newline"
        ),
        pytest.param(
            [
                *[("<|im_start|>", "t"), ("system", "t"), ("\n", "t")],
                *[(word, "s") for word in ("You", " are", " a", " helpful", " assistant")],
                *[*STOP, *USER, *FOX, *STOP, *ASSISTANT],
            ],
            id="SmolLM2 with its default system prompt",
        ),
        pytest.param(FOX, id="no template"),
    ],
)
def test_every_token_of_a_chatml_prompt_has_its_role(marked):
    got, want = roles(marked)
    assert got == want


def test_a_blank_line_in_the_text_after_a_think_block_is_text():
    """Only the blank line that closes the block belongs to it."""
    got, want = roles(
        [*USER, *FOX, *STOP, *ASSISTANT, *EMPTY_THINK, ("Once", "x"), ("\n\n", "x"), ("Then", "x")]
    )
    assert got == want


def test_a_think_block_that_the_user_typed_ends_with_it():
    got, want = roles([*USER, *EMPTY_THINK, *FOX, *STOP, *ASSISTANT])
    assert got == want


def test_no_tokens_have_no_roles():
    assert assign_roles([]) == ()


@pytest.fixture
def record():
    return Record(
        layer=-2,
        source="Qwen3-4B",
        ids=(151644, 872, -1),
        texts=("<|im_start|>", "user", "<|image_pad|>"),
        roles=(Role.TEMPLATE, Role.TEXT, Role.IMAGE),
        edits=("masked",),
    )


def test_the_record_travels_under_its_published_key():
    assert RECORD_KEY == "layer_lab"


def test_a_record_cannot_be_changed(record):
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.layer = -6
    assert isinstance(hash(record), int), "frozen all the way down: only tuples inside"


def test_with_edit_gives_a_new_record_and_leaves_the_old_one(record):
    edited = record.with_edit("blended")
    assert edited.edits == ("masked", "blended") and record.edits == ("masked",)
    assert dataclasses.replace(edited, edits=record.edits) == record


def test_take_picks_tokens_in_the_order_given_and_leaves_the_old_one(record):
    before = dataclasses.replace(record)
    taken = record.take([2, 0])
    assert taken.ids == (-1, 151644)
    assert taken.texts == ("<|image_pad|>", "<|im_start|>")
    assert taken.roles == (Role.IMAGE, Role.TEMPLATE)
    assert (taken.layer, taken.source, taken.edits) == (-2, "Qwen3-4B", ("masked",))
    assert len(taken) == 2 and record == before
    assert len(record.take([])) == 0


def test_a_record_needs_one_id_text_and_role_per_token():
    with pytest.raises(ValueError, match="1, 2 and 1"):
        Record(-2, "x", (1,), ("a", "b"), (Role.TEXT,))


def test_describe_names_position_text_and_role(record):
    assert record.describe(2) == "2 '<|image_pad|>' (image)"


def hidden_of(tokens: int) -> torch.Tensor:
    return torch.arange(tokens * 4, dtype=torch.float32).reshape(1, tokens, 4)


def test_a_conditioning_without_a_record_is_all_text(caplog):
    with caplog.at_level(logging.WARNING):
        plain = current_record(None, hidden_of(3))
    assert plain == plain_record(3)
    assert plain.roles == (Role.TEXT,) * 3 and plain.layer is None and plain.ids == (-1,) * 3
    assert not caplog.records, "nothing is wrong, so nothing is said"


def test_a_record_that_fits_is_used_as_it_is(record, caplog):
    sealed = record.sealed(hidden_of(3))
    with caplog.at_level(logging.WARNING):
        assert current_record(record, hidden_of(3)) is record, "never sealed: by length alone"
        assert current_record(sealed, hidden_of(3)) is sealed
    assert not caplog.records


@pytest.mark.parametrize("tokens", [1, 2, 4, 77])
def test_a_stale_record_is_dropped_with_a_warning_that_names_both_lengths(record, tokens, caplog):
    """Another node cut or joined the states after the record was written."""
    with caplog.at_level(logging.WARNING):
        current = current_record(record, hidden_of(tokens))
    assert dataclasses.replace(current, edits=()) == plain_record(tokens)
    assert f"describes 3 tokens but the conditioning has {tokens}" in current.edits[0]
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert "describes 3 tokens" in warning.getMessage() and f"has {tokens}" in warning.getMessage()


@pytest.mark.parametrize("place", [(0, 0, 0), (0, 1, 2), (0, 2, 3)])
def test_a_record_of_other_values_is_dropped_with_a_warning(record, place, caplog):
    """Another node mixed or scaled the states and copied the record along."""
    sealed = record.sealed(hidden_of(3))
    changed = hidden_of(3)
    changed[place] += 1e-3
    with caplog.at_level(logging.WARNING):
        current = current_record(sealed, changed)
    assert dataclasses.replace(current, edits=()) == plain_record(3)
    assert "changed the values" in caplog.text and "changed the values" in current.edits[0]


def test_moving_widening_or_slicing_a_tensor_keeps_its_record(record):
    hidden = hidden_of(3).to(torch.bfloat16)
    sealed = record.sealed(hidden)
    strided = hidden.mT.contiguous().mT
    for same in (hidden.float(), hidden.double(), strided, hidden.clone()):
        assert current_record(sealed, same) is sealed


@pytest.mark.parametrize("strange", [{"layer": -2}, "text", 7])
def test_a_record_of_an_unknown_kind_is_dropped_with_a_warning(strange, caplog):
    with caplog.at_level(logging.WARNING):
        assert current_record(strange, hidden_of(3)).ids == plain_record(3).ids
    assert "unknown kind" in caplog.text


def test_a_record_of_a_newer_version_is_dropped_and_the_way_out_is_said(record, caplog):
    newer = dataclasses.replace(record, version=2)
    with caplog.at_level(logging.WARNING):
        assert current_record(newer, hidden_of(3)).edits[0].startswith("record dropped: ")
    assert "version 2" in caplog.text and "update" in caplog.text


def test_a_record_with_a_layer_per_token_follows_its_tokens(record):
    apart = record.with_layers((-2, -6, -6))
    assert apart.layer is None and apart.layer_in_words == "layers -2 and -6"
    assert apart.take([1, 2]).layer == -6 and apart.take([1, 2]).layers == ()
    assert apart.take([2, 0]).layers == (-6, -2)
    assert apart.token_layers() == (-2, -6, -6)
    assert record.with_layers((-4, -4, -4)).layer == -4
    with pytest.raises(ValueError, match="3 tokens has 2 layers"):
        dataclasses.replace(record, layers=(-2, -6))


def test_a_record_followed_by_another_has_both_ones_tokens(record):
    other = dataclasses.replace(record, layer=-6, source="Qwen3-VL", edits=("read",))
    joined = record.followed_by(dataclasses.replace(other, prompt="b", images=((1, 2),)))
    assert joined.ids == record.ids * 2 and joined.roles == record.roles * 2
    assert joined.layers == (-2, -2, -2, -6, -6, -6)
    assert (joined.source, joined.edits) == (record.source, record.edits)
    assert record.followed_by(record).layer == -2
    assert joined.prompt == "b" and joined.images == ((1, 2),)
    whole = dataclasses.replace(record, prompt="a", images=((3, 4),)).followed_by(joined)
    assert whole.prompt == f"a{PROMPT_JOINT}b" and whole.images == ((3, 4), (1, 2))


def test_the_edits_of_another_side_are_taken_over_under_its_name(record):
    other = dataclasses.replace(record, edits=("read", "masked twice"))
    taken = record.with_edits_of(other, "vision").edits
    assert taken == ("masked", "vision: read", "vision: masked twice")


def test_tokens_are_named_up_to_a_number(record):
    assert record.names([0, 2], 5) == "0 '<|im_start|>' (template), 2 '<|image_pad|>' (image)"
    assert record.names([0, 1, 2], 1) == "0 '<|im_start|>' (template) and 2 more"
    assert record.names([]) == ""


@pytest.mark.parametrize(("layer", "words"), [(-2, "layer -2"), (None, "a mix of layers")])
def test_the_layer_in_words(record, layer, words):
    assert dataclasses.replace(record, layer=layer).layer_in_words == words
    assert plain_record(3).layer_in_words == "unknown layer"
    assert (
        record.with_layers((-2, None, -6)).layer_in_words == "layers -2 and -6 and a mix of layers"
    )


def test_role_mask_marks_the_wanted_roles_only(record):
    mask = role_mask(record.roles, [Role.IMAGE, Role.TEXT])
    assert mask.dtype == torch.bool and mask.tolist() == [False, True, True]
    assert role_mask(record.roles, []).tolist() == [False] * 3
    assert role_mask((), [Role.TEXT]).shape == (0,)


@pytest.mark.parametrize(
    ("texts", "position", "role"),
    [
        (("<|im_start|>", "assistant", "\n", "<think>", "so", "<|im_end|>", "\n"), 6, "template"),
        (("<think>", "so", "<|im_start|>", "user", "\n", "a fox"), 5, "text"),
        (("<think>", "so", "<|im_end|>", "\n", "<|im_start|>", "user", "\n", "a"), 7, "text"),
    ],
)
def test_thinking_that_was_not_closed_ends_with_its_turn(texts, position, role):
    assert assign_roles(texts)[position].value == role


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"ids": (1, 2)},
            "a record needs one id, text and role per token, not 2, 3 and 3",
        ),
        (
            {"roles": (Role.TEXT,) * 4},
            "a record needs one id, text and role per token, not 3, 3 and 4",
        ),
        (
            {"layers": (-2,)},
            "a record of 3 tokens has 1 layers: give one per token, or none",
        ),
    ],
)
def test_a_record_that_does_not_fit_itself_is_refused(record, change, says):
    with pytest.raises(ValueError) as refused:
        dataclasses.replace(record, **change)
    assert str(refused.value) == says


def test_records_of_more_than_256_tokens_are_compared_by_value():
    long = Record(-2, "x", tuple(range(300)), ("a",) * 300, (Role.TEXT,) * 300)
    assert len(dataclasses.replace(long, layers=(-2,) * 300)) == 300
    assert current_record(long, torch.zeros(1, 300, 2)) is long
    wide = dataclasses.replace(long, layer=None, taps=Taps((9, 18), 300))
    assert current_record(wide, torch.zeros(1, 300, 600)) is wide


@pytest.mark.parametrize(
    ("change", "hidden", "says"),
    [
        (
            {"version": 2},
            torch.zeros(1, 3, 4),
            "it is of version 2 and this pack reads 1; update Z-Image Layer Lab",
        ),
        ({"version": 0}, torch.zeros(1, 3, 4), "it is of an unknown kind"),
        (
            {},
            torch.zeros(1, 4, 4),
            "it describes 3 tokens but the conditioning has 4; another node changed the length",
        ),
        (
            {"taps": Taps((9, 18), 3)},
            torch.zeros(1, 3, 4),
            "it describes 6 dimensions but the conditioning has 4; another node changed the width",
        ),
        (
            {"checksum": "x"},
            torch.zeros(1, 3, 4),
            "another node changed the values after it was written",
        ),
    ],
)
def test_a_stale_record_says_why_in_a_whole_sentence(record, change, hidden, says, caplog):
    with caplog.at_level(logging.WARNING):
        current = current_record(dataclasses.replace(record, **change), hidden)
    assert current == plain_record(hidden.shape[1]).with_edit(f"record dropped: {says}")
    assert caplog.messages == [
        f"The conditioning's layer_lab record is dropped and every token counts as text: {says}."
    ]


def test_a_stranger_with_a_version_of_ours_is_of_an_unknown_kind(caplog):
    class Stranger:
        version = 1

    current = current_record(Stranger(), hidden_of(2))
    assert current.edits == ("record dropped: it is of an unknown kind",)


@pytest.mark.parametrize(
    ("layers", "source", "words"),
    [
        ((-2, -2), "x", "layer -2"),
        ((-2, -6), "x", "layers -2 and -6"),
        ((-2, None), "x", "layer -2 and a mix of layers"),
        ((-2, None), "unknown encoder", "layer -2 and unknown layer"),
        ((None, None), "x", "a mix of layers"),
        ((), "x", "a mix of layers"),
        ((), "unknown encoder", "unknown layer"),
    ],
)
def test_layers_of_tokens_in_words(layers, source, words):
    assert plain_record(len(layers), source).with_layers(layers).layer_in_words == words


@pytest.mark.parametrize(
    ("layer", "blocks", "number"), [(9, 36, -28), (36, 36, -1), (0, 36, -37), (9, 0, None)]
)
def test_the_record_of_one_tap_counts_its_layer_from_the_end(record, layer, blocks, number):
    taps = dataclasses.replace(record, layer=None, taps=Taps((1, layer), 2, blocks=blocks))
    alone = taps.sealed(hidden_of(3)).of_tap(1)
    assert alone == dataclasses.replace(record, layer=number)


def test_a_checksum_is_that_of_the_float32_bytes(record):
    hidden = hidden_of(3)
    expected = f"{zlib.crc32(hidden.numpy().tobytes()):08x}"
    assert record.sealed(hidden).checksum == expected
    assert record.sealed(hidden.double()).checksum == expected
    # A value whose CRC-32 begins with a zero keeps it.
    zero = next(n for n in range(1000) if zlib.crc32(struct.pack("<f", n)) < 2**28)
    assert record.sealed(torch.tensor([[[float(zero)]]])).checksum.startswith("0")
    assert len(record.sealed(torch.tensor([[[float(zero)]]])).checksum) == 8


def test_the_first_five_tokens_are_named_where_no_number_is_given():
    plain = plain_record(7)
    named = ", ".join(f"{number} '?' (text)" for number in range(5))
    assert plain.names(range(7)) == f"{named} and 2 more"


def test_spaces_without_a_template_are_template_and_words_are_text():
    text, template = Role.TEXT, Role.TEMPLATE
    assert assign_roles(["a", " ", "b", "\n"]) == (text, template, text, template)


def test_only_the_blank_line_right_behind_a_closed_block_is_part_of_it():
    got, want = roles([*ASSISTANT, ("<think>", "k"), ("</think>", "k"), ("a", "x"), ("\n", "x")])
    assert got == want
    got, want = roles([*ASSISTANT, *EMPTY_THINK, ("\n", "x"), ("<|vision_end|>", "v"), ("a", "x")])
    assert got == want


def test_a_speaker_named_with_blanks_or_over_a_line_is_who_they_are():
    start = ("<|im_start|>", "t")
    for name in ("system\n", " system \n", "system\nuser"):
        got, want = roles([start, (name, "t"), ("a", "s"), *STOP, *USER, ("b", "x")])
        assert got == want
    got, want = roles([start, ("system\n", "t"), ("<think>", "k"), ("<|im_start|>", "t"),
                       ("us", "t"), ("er", "t"), ("\n", "t"), ("c", "x")])  # fmt: skip
    assert got == want
