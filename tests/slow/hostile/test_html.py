"""Texts from outside stay texts in every page that the pack writes.

Read back with Python's own HTML parser: no element or attribute comes from them.
"""

import html.parser
import json
import re

import pytest
import torch
from zimage_layer_lab.cli import main
from zimage_layer_lab.cli.profile.report import write_profile
from zimage_layer_lab.cli.show.html_report import Section, Table, render_report
from zimage_layer_lab.core.draw.profile_pictures import plot_comparison
from zimage_layer_lab.core.profile.profile import ProfileStats, summarise

TEXTS = {
    "a script": "<script>alert(1)</script>",
    "the end of a script": '</script><img src=x onerror="alert(1)">',
    "the end of an attribute": '"><svg/onload=alert(1)>',
    "a single quote": "' onmouseover='alert(1)",
    "a comment": "<!-- --><!--><script>",
    "an entity": "&lt;script&gt;&#60;b&#62; & &amp;",
    "the end of the title": "</title><script>alert(1)</script>",
    "a template": "{{ 7 * 7 }}{% raw %}{% include '/etc/passwd' %}",
    "line separators": "a\u2028b\u2029c\x00d",
    "terminal codes": "\x1b[2J\x1b]0;title\x07",
    "a formula": r"$\frac{$ $x^",
    "markup of the terminal": "[bold red]x[/] [link=http://x]y[/link] [/]",
}
WORST = ("the end of a script", "line separators", "terminal codes", "a formula")
ELEMENTS = set(
    "html meta title style h1 h2 p small div dl dt dd table caption thead tbody tr th td footer "
    "img figure canvas figcaption span output script".split()
)


class Page(html.parser.HTMLParser):
    """The elements, the attributes, and what stands between them."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.attributes, self.texts, self.comments = [], [], [], []
        self.scripts = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_comment(self, data):
        self.comments.append(data)

    def handle_data(self, data):
        (self.scripts if self.elements[-1:] == ["script"] else self.texts).append(data)


def assert_harmless(page, plain):
    """The page has the elements and attributes of the same page with ``plain`` texts."""
    found, expected = Page(page), Page(plain)
    assert found.elements == expected.elements and set(found.elements) <= ELEMENTS
    assert [a[:2] for a in found.attributes] == [a[:2] for a in expected.attributes]
    assert not found.comments
    assert not any(name.startswith("on") for _, name, _ in found.attributes)
    sources = [value for _, name, value in found.attributes if name in ("src", "href")]
    assert all(re.fullmatch(r"data:image/png;base64,[\w+/=]+", value) for value in sources)


def report(text):
    table = Table((text, "b"), [(text, text)], text)
    sections = [Section(text, [text], b"png", [table])]
    return render_report(text, text, [text], sections, text)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_report_keeps_every_text_as_text(text):
    page = report(text)
    assert_harmless(page, report("plain"))
    said = Page(page)
    wanted = text.replace("\x00", "\ufffd")
    shown = [one.replace("\x00", "\ufffd") for one in said.texts]
    # Title, heading, subtitle, headline, section, paragraph, caption, header, 2 cells, footer.
    assert shown.count(wanted) == 11
    assert [value for tag, name, value in said.attributes if (tag, name) == ("img", "alt")] == [
        text
    ]


def made_up():
    stats = ProfileStats(2, 8)
    states = {
        index: torch.randn(9, 8, generator=torch.Generator().manual_seed(0)) for index in range(3)
    }
    states[1][0, 3] = 5000.0
    stats.update(states)
    return stats


def profile_page(folder, text):
    """report.html of a profile whose model, tokens and provenance are all called ``text``."""
    stats = made_up()
    provenance = {"model": text, "prompt_file": text, "command": text}
    write_profile(folder, stats, summarise(stats, text), lambda place: text, provenance)
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def plain_page(tmp_path_factory):
    return profile_page(tmp_path_factory.mktemp("plain"), "plain")


@pytest.mark.parametrize("name", WORST)
def test_the_page_of_a_profile_keeps_tokens_model_and_prompt_file_as_text(
    tmp_path, plain_page, name
):
    text = TEXTS[name]
    page = profile_page(tmp_path, text)
    assert_harmless(page, plain_page)
    [data] = [json.loads(script) for script in Page(page).scripts if script.startswith("{")]
    assert {shown for *_, shown in data["tokens"]} == {text}
    document = json.loads((tmp_path / "profile.json").read_text(encoding="utf-8"))
    assert document["model"]["name"] == text


@pytest.mark.parametrize("name", WORST)
def test_the_page_of_a_comparison_keeps_the_models_names_as_text(tmp_path, capsys, name):
    """From profile.json, which may be anybody's."""
    text = TEXTS[name]
    profile = summarise(made_up(), text).to_json(lambda place: text)
    plain = summarise(made_up(), "plain").to_json(lambda place: "plain")
    pages = {}
    for kind, document in (("hostile", profile), ("plain", plain)):
        path = tmp_path / f"{kind}.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        out = tmp_path / f"{kind}_out"
        arguments = ["compare", str(path), str(path), "--layers", "-2", "--out", str(out)]
        assert main(arguments) == 0
        pages[kind] = (out / "report.html").read_text(encoding="utf-8")
    assert_harmless(pages["hostile"], pages["plain"])
    printed = capsys.readouterr().out
    assert "\x1b[2J" not in printed and "\x07" not in printed


def test_a_picture_is_drawn_whatever_the_model_is_called():
    for text in TEXTS.values():
        profile = summarise(made_up(), text).to_json(lambda place: "t")
        assert plot_comparison(profile, profile).startswith(b"\x89PNG")


def test_a_folder_whose_name_is_not_utf8_gets_its_report(tmp_path):
    """Python gives such a name half surrogate pairs, which no file can hold."""
    from zimage_layer_lab.cli.model.errors import readable

    name = readable("model-\udcff\ud83e")
    assert name == "model-\\udcff\\ud83e" and readable("狐 🦊") == "狐 🦊"
    assert name in Page(profile_page(tmp_path, name)).texts
