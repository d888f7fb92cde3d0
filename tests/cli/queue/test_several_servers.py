"""Two real servers that share a list, of which one is killed while it draws; then what is left."""

import itertools
import json
import os
import signal
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from zimage_layer_lab.cli.comfy.address import Address
from zimage_layer_lab.cli.comfy.client import get_json, post_prompt
from zimage_layer_lab.cli.comfy.prompt import Limits
from zimage_layer_lab.cli.queue.keeping import Keeper
from zimage_layer_lab.cli.queue.sharing import Back, Lost, Progress, Sharing
from zimage_layer_lab.cli.queue.worker import DONE, FAILED, UNREACHED, Job, Outcome

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


def share(folder, servers, jobs, contact=5.0):
    """What the servers tell of ``jobs``: (outcomes by job, lost servers)."""
    sharing = Sharing(
        [Address.parse(server) for server in servers],
        jobs,
        Limits(60, contact),
        Keeper(folder, str).keep,
        str(uuid.uuid4()),
    )
    news = list(sharing.news())
    outcomes = [one for one in news if isinstance(one, Outcome)]
    assert len(outcomes) == len({outcome.job.number for outcome in outcomes})
    return {o.job.number: o for o in outcomes}, [one for one in news if isinstance(one, Lost)]


def make_jobs(work, count, **more):
    work.graph()
    graph = json.loads(work.workflow.read_text())
    return [Job(n, str(uuid.uuid4()), graph, **more) for n in range(1, count + 1)]


def test_a_server_that_is_away_leaves_its_prompt_to_the_others(server, work):
    outcomes, lost = share(work.out, ["127.0.0.1:9", server.address], make_jobs(work, 3))
    assert {(o.status, str(o.server)) for o in outcomes.values()} == {(DONE, server.address)}
    assert sorted(outcomes) == [1, 2, 3]
    assert [(str(one.server), one.passed_on) for one in lost] == [("127.0.0.1:9", True)]


def test_a_server_that_comes_back_while_others_work_gets_prompts_again(
    server, proxy, pair, work, wait_until
):
    """Its copy of the prompt that the other took is taken back, or has ended."""
    work.graph(**SLOW)
    graph = json.loads(work.workflow.read_text())
    again = threading.Event()

    def jobs():
        """As many as it takes for the server to come back, and one more for each."""
        for number in itertools.count(1):
            left = again.is_set()
            graph["1"]["inputs"]["color"] = number
            yield Job(number, str(uuid.uuid4()), json.loads(json.dumps(graph)))
            if left:
                return

    addresses = [Address.parse(pair[0].address), Address.parse(proxy.address)]
    keep = Keeper(work.out, str).keep
    sharing = Sharing(addresses, jobs(), Limits(120, 5), keep, str(uuid.uuid4()))
    told = []
    for news in sharing.news():
        told.append(news)
        if isinstance(news, Progress) and str(news.server) == proxy.address and not proxy.refused:
            proxy.refusing = True
            proxy.cut("")
        if isinstance(news, Lost):
            proxy.refusing = False
        if isinstance(news, Back):
            again.set()
    outcomes = [one for one in told if isinstance(one, Outcome)]
    assert {outcome.status for outcome in outcomes} == {DONE}
    numbers = [outcome.job.number for outcome in outcomes]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    back = next(n for n, one in enumerate(told) if isinstance(one, Back))
    assert str(told[back].server) == proxy.address
    assert proxy.address in {str(o.server) for o in told[back:] if isinstance(o, Outcome)}


def test_a_prompt_that_three_servers_went_away_with_is_failed_and_others_are_not_reached(work):
    away = ["127.0.0.1:9", "127.0.0.2:9", "127.0.0.3:9", "127.0.0.4:9"]
    outcomes, lost = share(work.out, away, make_jobs(work, 1), contact=0.1)
    assert outcomes[1].status == FAILED and "3 servers went away" in outcomes[1].error
    assert len(lost) == 3
    outcomes, _ = share(work.out, away[:2], iter(make_jobs(work, 3)), contact=0.1)
    assert UNREACHED in {outcome.status for outcome in outcomes.values()}


def test_what_a_server_has_from_an_earlier_run_is_left_to_it(server, pair, work, history):
    """It was queued there; the other server is idle, and asked first."""
    job = make_jobs(work, 1)[0]
    post_prompt(server.address, job.graph, "someone", job.prompt_id)
    before = set(history(pair[0]))
    job = job._replace(holder=Address.parse(server.address))
    outcomes, _ = share(work.out, [pair[0].address, server.address], [job])
    assert str(outcomes[1].server) == server.address and outcomes[1].status == DONE
    assert set(history(pair[0])) == before


def test_a_server_killed_in_mid_run_costs_only_time(
    pair, work, layerlab_process, history, wait_until
):
    staying, dying = pair
    work.graph(**SLOW)
    before = len(history(staying))
    numbers = list(range(1, 9))
    addresses = [server.address for server in pair]
    more = ["--contact", "5", "--settings", work.colours(*numbers)]
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
    stayed = by_server.count(staying.address)
    assert stayed == len(history(staying)) - before > len(numbers) // 2 - 1
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
    """Then the same command goes on with another server."""
    dying, _ = pair
    work.graph(**SLOW)
    before = set(history(dying))
    table = ["--settings", work.colours(*range(1, 7))]
    more = [*table, "--contact", "5"]
    process = layerlab_process(work.arguments(dying.address, more=more))
    wait_until(lambda: len(set(history(dying)) - before) >= 2 and is_running(dying))
    kill(dying)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 4, (out, err)
    assert f"answers at {dying.address}" in err and "not reached" in " ".join(out.split())
    done = [number for number, line in work.ends().items() if line["status"] == "done"]
    assert 1 <= len(done) < 6
    before = set(history(server))
    assert layerlab(work.arguments(server.address, more=table))[0] == 0
    assert work.colours_saved() == list(range(1, 7))
    assert len(set(history(server)) - before) == 6 - len(done)
