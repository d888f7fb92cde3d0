"""Every example in a docstring of core and of the command gives what it says."""

import doctest
import importlib
import pkgutil

import pytest
import zimage_layer_lab.cli
import zimage_layer_lab.core

from .test_house import ROOT

FINDER = doctest.DocTestFinder(exclude_empty=True)
OPTIONS = doctest.NORMALIZE_WHITESPACE


def examples():
    """(name, test) of every docstring with an example."""
    for package in (zimage_layer_lab.core, zimage_layer_lab.cli):
        for module in pkgutil.iter_modules(package.__path__):
            path = ROOT / package.__name__.rpartition(".")[2] / f"{module.name}.py"
            if ">>>" not in path.read_text(encoding="utf-8"):
                continue  # The command's modules need packages that core does not.
            imported = importlib.import_module(f"{package.__name__}.{module.name}")
            yield from (test for test in FINDER.find(imported) if test.examples)


EXAMPLES = list(examples())


@pytest.mark.parametrize("test", EXAMPLES, ids=lambda test: test.name.partition(".")[2])
def test_an_example_gives_what_it_says(test):
    said = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
    runner.run(test, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


MAIN = """
blending.blend dit_view.dit_change embedding_file.load_embedding
layer_mix.mix_layers layers.hidden_state_index layers.parse_layers layers.parse_layer_weights
masking.mask_outlier_dimensions normalizing.normalize outliers.get_outlier_dimensions
prompt.build_prompt outliers.ratio_in_words reference.load_reference scheduling.schedule
sinks.find_sinks style_delta.add_style token_fit.fit_tokens vision.token_grid
""".split()


@pytest.mark.parametrize("function", MAIN)
def test_the_main_functions_have_one(function):
    assert f"zimage_layer_lab.core.{function}" in {test.name for test in EXAMPLES}
