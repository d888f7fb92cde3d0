"""Ctrl-C: what waits on the server is taken back, what runs is fetched by the next run."""

import signal

import pytest
from zimage_layer_lab.cli.comfy.client import get_json, post_prompt

from .conftest import light_graph

pytestmark = pytest.mark.slow


@pytest.fixture
def queue_of(server):
    """A function: the ids (running, waiting) in the server's queue."""

    def ids():
        found = get_json(server.address, "/queue")
        return [[item[1] for item in found[f"queue_{kind}"]] for kind in ("running", "pending")]

    return ids


def interrupted(process):
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode, " ".join(out.split()), " ".join(err.split())


def test_what_waits_is_taken_back_and_another_ones_prompts_are_left(
    server, work, layerlab, layerlab_process, queue_of, wait_until
):
    graphs = [light_graph(2048, 31), light_graph(1024, 31)]
    others = [post_prompt(server.address, graph, "someone").prompt_id for graph in graphs]
    work.graph()
    arguments = work.arguments(server.address, more=["--settings", work.colours(1, 2, 3)])
    process = layerlab_process(arguments)
    [mine] = wait_until(lambda: [i for i in queue_of()[1] if i not in others])
    status, _, err = interrupted(process)
    assert status == 130 and "1 taken back from a server's queue, 2 not begun" in err, err
    assert mine not in sum(queue_of(), [])
    for prompt_id in others:
        wait_until(lambda prompt_id=prompt_id: get_json(server.address, f"/history/{prompt_id}"))
    assert mine not in get_json(server.address, "/history")
    assert work.ends()[1]["status"] == "taken back"
    assert layerlab(arguments)[0] == 0 and work.colours_saved() == [1, 2, 3]


def test_what_runs_goes_on_and_is_fetched_by_the_next_run(
    server, work, layerlab, layerlab_process, queue_of, wait_until, history
):
    work.graph(size=1024, radius=31)
    before = set(history(server))
    arguments = work.arguments(server.address, more=["--settings", work.colours(5, 6)])
    process = layerlab_process(arguments)
    wait_until(lambda: queue_of()[0])
    status, _, err = interrupted(process)
    assert status == 130 and "1 still running on a server, 1 not begun" in err, err
    assert layerlab(arguments)[0] == 0 and work.colours_saved() == [5, 6]
    assert len(set(history(server)) - before) == 2
