"""A profile depends on the model, the prompts and the options alone."""

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from zimage_layer_lab.cli.model.errors import ModelError
from zimage_layer_lab.cli.model.files import ModelFiles
from zimage_layer_lab.cli.model.prompt_tokenizer import tell_the_fixed_day

from ..conftest import ROOT, TEMPLATE, word_prompt

DATED = (
    "<s> w{{ strftime_now('%d')|int }} {{ strftime_now('%B') }} "
    "{{ 'w3' if date_string == '26 Jul 2024' else 'w4' }} é {{ messages[0]['content'] }}"
)
"""A chat template that knows the day, and is not ASCII."""


@pytest.fixture(scope="module")
def dated(tiny_model, tmp_path_factory):
    """(model, prompts): 40 prompts of tokens enough for several threads."""
    folder = tmp_path_factory.mktemp("determinism")
    model = Path(shutil.copytree(tiny_model("qwen3"), folder / "model"))
    (model / "chat_template.jinja").write_text(DATED, encoding="utf-8")
    prompts = folder / "prompts.txt"
    prompts.write_text("\n".join(word_prompt(n, 5 + n) for n in range(40)), encoding="utf-8")
    return model, prompts


def profile(model, prompts, threads=1, day="2026-01-02", backwards=0, **environment):
    """What determinism.py prints."""
    paths = [entry for entry in sys.path if entry and Path(entry).resolve() != ROOT]
    script = Path(__file__).with_name("determinism.py")
    arguments = [model, prompts, threads, day, backwards]
    result = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment},
        capture_output=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr.decode(errors="replace")
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def usual(dated):
    return profile(*dated)


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""A locale in which Python reads files as ASCII unless it is told otherwise."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "other",
    [{"day": "2031-02-03"}, {"backwards": 1}, ASCII, {"PYTHONHASHSEED": "7"}],
    ids=["day", "order of files", "locale", "hash seed"],
)
def test_the_process_changes_nothing(dated, usual, other):
    assert profile(*dated, **other) == usual


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["deepseek-ai/deepseek-r1-distill-llama-8b", "mistral-gpt2-bert", "模型 of mine"]
)
def test_the_folders_name_changes_nothing(dated, usual, tmp_path, name):
    model, prompts = dated
    assert profile(shutil.copytree(model, tmp_path / name), prompts) == usual


@pytest.mark.slow
def test_threads_change_no_figure_by_more_than_1e_6(dated, usual):
    """The states are the same; sums over tokens are added up in another order."""
    two = profile(*dated, threads=2)
    figures, others = usual.pop("figures"), two.pop("figures")
    assert two == usual
    for name, values in figures.items():
        index = name.partition(".")[0]
        size = np.hypot(figures[f"{index}.mean"], figures[f"{index}.std"])
        assert (np.abs(np.subtract(values, others[name])) <= 1e-6 * size).all()
    usual["figures"] = figures


def test_templates_are_told_one_day(dated):
    model, _ = dated
    tokenizer = ModelFiles.find(model).tokenizer()
    text = [tokenizer.text(one) for one in tokenizer.ids("w5")]
    assert text == ["<s>", "w26", "<unk>", "w3", "<unk>", "w5"]


def test_every_code_of_a_date_is_that_days_in_english():
    """Against Python's own strftime, in the C locale that tests run in."""
    day = datetime(2024, 7, 26, tzinfo=None)
    codes = [f"%{letter}" for letter in "YyGjmbBdaAuwUVWHIpMSfcxX%"] + ["%d %b %Y", "%A, %B %d"]
    template = tell_the_fixed_day("\n{% for code in codes %}[{{ strftime_now(code) }}]{% endfor %}")
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    text = environment.from_string(template).render(codes=codes)
    assert text == "\n" + "".join(f"[{day.strftime(code)}]" for code in codes)


def test_a_template_that_asks_for_no_day_stays_as_it_is():
    assert tell_the_fixed_day(TEMPLATE) == TEMPLATE


def test_a_model_is_not_guessed_from_its_folders_name(model_copy, tmp_path):
    config = json.loads((model_copy / "config.json").read_text())
    del config["model_type"]
    (model_copy / "config.json").write_text(json.dumps(config))
    for name in ("my-llama", "my-qwen3"):
        folder = shutil.copytree(model_copy, tmp_path / name)
        with pytest.raises(ModelError, match='does not say which model it is: .*no "model_type"'):
            ModelFiles.find(folder).config()
