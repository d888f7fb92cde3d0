"""The ways in which a seed reaches a sampler, and what `--repeat` does with each."""

import pytest
from zimage_layer_lab.cli.queue.seeds import find_seeds
from zimage_layer_lab.cli.queue.settings import make_rows
from zimage_layer_lab.cli.queue.workflow import Workflow


def node(kind, title="", **inputs):
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": title or kind}}


def primitive(value=5):
    return node("PrimitiveInt", "Seed", value=value)


def sampler(seed=("p", 0), name="seed"):
    return node("KSampler", "Draw", **{name: list(seed) if isinstance(seed, tuple) else seed})


MOVED = {
    "itself": ({"s": sampler(5)}, {"s.seed": 6}),
    "as noise_seed": ({"s": sampler(5, "noise_seed")}, {"s.noise_seed": 6}),
    "under a pack's own name": ({"s": sampler(5, "seed_num")}, {"s.seed_num": 6}),
    "as a second seed": ({"s": sampler(5, "variation_seed")}, {"s.variation_seed": 6}),
    "numbered": ({"s": sampler(5, "seed_2")}, {"s.seed_2": 6}),
    "in an input of several": ({"s": sampler(5, "samplers.first.seed")}, None),
    "as text": ({"s": sampler("5")}, {"s.seed": "6"}),
    "from a primitive": ({"s": sampler(), "p": primitive()}, {"p.value": 6}),
    "from a subgraph": ({"7:1": sampler(("7:2", 0)), "7:2": primitive()}, {"7:2.value": 6}),
    "from a seed node": (
        {"s": sampler(), "p": node("Seed (rgthree)", seed=5, first=1, last=9)},
        {"p.seed": 6},
    ),
    "from a node with limits": (
        {"s": sampler(), "p": node("INTConstant", value=5, min=0, max=9)},
        {"p.value": 6},
    ),
    "through a node": (
        {"s": sampler(), "p": node("Reroute", a=["q", 0]), "q": primitive()},
        {"q.value": 6},
    ),
    "through three nodes": (
        {
            "s": sampler(),
            "p": node("Pass", a=["x", 0]),
            "x": node("Pass", a=["y", 0]),
            "y": node("Pass", a=["q", 0]),
            "q": primitive(),
        },
        {"q.value": 6},
    ),
    "through a sum": (
        {"s": sampler(), "p": node("Add", a=["q", 0], b=100), "q": primitive()},
        {"q.value": 6},
    ),
    "through a formula": (
        {"s": sampler(), "p": node("Maths", expression="a * 7", a=["q", 0]), "q": primitive()},
        {"q.value": 6},
    ),
    "through a switch": (
        {
            "s": sampler(),
            "p": node("Switch", index=1, one=["q", 0], two=["r", 0]),
            "q": primitive(),
            "r": primitive(50),
        },
        {"q.value": 6, "r.value": 51},
    ),
    "from text": (
        {"s": sampler(), "p": node("ToInt", text=["q", 0]), "q": node("Text", value="5")},
        {"q.value": "6"},
    ),
    "as noise": (
        {"s": node("SamplerCustom", noise=["p", 0]), "p": node("RandomNoise", noise_seed=5)},
        {"p.noise_seed": 6},
    ),
    "shared by two samplers": (
        {"s": sampler(), "t": sampler(), "p": primitive()},
        {"p.value": 6},
    ),
    "through a node, and itself": (
        {"s": sampler(5), "t": sampler(("p", 0)), "p": node("Pass", a=["q", 0]), "q": primitive(9)},
        {"s.seed": 6, "q.value": 10},
    ),
    "past a circle": (
        {"s": sampler(), "p": node("Pass", a=["s", 0], b=["q", 0]), "q": primitive()},
        {"q.value": 6},
    ),
}
FIXED = {
    "drawn by the node": ({"s": sampler(-1)}, "'seed' of node s \"Draw\" (KSampler) is -1"),
    "a primitive's -1": ({"s": sampler(), "p": primitive(-1)}, "'value' of node p \"Seed\""),
    "drawn by another node": (
        {"s": sampler(), "p": node("RandomInt", "Dice")},
        '\'seed\' of node s "Draw" (KSampler) comes from node p "Dice" (RandomInt)',
    ),
    "one of several numbers": (
        {"s": sampler(), "p": node("Sum", x=1, y=2)},
        'comes from node p "Sum" (Sum)',
    ),
    "a picture's width": (
        {
            "s": sampler(),
            "p": node("GetImageSize", image=["q", 0]),
            "q": node("EmptyImage", width=64, height=64, batch_size=1, color=0),
        },
        'comes from node p "GetImageSize"',
    ),
    "a switch's choice": (
        {"s": sampler(), "p": node("Switch", index=1, one=["q", 0]), "q": node("RandomInt")},
        'comes from node p "Switch"',
    ),
}
NONE = {
    "a mode of the seed": {"s": node("Sampler", seed_mode=1, use_seed=True, reseed=3)},
    "no seed at all": {"s": node("Blur", radius=3, sigma=1.0)},
}


def changed(graph, turn):
    rows, _ = make_rows(Workflow(graph), repeat=turn + 1)
    there = rows[turn].graph
    return {
        f"{node_id}.{name}": value
        for node_id, node in there.items()
        for name, value in node["inputs"].items()
        if value != graph[node_id]["inputs"][name]
    }


@pytest.mark.parametrize("way", MOVED)
def test_a_seed_is_moved_whichever_way_it_comes_and_nothing_else_is(way):
    graph, expected = MOVED[way]
    expected = expected or {"s.samplers.first.seed": 6}
    assert changed(graph, 1) == expected
    assert changed(graph, 0) == {}
    assert find_seeds(Workflow(graph)).fixed == []


@pytest.mark.parametrize("way", FIXED)
def test_a_seed_that_cannot_be_moved_is_named_and_nothing_is_moved(way):
    graph, said = FIXED[way]
    [line] = find_seeds(Workflow(graph)).fixed
    assert said in line
    assert changed(graph, 1) == {}


@pytest.mark.parametrize("way", NONE)
def test_what_only_sounds_like_a_seed_is_left(way):
    assert find_seeds(Workflow(NONE[way])) == ([], [])


def test_seed_0_moves_like_any_other():
    rows, _ = make_rows(Workflow({"s": node("KSampler", seed=0)}), repeat=3)
    assert [row.graph["s"]["inputs"]["seed"] for row in rows] == [0, 1, 2]
