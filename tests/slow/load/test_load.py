"""One server, 300 queued prompts, good and bad ones in turn.

Every good one's states are hashed inside the server and compared with the first of their kind, and
with ComfyUI's own encoding where there is one. Memory, threads and open files are the system's own
figures for the server's process.
"""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest
from zimage_layer_lab.cli.comfy.client import PromptRefused, get_json, post_prompt

from ..faults.conftest import NIGHTLY
from ..faults.servers import how_it_ended, shown
from .graphs import BAD, COMMON, RARE, TEXTS, node, whole

PROMPTS, EARLY = 500 if NIGHTLY else 300, 50
GROWTH = 0.03
BAD_EVERY, RARE_EVERY = 3, 8


def plan(number):
    """(kind, text, graph, how it ends): every third prompt a bad one, the others in rotation."""
    turn, place = divmod(number, BAD_EVERY)
    text = TEXTS[number % len(TEXTS)]
    if place == BAD_EVERY - 1:
        kind = list(BAD)[turn % len(BAD)]
        graph, end = BAD[kind]
        graph = graph(text, number)
        # One more output would make a graph that is refused one of which the rest is run.
        return kind, text, with_both(graph, number) if end else whole(graph), end
    good = (BAD_EVERY - 1) * turn + place
    turn, place = divmod(good, RARE_EVERY)
    kinds = COMMON
    if place == RARE_EVERY - 1:
        kinds, good = RARE, turn
        text = TEXTS[turn // len(RARE) % len(TEXTS)]
    kind = list(kinds)[good % len(kinds)]
    return kind, text, with_both(kinds[kind](text, number), number), "done"


def with_both(graph, number):
    """Both encoders looked at in every graph: the host lets a loader go that a graph lacks."""
    look = {
        name: node("LayerLabTestState", clip=[name, 0], nonce=number) for name in ("qwen", "vl")
    }
    return whole({**graph, **{f"look at {name}": looking for name, looking in look.items()}})


class Figures(NamedTuple):
    """What the system says of a process: resident bytes, threads, and its open files."""

    resident: int
    threads: int
    files: list[str]

    @classmethod
    def of(cls, pid):
        status = Path(f"/proc/{pid}/status").read_text()
        [threads] = [line.split()[1] for line in status.splitlines() if line.startswith("Threads:")]
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        files = open_files(pid)
        # What the test itself asks the server comes and goes on a socket.
        files = sorted(name for name in files if not name.startswith("socket:"))
        return cls(pages * os.sysconf("SC_PAGE_SIZE"), int(threads), files)

    def __str__(self):
        return f"{self.resident / 1e6:.1f} MB, {self.threads} threads, {len(self.files)} files"


def open_files(pid):
    """What each of the process's open files is; connections close while they are being read."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(os.readlink(entry))
    return found


def open_sockets(pid):
    """How many; a closed connection takes the server a moment."""
    return sum(name.startswith("socket:") for name in open_files(pid))


class Load:
    """Prompts that were queued, and how they ended."""

    def __init__(self, server):
        self.server = server
        self.queued = {}
        self.refused = []

    def queue(self, numbers):
        for number in numbers:
            kind, text, graph, end = plan(number)
            prompt_id = str(uuid4())
            try:
                post_prompt(self.server.address, graph, "load", prompt_id)
                self.queued[prompt_id] = (kind, text, end)
            except PromptRefused as refusal:
                self.refused.append((kind, end, str(refusal)))

    def finish(self, seconds=1200):
        deadline = time.monotonic() + seconds
        while True:
            queue = get_json(self.server.address, "/queue")
            if not queue["queue_running"] and not queue["queue_pending"]:
                return
            assert time.monotonic() < deadline, "the queue does not end"
            time.sleep(0.1)

    def ends(self):
        """(kind, text, expected end, history entry) of each in the order of queueing."""
        history = get_json(self.server.address, "/history?max_items=1000")
        return [(*told, history[prompt_id]) for prompt_id, told in self.queued.items()]


@pytest.fixture(scope="module")
def load(server):
    """All 500 run; the process's figures after 50 and after 500."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("this system has no /proc, from which the server's figures are read")
    load = Load(server)
    time.sleep(1)
    load.sockets = open_sockets(server.pid)
    load.queue(range(EARLY))
    load.finish()
    load.early = Figures.of(server.pid)
    started = time.monotonic()
    load.queue(range(EARLY, PROMPTS))
    load.finish()
    load.late = Figures.of(server.pid)
    sys.stdout.write(
        f"{PROMPTS} prompts; the last {PROMPTS - EARLY} in {time.monotonic() - started:.0f} s; "
        f"after {EARLY}: {load.early}; after {PROMPTS}: {load.late}\n"
    )
    return load


def test_every_prompt_ends_as_it_should(load):
    ends = load.ends()
    wrong = [(k, t, e, how_it_ended(x)) for k, t, e, x in ends if how_it_ended(x) != e]
    assert not wrong
    assert all(end is None for _, end, _ in load.refused)
    assert {kind for kind, *_ in load.refused} == {k for k, (_, end) in BAD.items() if end is None}
    assert len(ends) + len(load.refused) == PROMPTS


def test_all_good_ones_are_bitwise_as_the_first_of_their_kind(load):
    first = {}
    for kind, text, end, entry in load.ends():
        if end == "done":
            hashes = [part["sha256"] for part in shown(entry)]
            assert first.setdefault((kind, text), hashes) == hashes, (kind, text)
    assert len(first) == (len(COMMON) + len(RARE)) * len(TEXTS)
    for kind in COMMON | RARE:
        assert len({tuple(first[kind, text]) for text in TEXTS}) == len(TEXTS), kind
    for text in TEXTS:
        assert first["plain", text] == first["stock", text]
        assert first["swept", text][:2] == [*first["stock", text], *first["shallow", text]]


def test_they_were_really_encoded_and_not_answered_from_memory(load):
    for kind, _, end, entry in load.ends():
        if end == "done":
            cached = [
                name
                for event, data in entry["status"]["messages"]
                if event == "execution_cached"
                for name in data["nodes"]
            ]
            assert "a" not in cached and "end" not in cached, kind


def test_the_encoder_is_whole_after_every_failure(load):
    """Every good prompt looks at both encoders, and a failed one goes before it."""
    looked = [
        part
        for _, _, end, entry in load.ends()
        if end == "done"
        for place in ("end", "look at qwen", "look at vl")
        for part in shown(entry, place)
    ]
    assert len(looked) > PROMPTS
    assert {(part["blocks"], part["hooks"]) for part in looked} == {(8, 0)}


def test_out_of_memory_is_told_in_comfyuis_own_words(load):
    told = [
        entry["status"]["messages"][-1][1]
        for kind, _, _, entry in load.ends()
        if kind == "out of memory"
    ]
    assert told
    for data in told:
        assert "Allocation on device 0 would exceed allowed memory" in data["exception_message"]
        assert "you ran out of memory" in data["exception_message"]
        assert data["node_type"] == "LayerLabQwen3Encode"
    assert "Got an OOM, unloading all loaded models" in load.server.log_path.read_text()


def test_many_prompts_need_no_more_memory_threads_or_files_than_50(load):
    early, late = load.early, load.late
    assert late.resident <= early.resident * (1 + GROWTH), f"{early} and then {late}"
    assert late.threads <= early.threads
    assert late.files == early.files
    deadline = time.monotonic() + 30
    while (sockets := open_sockets(load.server.pid)) > load.sockets:
        assert time.monotonic() < deadline, f"{sockets} sockets, before the load {load.sockets}"
        time.sleep(0.2)


def test_the_pack_loaded_twice_has_each_node_once(server):
    listed = get_json(server.address, "/object_info")
    ours = {kind: info for kind, info in listed.items() if kind.startswith("LayerLab")}
    assert len(ours) == 32 + 2
    ends = ("custom_nodes/zimage-layer-lab", "custom_nodes/zimage-layer-lab1")
    log = server.log_path.read_text().splitlines()
    loaded = [line for line in log if line.endswith(ends)]
    assert len(loaded) == 2 and not [line for line in loaded if "IMPORT FAILED" in line], loaded
