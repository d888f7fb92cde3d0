"""dim.json: written of a hand-made probe, and refused for each field that is out of range."""

import json
from copy import deepcopy

import pytest
from zimage_layer_lab.core.dimension.dim_file import (
    DimFileError,
    dim_document,
    find_dim_file,
    load_dim,
    probe_json,
)
from zimage_layer_lab.core.dimension.received import DitGain
from zimage_layer_lab.core.dimension.verdict import RULE
from zimage_layer_lab.core.dimension.ways import PLACES, WAYS

from ...oracles.hand_made_probe import hand_made_probe

FACTS = {
    "model": {"name": "Fuchs 狐", "fingerprint": "abc", "blocks": 4, "width": 32},
    "prompts": 20,
    "tokens": 300,
    "loss_prompts": 16,
    "control_prompts": 4,
    "provenance": {"torch": "2.9"},
}


def part(name, tokens, share, mean, std, variation):
    keys = ("name", "tokens", "share", "mean", "std", "variation")
    return dict(zip(keys, (name, tokens, share, mean, std, variation), strict=True))


def test_a_probe_is_written_with_all_that_was_found():
    found = probe_json(hand_made_probe())
    costs = found.pop("costs")
    assert costs == [
        {
            "way": way,
            "place": place,
            "mean": mean,
            "low": mean - 0.5,
            "high": mean + 0.5,
            "per_prompt": [mean - 0.5, mean + 0.5],
        }
        for mean, (way, place) in enumerate([(way, place) for way in WAYS for place in PLACES], 1)
    ]
    first = part("0", 4, 0.9, 1000.0, 0.5, 0.0005)
    assert found.pop("where") == {
        "positions": [first, part("later", 0, 0.0, 0.0, 0.0, None)],
        "classes": [{**first, "name": "special"}, part("word start", 12, 0.1, 0.0, 3.0, None)],
        "sides": [{**first, "name": "sinks"}, part("others", 12, 0.1, -2.0, 3.0, 1.5)],
        "tokens": [
            {
                "quantile": 0.0,
                "value": -7.25,
                "prompt": 1,
                "position": 3,
                "before": "a red",
                "token": " fox\n",
                "after": " runs",
            },
            {
                "quantile": 0.99,
                "value": 1234.5678,
                "prompt": 0,
                "position": 0,
                "before": "",
                "token": "<s>",
                "after": " a",
            },
        ],
        "spread_of_the_shared_beginning": 0.001,
    }
    assert found.pop("trials") == [
        {
            "way": way,
            "place": place,
            "compared": 0.75,
            "matters": True,
            "random_controls": [0.01, -0.03, 0.02],
            "matched_controls": [0.5, -0.25],
        }
        for way, place in (("zero", "all"), ("mean", "all"), ("shuffle", "others"))
    ]
    assert found == {
        "dimension": 7,
        "layer": -2,
        "index": 3,
        "std": 5.5,
        "std_without_sinks": 3.0,
        "sinks": 4,
        "sinks_in_the_shared_beginning": 4,
        "controls": {"random": [1, 2, 5], "matched": [9, 4], "matched_std": [2.5, 3.5]},
        "writes": {
            "top": [[" red", 0.5], ["x", 0.25]],
            "bottom": [["y", -0.75]],
            "spread": 0.1,
            "frequency": -0.256,
            "frequency_tokens": 11,
        },
        "knows": [
            {"name": "digit", "tokens": 9, "auc": 0.8765, "rank": 2, "width": 32, "best": 0.9},
            {"name": "CJK", "tokens": 8, "auc": 0.5, "rank": 20, "width": 32, "best": 0.75},
        ],
        "received": [
            {"name": "sinks", "tokens": 4, "zero": 0.98765, "mean": 0.0},
            {"name": "others", "tokens": 12, "zero": 0.25, "mean": 0.125},
        ],
        "gain": {"value": 0.012345, "relative": 0.25, "rank": 30, "width": 32},
        "verdict": {
            "name": "mixed",
            "because": "Because of this.",
            "overturned": "It would be another if that.",
        },
    }


def test_no_gain_and_an_infinite_one_are_null():
    assert probe_json(hand_made_probe(gain=None))["gain"] is None
    gain = DitGain(0.5, float("inf"), 1, 32)
    assert probe_json(hand_made_probe(gain=gain))["gain"] == {
        "value": 0.5,
        "relative": None,
        "rank": 1,
        "width": 32,
    }


def test_the_document_is_read_back_as_it_was_written(tmp_path):
    path = tmp_path / "dim.json"
    text = dim_document(FACTS, [hand_made_probe()])
    path.write_text(text, encoding="utf-8")
    document = load_dim(path)
    probe = probe_json(hand_made_probe())
    head = {"schema_version": 1, "kind": "dim"}
    assert document == {**head, **FACTS, "rule": RULE, "probes": [probe]}
    assert list(document)[:3] == ["schema_version", "kind", "model"]
    assert "狐" in text and text.endswith("}\n") and '\n "kind": "dim"' in text


def test_a_number_that_json_lacks_is_not_written():
    with pytest.raises(ValueError):
        dim_document(FACTS, [hand_made_probe(std=float("nan"))])


def test_a_dim_file_is_found_by_its_folder_its_name_or_what_it_holds(tmp_path):
    path = tmp_path / "dim.json"
    assert find_dim_file(tmp_path) is None and find_dim_file(path) == path
    path.write_text("{}")
    assert find_dim_file(str(tmp_path)) == path
    (tmp_path / "profile.json").write_text("{}")
    assert find_dim_file(tmp_path) is None
    for name, text, found in (
        ("a.json", '{"kind": "dim"}', True),
        ("b.json", '{"kind": "profile"}', False),
        ("c.json", "{}", False),
        ("d.json", '["kind"]', False),
        ("e.json", "no json", False),
        ("f.json", "[" * 100_000, False),
    ):
        (tmp_path / name).write_text(text)
        assert find_dim_file(tmp_path / name) == (tmp_path / name if found else None), name
    (tmp_path / "latin.json").write_bytes(b'{"kind": "dim\xe9"}')
    assert find_dim_file(tmp_path / "latin.json") is None
    assert find_dim_file(tmp_path / "gone.json") is None
    (tmp_path / "folder" / "dim.json").mkdir(parents=True)
    assert find_dim_file(tmp_path / "folder") is None


def changed(path, value):
    """The document with another value at ``path``; None takes it out."""
    document = json.loads(dim_document(FACTS, [hand_made_probe()]))
    *way, last = path
    place = document
    for step in way:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return document


def load(document, tmp_path):
    path = tmp_path / "dim.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return load_dim(path)


PROBE = ("probes", 0)
MANY = 2**53


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("model", "name"), ""),
        (("model", "name"), "n" * 1000),
        (("model", "name"), "\ue000\ud7ff"),
        (("model", "width"), 8),
        (("model", "width"), MANY),
        *(
            ((name,), value)
            for name in ("prompts", "tokens", "loss_prompts")
            for value in (0, MANY)
        ),
        ((*PROBE, "dimension"), 0),
        ((*PROBE, "dimension"), 31),
        ((*PROBE, "std"), 0),
        ((*PROBE, "std_without_sinks"), 0.0),
        ((*PROBE, "costs", 4, "low"), -3),
        *(((*PROBE, "verdict", "name"), name) for name in ("unused", "constant bias", "signal")),
        (("probes",), []),
    ],
)
def test_a_value_at_the_edge_is_taken(path, value, tmp_path):
    document = changed(path, value)
    assert load(document, tmp_path) == document


@pytest.mark.parametrize(
    ("blocks", "index", "layer"), [(4, 0, -5), (4, 4, -1), (1, 0, -2), (10_000, 0, -10_001)]
)
def test_every_hidden_state_of_up_to_ten_thousand_blocks_is_taken(blocks, index, layer, tmp_path):
    document = changed((*PROBE, "index"), index)
    document["probes"][0]["layer"] = layer
    document["model"]["blocks"] = blocks
    assert load(document, tmp_path) == document


@pytest.mark.parametrize(
    ("path", "values", "says"),
    [
        (("model", "name"), (3, "n" * 1001, "a\ud800", "\udfff"), "model.name is "),
        (("model", "blocks"), (0, -1, 10_001, 4.0, True, "4"), "model.blocks is "),
        (("model", "width"), (0, -1, MANY + 1, 32.0, True), "model.width is "),
        (("prompts",), (-1, MANY + 1, 1.5, False), "prompts is "),
        (("tokens",), (-1, MANY + 1, 1.5, False), "tokens is "),
        (("loss_prompts",), (-1, MANY + 1, 1.5, False), "loss_prompts is "),
        (("probes",), ({}, "x", 3), "probes is "),
        ((*PROBE, "dimension"), (-1, 32, 7.0, True), "probes[0].dimension is "),
        ((*PROBE, "index"), (-1, 5, 3.0, True), "probes[0].index is "),
        ((*PROBE, "layer"), (-1, -3, 2, -2.0), "probes[0].layer is "),
        ((*PROBE, "std"), (-0.1, "1", float("nan"), float("inf"), True), "probes[0].std is "),
        ((*PROBE, "std_without_sinks"), (-0.1, [1]), "probes[0].std_without_sinks is "),
        ((*PROBE, "verdict", "name"), ("noise", "", 3), "probes[0].verdict.name is "),
        (
            (*PROBE, "costs", 0, "mean"),
            ("1", float("nan"), False),
            "probes[0].costs zero all mean is ",
        ),
        ((*PROBE, "costs", 5, "low"), ("1",), "probes[0].costs mean others low is "),
        ((*PROBE, "costs", 7, "high"), ([],), "probes[0].costs shuffle sinks high is "),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_name(path, values, says, tmp_path):
    for value in values:
        with pytest.raises(DimFileError) as error:
            load(changed(path, value), tmp_path)
        told = str(error.value)
        assert told.startswith(f"{tmp_path / 'dim.json'} is no whole dim.json: {says}"), told
        assert told.endswith("; run layerlab dim again")


@pytest.mark.parametrize(
    "path",
    [
        *((name,) for name in ("model", "prompts", "tokens", "loss_prompts", "probes")),
        *(("model", name) for name in ("name", "blocks", "width")),
        *((*PROBE, name) for name in ("dimension", "index", "layer", "std", "std_without_sinks")),
        *((*PROBE, name) for name in ("verdict", "costs")),
        *((*PROBE, "costs", number) for number in range(9)),
        *((*PROBE, "costs", 3, name) for name in ("way", "place", "mean", "low", "high")),
        (*PROBE, "verdict", "name"),
    ],
)
def test_a_field_that_is_missing_is_refused(path, tmp_path):
    with pytest.raises(DimFileError, match="is no whole dim.json: "):
        load(changed(path, None), tmp_path)


def test_two_probes_of_one_dimension_at_one_hidden_state_are_refused(tmp_path):
    document = changed(("prompts",), 20)
    probe = document["probes"][0]
    document["probes"] = [probe, {**deepcopy(probe), "dimension": 8}]
    assert load(document, tmp_path) == document
    document["probes"] = [probe, {**deepcopy(probe), "index": 4, "layer": -1}]
    assert load(document, tmp_path) == document
    document["probes"] = [probe, deepcopy(probe)]
    with pytest.raises(DimFileError, match=r"probes\[1\].dimension is 7"):
        load(document, tmp_path)


@pytest.mark.parametrize(
    ("path", "value", "version"),
    [
        (("schema_version",), 2, "2"),
        (("schema_version",), 0, "0"),
        (("schema_version",), True, "True"),
        (("schema_version",), 1.0, "1.0"),
        (("schema_version",), None, "None"),
        (("kind",), "profile", "1"),
        (("kind",), None, "1"),
    ],
)
def test_another_kind_or_version_is_refused(path, value, version, tmp_path):
    with pytest.raises(DimFileError) as error:
        load(changed(path, value), tmp_path)
    assert str(error.value) == (
        f"{tmp_path / 'dim.json'} is no dim.json of version 1 (schema_version {version}): run "
        "layerlab dim again with this version"
    )


def test_what_is_no_json_object_is_refused(tmp_path):
    with pytest.raises(DimFileError, match=r"is no dim.json of version 1 \(schema_version None\)"):
        load([], tmp_path)
    path = tmp_path / "dim.json"
    for text in (b"{", b"\xff\xfe", b"[" * 100_000):
        path.write_bytes(text)
        with pytest.raises(DimFileError, match="dim.json cannot be read as a dim.json: "):
            load_dim(path)
    with pytest.raises(DimFileError) as error:
        load_dim(tmp_path / "gone.json")
    assert str(error.value) == (
        f"{tmp_path / 'gone.json'}: there is no such file; layerlab dim MODEL writes one"
    )
