"""The table of bad input (tests/bad_input) for the command line: a status, a message, no trace."""

import argparse
import re

import pytest
from zimage_layer_lab.cli import _parser, main

from ..bad_input.command_files import write_command_files
from ..bad_input.commands import NO_SERVER, ROWS, USAGE
from ..bad_input.files import write_files

IN_A_PROCESS = [
    next(call for call in ROWS if call.command == command) for command in ("profile", "queue")
]
"""These are started as users start them; all others run in this process."""


@pytest.fixture(scope="module")
def places(tiny_model, tmp_path_factory, pack_root, prompt_file):
    """What the words in braces stand for."""
    here = tmp_path_factory.mktemp("bad_commands") / "input"
    here.mkdir()
    model = tiny_model()
    write_files(here)
    write_command_files(here, model)
    (here / "prompts.txt").write_text("w1 w2 w3\n", encoding="utf-8")
    done = here / "done"
    given = ["--prompts", str(here / "prompts.txt"), "--out", str(done)]
    assert main(["profile", str(model), *given]) == 0
    workflow = pack_root / "workflows" / "api" / "layer_compare.json"
    return {"here": here, "model": model, "profile": done, "workflow": workflow}


def words(call, places):
    return [*call.command.split(), *(word.format_map(places) for word in call.words)]


def contents(folder):
    """Every file with its size and time: what a refusal must leave as it was."""
    return {
        path: (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def require_refusal(call, status, said):
    message = " ".join(said.split())
    assert status == call.status, message
    assert re.search(call.says, message), message
    assert "Traceback" not in message and len(message) > 20


@pytest.mark.parametrize("call", ROWS, ids=lambda call: call.name)
def test_a_bad_call_ends_with_a_message_on_stderr_and_writes_nothing(call, places, capsys):
    before = contents(places["here"])
    try:
        status = main(words(call, places))
    except SystemExit as stopped:
        status = stopped.code
    require_refusal(call, status, capsys.readouterr().err)
    assert contents(places["here"]) == before


@pytest.mark.parametrize("call", IN_A_PROCESS, ids=lambda call: call.name)
def test_as_a_process_it_ends_in_the_same_way(call, places, layerlab_process):
    process = layerlab_process(*words(call, places))
    _, said = process.communicate(timeout=120)
    require_refusal(call, process.returncode, said)


def options_of(parser, command=""):
    """(command, option) for every argument, subcommands included."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield command, action.metavar
            for name, sub in action.choices.items():
                yield from options_of(sub, f"{command} {name}".strip())
        elif action.dest != "help":
            yield command, (action.option_strings or [action.dest])[0]


def test_every_option_of_every_command_has_a_row():
    there = set(options_of(_parser()))
    rows = {(call.command, call.option) for call in ROWS}
    assert there == rows
    assert len(ROWS) > 100 and len({call.name for call in ROWS}) == len(ROWS)
    assert {call.status for call in ROWS} == {1, USAGE, NO_SERVER}
