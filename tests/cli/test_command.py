"""The command line itself: words that argparse would misread, and missing packages."""

import subprocess
import sys

import pytest
from zimage_layer_lab.cli import _join_layers, main


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["--layers", "-2,-6"], ["--layers=-2,-6"]),
        (["--layers", "-2"], ["--layers=-2"]),
        (["--layers", "-2, -6"], ["--layers=-2, -6"]),
        (["--layers=-2,-6", "a"], ["--layers=-2,-6", "a"]),
        (["--layers", "all", "-2"], ["--layers", "all", "-2"]),
        (["--layers", "--out", "x"], ["--layers", "--out", "x"]),
        (["--layers", "-2..-6"], ["--layers=-2..-6"]),
        (["--layers-b", "-6", "-2"], ["--layers-b=-6", "-2"]),
    ],
)
def test_a_list_of_negative_layers_is_a_value_not_an_option(given, read):
    assert _join_layers(given) == read


def test_help_names_every_command():
    result = subprocess.run(
        [sys.executable, "-m", "zimage_layer_lab.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    for command in ("demo", "profile", "compare", "stats", "queue"):
        assert command in result.stdout


def test_a_missing_package_names_the_extra_that_brings_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    for name in ("show.console", "profile.stats"):
        monkeypatch.delitem(sys.modules, f"zimage_layer_lab.cli.{name}", raising=False)
    assert main(["stats", "show", str(tmp_path / "x")]) == 1
    assert 'pip install "zimage-layer-lab[demo]"' in capsys.readouterr().err
