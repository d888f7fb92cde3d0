"""Two real servers on Ray, of which one is killed while it draws; then what is left of them."""

import json
import os
import signal
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from zimage_layer_lab.cli.comfy.client import get_json
from zimage_layer_lab.cli.comfy.prompt import Limits
from zimage_layer_lab.cli.queue.worker import DONE, FAILED, Job

pytest.importorskip("ray", reason="ray, an optional extra, is not installed")

pytestmark = pytest.mark.slow

SLOW = {"size": 1024, "radius": 15}


@pytest.fixture(scope="module")
def pair(make_server):
    """Two servers without models; they may be killed."""
    servers = [make_server(), make_server()]
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda server: server.start(), servers))
        yield servers
    finally:
        for server in servers:
            server.stop()


def kill(server):
    """As a machine that loses its power: with all its processes, without a word."""
    os.killpg(server.pid, signal.SIGKILL)


def is_running(server):
    return bool(get_json(server.address, "/queue")["queue_running"])


def jobs(graph, *losses):
    """A job for each number of servers that went away before."""
    return [Job(n, str(uuid.uuid4()), graph, lost) for n, lost in enumerate(losses, start=1)]


def test_another_server_is_looked_for_as_long_as_contact_says(server, proxy):
    """One that loads a model gives no answer for a while."""
    from zimage_layer_lab.cli.queue.on_ray import least_busy

    proxy.lose_requests["GET /system_stats"] = 3
    assert least_busy([proxy.address, "127.0.0.1:9"], Limits(20, 20)) == proxy.address
    assert proxy.seen.count("GET /system_stats") == 4
    proxy.refusing = True
    assert least_busy([proxy.address, "127.0.0.1:9"], Limits(20, 0.5)) is None


def test_a_worker_that_finds_no_server_leaves_its_prompt_to_the_others(server, proxy, work):
    """The living server runs prompts, but gives those who look for one no answer."""
    from zimage_layer_lab.cli.queue.on_ray import run_on_servers

    proxy.lose_requests["GET /system_stats"] = 10**6
    servers = ["127.0.0.1:9", proxy.address]
    work.graph()
    graph = json.loads(work.workflow.read_text())
    outcomes = list(run_on_servers("local", servers, jobs(graph, 0, 0, 0), Limits(60, 1)))
    assert sorted(outcome.job.number for outcome in outcomes) == [1, 2, 3]
    assert {(outcome.status, outcome.server) for outcome in outcomes} == {(DONE, proxy.address)}
    assert any("answers at 127.0.0.1:9" in line for line in outcomes[-1].lost)


def test_a_prompt_that_three_servers_died_of_is_failed_whoever_had_it(work):
    from zimage_layer_lab.cli.queue.on_ray import ServerWorker

    worker = ServerWorker("127.0.0.1:9", ["127.0.0.1:9"], Limits(20, 0.2))
    (job,) = jobs({}, 2)
    outcome = worker.run(job)
    assert outcome.status == FAILED and "3 servers went away while they had it" in outcome.error


def test_a_server_killed_in_mid_run_costs_only_time(
    pair, work, layerlab_process, history, wait_until
):
    staying, dying = pair
    work.graph(**SLOW)
    numbers = list(range(1, 9))
    addresses = [server.address for server in pair]
    more = ["--contact", "1", "--settings", work.colours(*numbers)]
    process = layerlab_process(work.arguments(*addresses, more=more))
    wait_until(lambda: history(dying))
    ran_there = len(history(dying))
    wait_until(lambda: is_running(dying))
    kill(dying)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, (out, err)
    assert work.colours_saved() == numbers
    ends = work.ends()
    assert {number: ends[number]["status"] for number in ends} == dict.fromkeys(numbers, "done")
    assert len({name for line in ends.values() for name in line["files"]}) == len(numbers)
    by_server = [line["server"] for line in ends.values()]
    assert by_server.count(dying.address) >= ran_there - 1
    assert by_server.count(staying.address) == len(history(staying)) > len(numbers) // 2 - 1
    assert f"answers at {dying.address}" in err and "goes to another server" in err


def test_with_one_of_two_servers_down_the_other_does_all(pair, work, layerlab):
    work.graph()
    addresses = [server.address for server in pair]
    more = ["--settings", work.colours(1, 2)]
    status, _, err = layerlab(work.arguments(*addresses, more=more))
    assert status == 0 and f"Left out: no ComfyUI answers at {addresses[1]}" in err
    assert work.colours_saved() == [1, 2]


def test_a_server_that_was_started_anew_gets_the_prompt_again(
    pair, server, proxy, work, layerlab_process, history, wait_until
):
    """At the same address answers one that knows nothing of the prompt."""
    first, _ = pair
    proxy.point_to(first.address)
    work.graph(**SLOW)
    before = set(history(server))
    more = ["--settings", work.colours(25)]
    process = layerlab_process(work.arguments(proxy.address, more=more))
    wait_until(lambda: is_running(first))
    proxy.refusing = True
    proxy.cut("")
    wait_until(lambda: not is_running(first) and "GET /queue" in proxy.refused)
    proxy.point_to(server.address)
    proxy.refusing = False
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, (out, err)
    assert work.colours_saved() == [25]
    assert len(set(history(server)) - before) == 1


def test_when_the_last_server_dies_the_rest_is_left_for_a_later_run(
    pair, server, work, layerlab_process, layerlab, history, wait_until
):
    """With --ray and one server, which dies; then without, on another."""
    dying, _ = pair
    work.graph(**SLOW)
    before = set(history(dying))
    table = ["--settings", work.colours(*range(1, 7))]
    more = [*table, "--contact", "1", "--ray"]
    process = layerlab_process(work.arguments(dying.address, more=more))
    wait_until(lambda: len(set(history(dying)) - before) >= 2 and is_running(dying))
    kill(dying)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 4, (out, err)
    assert "no server is left" in err and "not reached" in " ".join(out.split())
    done = [number for number, line in work.ends().items() if line["status"] == "done"]
    assert 1 <= len(done) < 6
    before = set(history(server))
    assert layerlab(work.arguments(server.address, more=table))[0] == 0
    assert work.colours_saved() == list(range(1, 7))
    assert len(set(history(server)) - before) == 6 - len(done)
