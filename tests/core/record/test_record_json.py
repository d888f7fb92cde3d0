"""Records as JSON: every limit of every field, and each refusal as a whole sentence."""

import json

import pytest
from zimage_layer_lab.core.record.record import Record, Role, plain_record
from zimage_layer_lab.core.record.record_json import record_from_json, record_to_json
from zimage_layer_lab.core.taps.layout import INTERLEAVED, Taps

ROLES = "template, system, think, text, vision marker, image, pad"
TAPS = {"layers": [9, None], "width": 4, "order": "layer-major", "blocks": 36}


def document(**changed):
    """Of a record of two tokens, as JSON gives it back."""
    record = plain_record(2, "an encoder")
    return {**json.loads(json.dumps(record_to_json(record))), **changed}


def test_a_record_comes_back_from_json():
    record = Record(
        None,
        "qwen",
        (1, -1),
        ("a", "狐"),
        (Role.TEXT, Role.VISION_MARKER),
        ("masked",),
        "ab12",
        layers=(-2, None),
        prompt="a狐",
        images=((2, 3),),
        checksum="00ff00ff",
        taps=Taps((9, None), 4, INTERLEAVED, 36),
    )
    made = record_to_json(record)
    assert made["taps"] == {"layers": (9, None), "width": 4, "order": "interleaved", "blocks": 36}
    assert record_from_json(json.loads(json.dumps(made)), 2) == record


@pytest.mark.parametrize(
    "given",
    [
        {"layer": -10_000},
        {"layer": 10_000},
        {"ids": [-1, 2**31 - 1]},
        {"layers": [None, 0]},
        {"images": [[1, 65_536]]},
        {"taps": {**TAPS, "layers": [0, 10_000]}},
        {"taps": {**TAPS, "layers": [1] * 256}},
        {"taps": {**TAPS, "width": 2**24, "blocks": 10_000}},
        {"taps": {**TAPS, "width": 1, "blocks": 0}},
    ],
)
def test_the_limits_themselves_are_allowed(given):
    [(name, value)] = given.items()
    read = record_to_json(record_from_json(document(**given), 2))[name]
    assert json.loads(json.dumps(read)) == value


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"layer": -10_001}, "layer: -10001 is no whole number from -10000 to 10000"),
        ({"layer": 10_001}, "layer: 10001 is no whole number from -10000 to 10000"),
        ({"layer": 1.0}, "layer: 1.0 is no whole number from -10000 to 10000"),
        ({"ids": [-2, 0]}, "ids: -2 is no whole number from -1 to 2147483647"),
        ({"ids": [0, 2**31]}, "ids: 2147483648 is no whole number from -1 to 2147483647"),
        ({"ids": 7}, "ids: 7 is no list"),
        ({"source": 7}, "source: 7 is no text"),
        ({"roles": ["text", "x"]}, f"roles: 'x' is none of {ROLES}"),
        ({"images": [[0, 1]]}, "images: 0 is no whole number from 1 to 65536"),
        ({"images": [[1, 65_537]]}, "images: 65537 is no whole number from 1 to 65536"),
        ({"images": [[1]]}, "images: [1] is no pair of rows and columns"),
        ({"images": [[1, 2, 3]]}, "images: [1, 2, 3] is no pair of rows and columns"),
        ({"taps": [9]}, "taps: [9] is no object of layers, width, order, blocks"),
        ({"taps": {"width": 4}}, "taps: {'width': 4} is no object of layers, width, order, blocks"),
        ({"taps": {**TAPS, "layers": [1] * 257}}, "taps: 257 layers are more than 256"),
        ({"taps": {**TAPS, "layers": 9}}, "taps: 9 is no list"),
        (
            {"taps": {**TAPS, "layers": [-1]}},
            "taps: -1 is no whole number from 0 to 10000",
        ),
        (
            {"taps": {**TAPS, "layers": [10_001]}},
            "taps: 10001 is no whole number from 0 to 10000",
        ),
        ({"taps": {**TAPS, "width": 0}}, "taps: 0 is no whole number from 1 to 16777216"),
        (
            {"taps": {**TAPS, "width": 2**24 + 1}},
            "taps: 16777217 is no whole number from 1 to 16777216",
        ),
        ({"taps": {**TAPS, "blocks": -1}}, "taps: -1 is no whole number from 0 to 10000"),
        ({"taps": {**TAPS, "blocks": 10_001}}, "taps: 10001 is no whole number from 0 to 10000"),
        ({"taps": {**TAPS, "order": 1}}, "taps: 1 is no text"),
    ],
)
def test_a_field_out_of_its_range_is_refused(given, says):
    with pytest.raises(ValueError) as refused:
        record_from_json(document(**given), 2)
    assert str(refused.value) == f"the record's {says}"


def without(*names):
    made = document()
    for name in names:
        del made[name]
    return made


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (7, "the record is 7, not an object of named fields"),
        (
            document(version=2),
            "the record is of version 2, this pack reads 1; update Z-Image Layer Lab",
        ),
        (document(version=0), "the record's version is 0, not 1"),
        (document(version=2.0), "the record's version is 2.0, not 1"),
        (document(version=True), "the record's version is True, not 1"),
        (without("version"), "the record's version is None, not 1"),
        (
            document(colour=1),
            "the record's field 'colour' is unknown to this pack; update Z-Image Layer Lab",
        ),
        (without("source", "roles"), "the record lacks source, roles"),
        (without("layer", "ids", "texts"), "the record lacks layer, ids, texts"),
    ],
)
def test_what_is_no_record_of_this_version_is_refused(made, says):
    with pytest.raises(ValueError) as refused:
        record_from_json(made, 2)
    assert str(refused.value) == says


def test_a_record_of_another_number_of_tokens_is_refused_and_of_the_same_taken():
    for tokens in (1, 3):
        with pytest.raises(ValueError) as refused:
            record_from_json(document(), tokens)
        said = f"the record describes 2 tokens, and there are {tokens}"
        assert str(refused.value) == said
    long = json.loads(json.dumps(record_to_json(plain_record(300))))
    assert len(record_from_json(long, int("300"))) == 300


def test_fields_with_a_default_may_be_missing():
    given = ("edits", "fingerprint", "layers", "prompt", "images", "checksum")
    assert record_from_json(without(*given), 2) == plain_record(2, "an encoder")
