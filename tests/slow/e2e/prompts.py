"""Queueing a graph on a real server and reading what comes out."""

import io
import uuid
from itertools import combinations

import numpy as np
from PIL import Image
from zimage_layer_lab.cli.comfy.client import fetch_image, output_images
from zimage_layer_lab.cli.comfy.prompt import Limits, run_prompt

TIMEOUT = 600


def run_and_read(server, graph: dict) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Queue ``graph``, wait, and return its images by file name prefix and its texts by node id."""
    limits = Limits(prompt=TIMEOUT, contact=TIMEOUT)
    entry = run_prompt(server.address, graph, str(uuid.uuid4()), limits).entry
    pictures = {
        image["filename"].rsplit("_", 2)[0]: np.asarray(
            Image.open(io.BytesIO(fetch_image(server.address, image)))
        )
        for image in output_images(entry)
    }
    texts = {
        number: "\n\n".join(shown["text"])
        for number, shown in entry["outputs"].items()
        if "text" in shown
    }
    return pictures, texts


def run(server, graph: dict) -> dict[str, np.ndarray]:
    """Queue ``graph``, wait, and return its images by file name prefix."""
    return run_and_read(server, graph)[0]


def by_title(graph: dict, title: str) -> str:
    """The id of the one node with that title."""
    titles = {number: node.get("_meta", {}).get("title") for number, node in graph.items()}
    [number] = [number for number, named in titles.items() if named == title]
    return number


def require_all_different(pictures: dict[str, np.ndarray]) -> None:
    for one, other in combinations(sorted(pictures), 2):
        assert not np.array_equal(pictures[one], pictures[other]), (one, other)


def inputs_of(graph: dict, class_type: str) -> list[dict]:
    return [node["inputs"] for node in graph.values() if node["class_type"] == class_type]


def place_of(cell: np.ndarray, whole: np.ndarray) -> tuple[int, int]:
    """Row and column of the one place of ``whole`` that shows ``cell``.

    To one level: Save Image cuts decimals off, Compare Grid rounds.
    """
    height, width, _ = cell.shape
    wanted = cell.astype(np.int16)
    windows = np.lib.stride_tricks.sliding_window_view(whole.astype(np.int16), cell.shape)[:, :, 0]
    # Every 16th pixel first: all of them at every place would fill the memory.
    rough = abs(windows[:, :, ::16, ::16] - wanted[::16, ::16]).max(axis=(2, 3, 4)) <= 1
    places = [
        (int(y), int(x))
        for y, x in np.argwhere(rough)
        if abs(whole[y : y + height, x : x + width] - wanted).max() <= 1
    ]
    assert len(places) == 1, f"{len(places)} places"
    return places[0]
