"""The record of states that hold several layers side by side."""

from dataclasses import replace

import torch
from zimage_layer_lab.core.record.describing import describe
from zimage_layer_lab.core.record.record import Role, assign_roles, current_record, plain_record
from zimage_layer_lab.core.record.record_json import record_from_json, record_to_json
from zimage_layer_lab.core.taps.layout import INTERLEAVED, Taps

TAPS = Taps((9, 18, 27), 4, INTERLEAVED, 36)


def record(tokens=5):
    return replace(plain_record(tokens, "an encoder"), taps=TAPS)


def test_it_names_the_layers_and_gives_each_taps_own_record():
    assert record().layer_in_words == "layers 9, 18, 27 side by side"
    alone = record().of_tap(1)
    assert (alone.layer, alone.taps, alone.layer_in_words) == (-19, None, "layer -19")
    unknown = replace(record(), taps=Taps((None, None), 6)).of_tap(0)
    assert unknown.layer is None


def test_tokens_that_are_taken_or_edited_keep_their_taps():
    assert record().take([0, 3]).with_edit("an edit").taps == TAPS


def test_states_of_another_width_make_it_stale():
    assert current_record(record(), torch.zeros(1, 5, 12)).taps == TAPS
    stale = current_record(record(), torch.zeros(1, 5, 8))
    assert stale.taps is None and "12 dimensions but the conditioning has 8" in stale.edits[0]


def test_json_has_the_taps_where_there_are_some_and_no_field_for_them_where_not():
    """A version of the pack from before them refuses fields that it does not know."""
    document = record_to_json(record())
    assert document["taps"]["layers"] == (9, 18, 27) and document["taps"]["order"] == INTERLEAVED
    assert "taps" not in record_to_json(plain_record(5))
    plain = {**record_to_json(plain_record(2)), "roles": ["text"] * 2}
    lists = {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}
    assert record_from_json(lists, 2).taps is None


def test_the_description_has_a_row_for_each_tap():
    values = torch.arange(60.0).reshape(1, 5, 12)
    text = describe(values, record())
    rows = [line.split() for line in text.splitlines() if line.startswith("layer 18")]
    part = values.reshape(5, 4, 3)[..., 1].double()
    assert rows[0][2] == f"{float(part.square().mean(-1).sqrt().median()):.4g}"
    assert rows[0][4] == f"{float(part.abs().max()):.4g}"


def test_mistrals_markers_part_its_prompt():
    texts = [
        "<s>",
        "[SYSTEM_PROMPT]",
        "Be",
        " kind",
        "[/SYSTEM_PROMPT]",
        "[INST]",
        "fox",
        "[/INST]",
    ]
    frame, system = Role.TEMPLATE, Role.SYSTEM
    assert assign_roles(texts) == (frame, frame, system, system, frame, frame, Role.TEXT, frame)
