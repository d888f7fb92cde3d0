"""A character is drawn wherever a font with it is installed, however old matplotlib's list is.

The fonts are planted: files made by hand, in which every character is a black square.
"""

import copy
import shutil
import subprocess

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from matplotlib.figure import Figure  # noqa: E402
from matplotlib.font_manager import fontManager  # noqa: E402
from PIL import Image, ImageDraw  # noqa: E402
from zimage_layer_lab.core.draw import fonts  # noqa: E402
from zimage_layer_lab.core.draw.figures import to_pixels  # noqa: E402
from zimage_layer_lab.core.draw.fonts import (  # noqa: E402
    BUNDLED_FAMILY,
    FontFinder,
    printable,
    text_style,
)
from zimage_layer_lab.core.draw.picture_text import draw_lines, text_width  # noqa: E402

from ...oracles.figures import no_warning  # noqa: E402
from ...oracles.fonts import write_collection, write_font  # noqa: E402


@pytest.fixture
def plant(monkeypatch):
    """A function: (fonts listed, files besides) -> makes them all that matplotlib and we know.

    The bundled fonts stay.
    """
    own = [entry for entry in fontManager.ttflist if "mpl-data" in entry.fname]
    originals = fontManager.ttflist

    def install(listed=(), files=()):
        fontManager.ttflist = list(own)
        for path in listed:
            fontManager.addfont(path)
        fontManager._findfont_cached.cache_clear()
        finder = FontFinder(fontManager, lambda: list(files))
        monkeypatch.setattr(fonts, "_fonts", lambda: finder)
        return finder

    yield install
    fontManager.ttflist = originals
    fontManager._findfont_cached.cache_clear()


def drawn_in_a_figure(text):
    """How much ink matplotlib puts down for a text, of all pixels."""
    figure = Figure(figsize=(2, 2), dpi=50)
    figure.text(0.1, 0.4, printable(text), fontsize=30, **text_style(printable(text)))
    with no_warning():
        return float((to_pixels(figure) < 0.5).mean())


def drawn_with_pillow(text):
    canvas = Image.new("L", (100, 100), 255)
    draw_lines(ImageDraw.Draw(canvas), [printable(text)], 4, 4, 40, "black")
    return float((np.asarray(canvas) < 128).mean())


def test_without_a_font_that_has_it_a_character_is_escaped(plant):
    plant()
    assert printable("a 中🦊") == "a \\u4e2d\\U0001f98a"
    assert text_style("中")["family"] == [BUNDLED_FAMILY]


def test_a_font_in_the_list_is_used_whatever_it_is_called(plant, tmp_path):
    plant([write_font(tmp_path / "x.ttf", "Unheard Of", "中")])
    assert printable("中国") == "中\\u56fd"
    assert text_style("a中")["family"] == [BUNDLED_FAMILY, "Unheard Of"]
    assert text_style("ab")["family"] == [BUNDLED_FAMILY], "a text asks for what it needs only"
    # A square of 0.8 em: 17 of 100 pixels, 32 of 100 pixels.
    assert drawn_in_a_figure("中") == pytest.approx(0.0278, rel=0.15)
    assert drawn_with_pillow("中") == pytest.approx(0.1024, rel=0.1)
    assert text_width("中中", 40) == pytest.approx(80)


def test_a_font_installed_after_matplotlib_made_its_list_is_found(plant, tmp_path):
    path = write_font(tmp_path / "new.ttf", "Came Later", "中")
    finder = plant([], [path])
    assert printable("plain") == "plain"
    assert text_style("two\nlines")["family"] == [BUNDLED_FAMILY]
    assert path not in {entry.fname for entry in fontManager.ttflist}, "only when it is needed"
    assert printable("中") == "中" and finder.family("中") == "Came Later"
    assert drawn_in_a_figure("中") > 0.02 and drawn_with_pillow("中") > 0.09


def test_of_a_collection_the_only_listed_face_will_do(plant, tmp_path):
    """matplotlib 3.8 to 3.10 list the first face of a .ttc, of Noto's collection the Japanese."""
    path = write_collection(
        tmp_path / "NotoSansCJK.ttc", ["Noto Sans CJK JP", "Noto Sans CJK SC"], "中"
    )
    finder = plant([path])
    fontManager.ttflist = [e for e in fontManager.ttflist if e.name != "Noto Sans CJK SC"]
    finder = FontFinder(fontManager, list)
    assert finder.family("中") == "Noto Sans CJK JP"
    assert finder.families("中a") == [BUNDLED_FAMILY, "Noto Sans CJK JP"]


def test_where_several_have_it_the_chinese_face_comes_first(plant, tmp_path):
    names = ["A Font", "Noto Sans CJK JP", "Noto Sans CJK SC"]
    paths = [write_font(tmp_path / f"{name}.ttf", name, "中") for name in names]
    assert plant(paths).family("中") == "Noto Sans CJK SC"
    assert plant(paths[:2]).family("中") == "Noto Sans CJK JP"
    assert plant(paths[:1]).family("中") == "A Font"


def test_the_choice_does_not_depend_on_what_was_drawn_before(plant, tmp_path):
    paths = [write_font(tmp_path / f"{i}.ttf", f"Font {i}", c) for i, c in enumerate("中国狐")]
    forward, backward = plant(paths), plant(paths[::-1])
    forward.family("中"), backward.family("狐")
    assert forward.families("狐国中") == backward.families("中狐国")
    assert forward.families("狐中") == [BUNDLED_FAMILY, "Font 0", "Font 2"]


@pytest.mark.parametrize("family", ["LastResort", "Last Resort High-Efficiency", ".Hidden UI"])
def test_a_font_with_a_box_for_everything_draws_nothing_for_us(plant, tmp_path, family):
    plant([], [write_font(tmp_path / "x.ttf", family, "中")])
    assert printable("中") == "\\u4e2d"


def test_an_empty_outline_is_not_a_character(plant, tmp_path):
    """Fonts of coloured pictures have such."""
    plant([write_font(tmp_path / "x.ttf", "Coloured", "中", blank="🦊")])
    assert printable("中🦊") == "中\\U0001f98a"


def test_broken_and_vanished_files_cost_nothing(plant, tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"\0\1\0\0 this is no font")
    gone = write_font(tmp_path / "gone.ttf", "Gone", "中")
    kept = write_font(tmp_path / "kept.ttf", "Kept", "国")
    finder = plant([gone, kept], [str(tmp_path / "broken.ttf"), str(tmp_path / "never.ttf")])
    (tmp_path / "gone.ttf").unlink()
    finder = FontFinder(fontManager, lambda: [str(tmp_path / "broken.ttf")])
    assert finder.family("国") == "Kept" and finder.family("中") is None


def test_the_regular_face_of_a_family_stands_for_it(plant, tmp_path):
    bold = write_font(tmp_path / "a-bold.ttf", "Two Weights", "中", weight=700)
    regular = write_font(tmp_path / "b.ttf", "Two Weights", "中国")
    assert plant([bold, regular]).family("国") == "Two Weights"


def test_files_are_looked_for_once(tmp_path):
    calls = []
    manager = copy.copy(fontManager)
    finder = FontFinder(manager, lambda: calls.append(1) or [])
    for character in "ab\U0001f9a4\U0001f9a3\uffff":
        finder.family(character)
    assert len(calls) == 1


def test_chinese_is_drawn_on_this_machine_if_fontconfig_knows_a_font():
    """The whole system as it is; what fontconfig says is the truth."""
    listing = (
        shutil.which("fc-list")
        and subprocess.run(
            ["fc-list", ":lang=zh-cn", "family"], capture_output=True, text=True, timeout=60
        ).stdout
    )
    if listing:
        assert printable("中文") == "中文"
        assert drawn_in_a_figure("中") > 0.005 and drawn_with_pillow("中") > 0.02
