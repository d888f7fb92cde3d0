"""The command line itself: words that argparse would misread, and missing packages."""

import atexit
import gc
import subprocess
import sys

import pytest
from zimage_layer_lab import cli
from zimage_layer_lab.cli import _join_layers, main
from zimage_layer_lab.core.checks import LayerLabError


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


def test_the_installed_command_looks_for_garbage_seldom_and_not_at_its_end(monkeypatch):
    before, seen, at_end = gc.get_threshold(), [], []
    monkeypatch.setattr(cli, "main", lambda: seen.append(gc.get_threshold()) or 3)
    monkeypatch.setattr(atexit, "register", at_end.append)
    try:
        assert cli.run() == 3
    finally:
        gc.set_threshold(*before)
    assert seen == [(10_000, *before[1:])] and gc.isenabled() and at_end == [gc.freeze]


def test_a_missing_package_names_the_extra_that_brings_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    for name in ("show.console", "profile.stats"):
        monkeypatch.delitem(sys.modules, f"zimage_layer_lab.cli.{name}", raising=False)
    assert main(["stats", "show", str(tmp_path / "x")]) == 1
    assert 'pip install "zimage-layer-lab[demo]"' in capsys.readouterr().err


class Mendable(LayerLabError):
    """An error with an exit status of its own."""

    exit_status = 4


@pytest.mark.parametrize(
    ("error", "status"),
    [(LayerLabError("why, and what to do"), 1), (Mendable("why, and what to do"), 4)],
)
def test_an_error_of_the_pack_is_one_line_and_its_exit_status(monkeypatch, capsys, error, status):
    from zimage_layer_lab.cli.profile import stats

    def fail(options):
        raise error

    monkeypatch.setattr(stats, "run_show", fail)
    assert main(["stats", "show", "x"]) == status
    assert capsys.readouterr().err == "layerlab stats show: why, and what to do\n"


def test_a_mistake_in_the_program_is_not_hidden(monkeypatch):
    from zimage_layer_lab.cli.profile import stats

    def fail(options):
        raise ValueError("a bug")

    monkeypatch.setattr(stats, "run_show", fail)
    with pytest.raises(ValueError, match="a bug"):
        main(["stats", "show", "x"])


def test_every_error_class_of_the_command_is_one_of_the_pack():
    import importlib
    import pkgutil

    from zimage_layer_lab import cli

    found = []
    for module in pkgutil.walk_packages(cli.__path__, f"{cli.__name__}."):
        if module.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, Exception):
                if value.__module__ == module.name and not value.__name__.startswith("_"):
                    found.append(value)
    assert len(found) > 10
    assert not [kind for kind in found if not issubclass(kind, LayerLabError)]
