"""Compare Grid in the real ComfyUI: its lists, its refusals and what it shows."""

import json

import numpy as np
import pytest
import torch

from .stock import output


@pytest.fixture
def node(pack):
    return pack.CompareGrid


def images(count: int, height: int = 96, width: int = 80) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(7)
    # 255 k / 1001 is never halfway between two 8-bit levels.
    return [torch.randint(1002, (1, height, width, 3), generator=rng) / 1001 for _ in range(count)]


def pixels(image: torch.Tensor) -> np.ndarray:
    return np.floor(image.double().numpy() * 255 + 0.5).astype(np.uint8)


def places(picture: np.ndarray, image: np.ndarray) -> list[tuple[int, int]]:
    """Top and left of every place in ``picture`` that equals ``image``."""
    height, width, _ = image.shape
    return [
        (int(y), int(x))
        for y, x in np.argwhere((picture == image[0, 0]).all(-1))
        if np.array_equal(picture[y : y + height, x : x + width], image)
    ]


def place(picture: np.ndarray, image: np.ndarray) -> tuple[int, int]:
    """The only one of them."""
    [at] = places(picture, image)
    return at


def grid(node, batches, **inputs) -> tuple[np.ndarray, str]:
    """The picture as 8-bit pixels and the report."""
    image, report = output(node, images=batches, **inputs).args
    assert image.dtype == torch.float32 and image.shape[0] == 1 and image.shape[3] == 3
    return pixels(image[0]), report


def test_a_list_of_images_and_labels_becomes_one_picture_and_a_table(node):
    batches = images(5)
    picture, report = grid(node, batches, labels=[f"layer {-i}" for i in range(2, 7)])
    places = [place(picture, pixels(image[0])) for image in batches]
    assert places == sorted(places) and len({top for top, _ in places}) == 2
    lines = report.splitlines()
    assert "5 images in 2 x 3" in lines[0] and "layer -2" in lines[0]
    assert [line.split()[0] for line in lines[2:7]] == list("01234")
    assert [line.split()[-1] for line in lines[2:7]] == ["-2", "-3", "-4", "-5", "-6"]


def test_the_picture_is_shown_on_the_node_as_it_is_handed_over(node, host):
    from PIL import Image

    result = output(node, images=images(2), labels=["a", "b"])
    [shown] = result.ui["images"]
    path = f"{host.folder_paths.get_temp_directory()}/{shown['filename']}"
    assert np.array_equal(np.asarray(Image.open(path)), pixels(result.args[0][0]))


def written(host, cell: list) -> np.ndarray:
    """The picture of a cell that the node's answer names."""
    from PIL import Image

    filename, subfolder, kind = cell[:3]
    assert kind == "temp"
    return np.asarray(
        Image.open(f"{host.folder_paths.get_temp_directory()}/{subfolder}/{filename}")
    )


@pytest.mark.parametrize("silent", [False, True])
def test_its_file_tells_the_prompt_unless_the_host_writes_no_metadata(
    node, host, monkeypatch, silent
):
    import comfy.cli_args
    from comfy_api.latest import _io
    from PIL import Image

    monkeypatch.setattr(comfy.cli_args.args, "disable_metadata", silent)
    prompt = {"3": {"class_type": "LayerLabCompareGrid", "inputs": {"labels": "é\n€"}}}
    run = node.PREPARE_CLASS_CLONE({"hidden_inputs": {_io.Hidden.prompt: prompt}})
    [shown] = output(run, images=images(2)).ui["images"]
    file = Image.open(f"{host.folder_paths.get_temp_directory()}/{shown['filename']}")
    told = {} if silent else {"prompt": prompt}
    assert {name: json.loads(text) for name, text in file.text.items()} == told


def test_every_cell_is_written_for_the_viewer_as_it_is_with_its_label_and_size(node, host):
    batches = [*images(2), *images(1, 40, 120)]
    result = output(node, images=batches, labels=["low\nmid\nhigh"], baseline=[1])
    cells = result.ui["cells"]
    assert [cell[3:] for cell in cells] == [["low", 80, 96], ["mid", 80, 96], ["high", 120, 40]]
    for cell, image in zip(cells, batches, strict=True):
        assert np.array_equal(written(host, cell), pixels(image[0]))
    assert result.ui["baseline"] == [1]


def test_the_host_counts_no_cell_as_a_picture_of_the_node(node):
    """Jobs of the page show every dict of a node's answer as one more picture."""
    ui = output(node, images=images(3)).ui
    pictures = [one for values in ui.values() for one in values if isinstance(one, dict)]
    assert pictures == ui["images"] and len(pictures) == 1


def test_a_cell_without_an_image_keeps_its_place_and_titles_name_cells_without_labels(node):
    one, other = images(2)
    cells = output(node, images=[one, None, other], column_titles=["x, y, z"]).ui["cells"]
    assert [cell[3] for cell in cells] == ["row 1 / x", "row 1 / y", "row 1 / z"]
    assert cells[1][:3] == ["", "", ""] and cells[1][4:] == [0, 0]
    assert cells[0][0] and cells[2][0]


def test_an_only_image_is_not_written_twice(node, host):
    from pathlib import Path

    folder = Path(host.folder_paths.get_temp_directory())
    before = len(list(folder.glob("*.png")))
    cells = output(node, images=images(1)).ui["cells"]
    assert cells == [["", "", "", "1", 80, 96]]
    assert len(list(folder.glob("*.png"))) == before + 1


def test_many_large_cells_are_written_smaller_and_keep_their_own_size_in_words(
    node, host, monkeypatch
):
    """A limit of a quarter of the pixels stands in for the real one of 64 x 1024 x 1024."""
    import sys

    module = sys.modules[node.__module__]
    monkeypatch.setattr(module, "MOST_SHOWN", 4 * 96 * 80 // 4)
    result = output(node, images=images(4))
    assert [written(host, cell).shape for cell in result.ui["cells"]] == [(48, 40, 3)] * 4
    assert [cell[4:] for cell in result.ui["cells"]] == [[80, 96]] * 4
    place(pixels(result.args[0][0]), pixels(images(4)[3][0]))


def from_host(node, **inputs) -> tuple:
    """What ``execute`` is given for the inputs of a prompt, here values in place of links."""
    from comfy_api.latest import _io

    live = {name: [value, 0] for name, value in inputs.items()}
    _, _, v3_data = _io.get_finalized_class_inputs(node.INPUT_TYPES(), live)
    return _io.build_nested_inputs(inputs, v3_data)


def test_sockets_are_cells_after_those_of_the_list_in_the_order_of_their_numbers(node):
    one, two, three, four = images(4)
    given = from_host(
        node, images=[one], **{"more_images.image10": [four], "more_images.image2": [two, three]}
    )
    picture, report = grid(node, given.pop("images"), **given, columns=[4])
    tops = [place(picture, pixels(image[0])) for image in (one, two, three, four)]
    assert tops == sorted(tops, key=lambda at: at[1]) and len({top for top, _ in tops}) == 1
    assert "4 images in 1 x 4" in report
    same, _ = grid(node, [one, two, three, four], columns=[4])
    assert np.array_equal(picture, same)


def test_without_a_socket_everything_is_as_before(node):
    given = from_host(node, images=images(2))
    assert given.pop("images") and set(given) <= {"more_images"}
    picture, report = grid(node, images(2), **given)
    before, table = grid(node, images(2))
    assert np.array_equal(picture, before) and report == table


def test_labels_are_one_per_image_whichever_way_it_comes(node):
    one, two = images(2)
    more = {"image2": [two]}
    _, report = grid(node, [one], more_images=more, labels=["list", "socket"])
    assert [line.split()[-1] for line in report.splitlines()[2:4]] == ["list", "socket"]
    with pytest.raises(ValueError, match="1 label for 2 images"):
        grid(node, [one], more_images=more, labels=["a"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "input more_images.image7 is an empty list"),
        ([torch.full((1, 8, 8, 3), float("nan"))], "^more_images.image7 holds NaN or infinity"),
        ([torch.ones(1, 8, 8, 2)], "^more_images.image7 has 2 channels"),
        (
            [torch.ones(1, 8, 8, 3), torch.ones(8, 8, 3)],
            "image 2 of the list at more_images.image7",
        ),
    ],
)
def test_what_is_wrong_at_a_socket_is_said_with_its_name(node, values, message):
    with pytest.raises(ValueError, match=message):
        grid(node, images(1), more_images={"image7": values})


def test_the_labels_of_layer_sweep_fit_its_images(node, pack, clip):
    """One label per batch, as where a sampler makes two images of each conditioning."""
    _, labels = pack.LayerSweep.execute(
        clip=clip, text="a fox", layers="-2, -6", system_prompt="", think_block="none"
    ).args
    two = [torch.cat(images(2)), torch.cat(images(2, 64, 64))]
    _, report = grid(node, two, labels=labels)
    ends = [line.split("  ")[-1].strip() for line in report.splitlines()[2:6]]
    assert ends == ["layer -2 #1", "layer -2 #2", "layer -6 #1", "layer -6 #2"]


@pytest.mark.parametrize("labels", [["a"], ["a", "b", "c"], ["a\nb\nc"]])
def test_fewer_or_more_labels_than_images_are_refused(node, labels):
    with pytest.raises(ValueError, match=r"[13] labels? for 2 images"):
        grid(node, images(2), labels=labels)


def test_typed_titles_make_a_two_axis_grid_with_a_missing_cell(node):
    batches = images(5)
    picture, report = grid(
        node, batches, row_titles=["layer -2, layer -6"], column_titles=["zero\nclamp\nscale"]
    )
    places = [place(picture, pixels(image[0])) for image in batches]
    assert places[3][0] > places[0][0] and places[3][1] == places[0][1] > 20
    table = report.splitlines()
    assert "1 of 6 cells" in table[1]
    assert table[7].endswith("layer -6 / clamp") and table[8].endswith("layer -6 / scale")
    assert "no image" in table[8]


def test_titles_may_be_a_connected_list(node):
    _, report = grid(node, images(2), column_titles=["alpha 0.1, low", "alpha 0.9, high"])
    assert "alpha 0.9, high" in report


def test_the_chosen_baseline_is_what_the_others_are_measured_against(node):
    one, other = images(2)
    _, report = grid(node, [one, other, other.clone()], labels=["a", "b", "c"], baseline=[1])
    lines = report.splitlines()
    assert "index 1: b" in lines[0]
    assert "baseline" in lines[3] and "identical" in lines[4] and "1.0000" in lines[4]
    with pytest.raises(ValueError, match="baseline is 3, but there are 3 images"):
        grid(node, [one, other, other], baseline=[3])


@pytest.mark.parametrize("difference", ["absolute", "heat map"])
def test_a_difference_view_keeps_the_baseline_and_replaces_the_others(node, difference):
    one, other = images(2)
    picture, _ = grid(node, [one, other], difference=[difference])
    assert len(places(picture, pixels(one[0]))) == 1
    assert places(picture, pixels(other[0])) == []
    if difference == "absolute":
        place(picture, np.abs(pixels(one[0]).astype(int) - pixels(other[0])).astype(np.uint8))


@pytest.mark.parametrize("name", ["columns", "baseline", "difference"])
def test_a_list_where_one_value_holds_for_all_is_refused(node, name):
    values = ["none", "heat map"] if name == "difference" else [0, 1]
    with pytest.raises(ValueError, match=f"{name} is a list of 2 values"):
        grid(node, images(2), **{name: values})
    grid(node, images(2), **{name: values[:1] * 2})


def test_what_can_be_known_before_the_images_are_made_is_refused_before(node):
    """The host gives None for what is connected."""
    assert node.validate_inputs(columns=[3], more_images={"image2": None}) is True
    fine = {"columns": [3], "row_titles": ["a, b"], "column_titles": ["x, y, z"]}
    assert node.validate_inputs(**fine) is True
    assert node.validate_inputs(columns=(None,), row_titles=None, column_titles=(None,)) is True
    assert "columns is 2" in node.validate_inputs(**{**fine, "columns": [2]})
    assert "columns is -1" in node.validate_inputs(columns=[-1])
    assert "title 2 of 3 is empty" in node.validate_inputs(**{**fine, "row_titles": ["a,,b"]})


def test_a_picture_over_the_limit_is_scaled_and_the_report_says_so(node, monkeypatch):
    """A limit of 600 pixels stands in for the real one of 16383."""
    import functools

    from zimage_layer_lab.core.compare import grid_picture

    smaller = functools.partial(grid_picture.draw_grid, largest_side=600)
    monkeypatch.setattr(grid_picture, "draw_grid", smaller)
    picture, report = grid(node, images(4, 400, 400))
    assert max(picture.shape) <= 600
    assert f"and it is {picture.shape[1]}x{picture.shape[0]}" in report and "scaled to" in report
    assert "400x400" in report
