"""The files of a run: what the page says, in which order, and which files are there."""

import json

import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from zimage_layer_lab import __version__  # noqa: E402
from zimage_layer_lab.cli.dim.report import cost_table, write_report  # noqa: E402
from zimage_layer_lab.core.dimension.verdict import RULE  # noqa: E402
from zimage_layer_lab.core.dimension.words import (  # noqa: E402
    CAUSAL,
    COST_COLUMNS,
    KNOWN_COLUMNS,
    PART_COLUMNS,
    RECEIVED_COLUMNS,
    cost_rows,
    gain_sentence,
    headline,
    known_rows,
    known_sentence,
    part_rows,
    received_rows,
    sink_sentence,
    token_rows,
    writing_sentences,
)

from ...oracles.hand_made_probe import hand_made_probe  # noqa: E402
from ...oracles.pages import ReadPage  # noqa: E402

FACTS = {
    "model": {"name": "tiny", "fingerprint": "abc", "blocks": 4, "width": 32},
    "prompts": 20,
    "tokens": 300,
    "shared_tokens": [2, 2],
    "loss_prompts": 16,
    "control_prompts": 4,
    "provenance": {"torch": "2.9", "gpu": "", "date": "2026-01-02"},
}
PROBES = [
    hand_made_probe(),
    hand_made_probe(layer=-1, index=4, knows=(), sinks=3, kept=0),
    hand_made_probe(dimension=12, gain=None),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(the folder, the paths answered, the page read)."""
    out = tmp_path_factory.mktemp("report")
    paths = write_report(out, PROBES, FACTS, "Chosen by hand.")
    return out, paths, ReadPage((out / "report.html").read_text(encoding="utf-8"))


def rows_of(rows):
    return [list(row) for row in rows]


def tables_of(page, section):
    return [table for table in page.tables if table.section == section]


def test_a_file_a_picture_per_dimension_and_a_page(written):
    out, paths, _ = written
    names = ["dim.json", "dim_7.png", "dim_12.png", "report.html"]
    assert paths == [out / name for name in names]
    assert sorted(path.name for path in out.iterdir()) == sorted(names)
    document = json.loads((out / "dim.json").read_text(encoding="utf-8"))
    assert [(one["dimension"], one["layer"]) for one in document["probes"]] == [
        (7, -2),
        (7, -1),
        (12, -2),
    ]


def test_the_top_of_the_page(written):
    _, _, page = written
    assert page.say("h1") == ["What a dimension does in its language model"]
    first = [
        said for tag, said in page.blocks[: page.blocks.index(("h2", "The rule"))] if tag == "p"
    ]
    assert first == [
        "tiny, 4 blocks, width 32: 20 prompts, 300 tokens; losses over 16 of them, controls over 4",
        *map(headline, PROBES),
        "Chosen by hand.",
    ]
    assert page.section("The rule") == [("p", RULE), ("p", CAUSAL)]
    assert page.say("p")[-1] == f"Written by layerlab dim, Z-Image Layer Lab {__version__}."


def test_the_sections_and_their_order(written):
    asked = (
        "what it causes",
        "where it is",
        "tokens that drive it",
        "what it writes",
        "what it knows",
        "what the image model receives",
    )
    assert written[2].say("h2") == [
        "The rule",
        *(f"Dimension {dimension}: {one}" for dimension in (7, 12) for one in asked),
        "Provenance",
    ]


@pytest.mark.parametrize(("dimension", "own"), [(7, PROBES[:2]), (12, PROBES[2:])])
def test_each_section_of_a_dimension(dimension, own, written):
    page = written[2]
    layers = [f"layer {probe.layer}" for probe in own]

    def check(what, paragraphs, columns, captions, tables, pictures=0):
        title = f"Dimension {dimension}: {what}"
        section = page.section(title)
        assert [said for tag, said in section if tag == "p"] == paragraphs
        assert [said for tag, said in section if tag == "dt"] == list(columns)
        assert [said for tag, said in section if tag == "dd"] == list(columns.values())
        assert [said for tag, said in section if tag == "img"] == [title] * pictures
        found = tables_of(page, title)
        assert [table.caption for table in found] == captions
        assert [table.rows for table in found] == [rows_of(rows) for rows in tables]
        return found

    causes = check(
        "what it causes",
        [
            *(line for probe in own for line in (headline(probe), sink_sentence(probe))),
            "What it costs the language model to replace the dimension's values.",
        ],
        COST_COLUMNS,
        [f"dimension {dimension} at {layer}: mixed" for layer in layers],
        map(cost_rows, own),
        pictures=1,
    )
    where = check("where it is", [], PART_COLUMNS, layers, map(part_rows, own))
    driven = check(
        "tokens that drive it",
        ["The token at each quantile of the values, from the smallest to the largest, in []."],
        {},
        layers,
        map(token_rows, own),
    )
    check("what it writes", writing_sentences(own[0]), {}, [], [])
    knows = check(
        "what it knows",
        [f"Layer {probe.layer}: {known_sentence(probe)}" for probe in own],
        KNOWN_COLUMNS,
        layers[:1],  # The second knows nothing.
        [known_rows(own[0])],
    )
    receives = check(
        "what the image model receives",
        [gain_sentence(own[0])] if dimension == 7 else [],
        RECEIVED_COLUMNS,
        layers,
        map(received_rows, own),
    )
    for tables, header in (
        (causes, list(COST_COLUMNS)),
        (where, list(PART_COLUMNS)),
        (driven, ["quantile", "value", "token in its context"]),
        (knows, list(KNOWN_COLUMNS)),
        (receives, list(RECEIVED_COLUMNS)),
    ):
        assert [table.header for table in tables] == [header] * len(tables)


def test_the_provenance_lists_what_is_known(written):
    """The model, every count, and what is not empty; no list."""
    out, _, page = written
    [table] = tables_of(page, "Provenance")
    assert table.header == ["what", "value"]
    assert table.rows == [
        ["name", "tiny"],
        ["fingerprint", "abc"],
        ["blocks", "4"],
        ["width", "32"],
        ["prompts", "20"],
        ["tokens", "300"],
        ["loss_prompts", "16"],
        ["control_prompts", "4"],
        ["torch", "2.9"],
        ["date", "2026-01-02"],
    ]
    text = (out / "report.html").read_text(encoding="utf-8")
    assert text.count('class="prose"') == 1 and text.index("Provenance") < text.index('"prose"')


def test_pictures_of_an_earlier_run_go_and_other_files_stay(tmp_path):
    for name in ("dim_3.png", "dim_40.png", "dim_12.png", "dim_x.png", "dim_3.png.txt", "my.png"):
        (tmp_path / name).write_text("old")
    paths = write_report(tmp_path, PROBES[2:], FACTS)
    assert [path.name for path in paths] == ["dim.json", "dim_12.png", "report.html"]
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(left) == sorted(
        ["dim.json", "dim_12.png", "report.html", "dim_x.png", "dim_3.png.txt", "my.png"]
    )
    assert left["dim_x.png"] == b"old" and left["dim_12.png"].startswith(b"\x89PNG")
    page = ReadPage((tmp_path / "report.html").read_text(encoding="utf-8"))
    before = page.blocks[: page.blocks.index(("h2", "The rule"))]
    assert [said for tag, said in before if tag == "p"][1:] == [headline(PROBES[2])]


def test_a_table_of_costs():
    table = cost_table(hand_made_probe(layer=-6))
    assert table.caption == "dimension 7 at layer -6: mixed"
    assert table.header == tuple(COST_COLUMNS)
    assert table.rows == cost_rows(hand_made_probe()) and not table.prose
