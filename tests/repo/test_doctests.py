"""Every example in a docstring of core and of the command gives what it says."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest
import zimage_layer_lab.cli
import zimage_layer_lab.core

FINDER = doctest.DocTestFinder(exclude_empty=True)
OPTIONS = doctest.NORMALIZE_WHITESPACE


def examples():
    """(name, test) of every docstring with an example."""
    for package in (zimage_layer_lab.core, zimage_layer_lab.cli):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            path = Path(module.module_finder.path) / f"{module.name.rpartition('.')[2]}.py"
            if module.ispkg or ">>>" not in path.read_text(encoding="utf-8"):
                continue  # The command's modules need packages that core does not.
            imported = importlib.import_module(module.name)
            yield from (test for test in FINDER.find(imported) if test.examples)


EXAMPLES = list(examples())


@pytest.mark.parametrize("test", EXAMPLES, ids=lambda test: test.name.partition(".")[2])
def test_an_example_gives_what_it_says(test):
    said = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
    runner.run(test, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


MAIN = """
edit.blending.blend dit.view.dit_change record.embedding_file.load_embedding
edit.layer_mix.mix_layers encoder.layers.hidden_state_index encoder.layers.parse_layers
encoder.layers.parse_layer_weights edit.masking.mask_outlier_dimensions edit.normalizing.normalize
outliers.detection.get_outlier_dimensions encoder.prompt.build_prompt
outliers.detection.ratio_in_words measure.reference.load_reference edit.scheduling.schedule
measure.sinks.find_sinks edit.style_delta.add_style edit.token_fit.fit_tokens
encoder.image_size.token_grid
""".split()


@pytest.mark.parametrize("function", MAIN)
def test_the_main_functions_have_one(function):
    assert f"zimage_layer_lab.core.{function}" in {test.name for test in EXAMPLES}
