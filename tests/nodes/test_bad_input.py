"""The table of bad inputs (tests/bad_input), in process: each row refused, or legal and whole."""

import inspect
import re

import pytest
import torch

from ..bad_input.files import write_files
from ..bad_input.odd_pack import ODD, WIDTH, picture
from ..bad_input.rows import Good, Odd
from ..bad_input.table import GOOD_INPUTS, NO_BAD_VALUE, ROWS
from .stock import output

IN_PROCESS = [row for row in ROWS if row.where != "http"]
WAY_OUT = re.compile(
    r"must be|is not one of|connect|choose|give|look at|remove|write|encode|type |put |save |update"
    r"|those end in|crop|set |use|change|does not exist|does not name|outside|as large as",
    re.IGNORECASE,
)


@pytest.fixture(scope="module", autouse=True)
def folders(host, tmp_path_factory):
    """Input and output folders with the files that rows name."""
    base = tmp_path_factory.mktemp("bad_input")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("input", "output"):
            (base / name).mkdir()
            patch.setattr(host.folder_paths, f"{name}_directory", str(base / name))
        write_files(base / "input")
        yield base


@pytest.fixture(scope="module")
def good(clip, vl_clip, model, tapped_clips):
    """A function: the name of a source -> what it gives, made once."""
    made = {"clip": clip, "vl_clip": vl_clip, "model": model, "tapped clip": tapped_clips("krea2")}

    def get(name):
        if name not in made:
            made[name] = SOURCES[name]()
        return made[name]

    return get


def encoder_of(key, shape):
    """The encoder that the host builds for a file that holds this tensor."""
    import comfy.sd

    return comfy.sd.load_text_encoder_state_dicts(
        [{key: torch.zeros(shape)}],
        clip_type=comfy.sd.CLIPType.STABLE_DIFFUSION,
        model_options={"dtype": torch.float16},
    )


def narrow_vae():
    """The host's own tiny autoencoder for Stable Diffusion 1.5, with random weights."""
    import comfy.sd
    from comfy.taesd.taesd import TAESD

    return comfy.sd.VAE(sd=TAESD(latent_channels=4).state_dict())


def reference(width):
    from zimage_layer_lab.core.measure.reference import Reference

    vector = torch.ones(width, dtype=torch.float64)
    return Reference(vector * 0, vector, 0.0, 1.0, vector * 0, vector)


def concept():
    from zimage_layer_lab.core.concept.concept import Concept

    vector = torch.ones(WIDTH, dtype=torch.float64)
    return Concept(vector / 10, vector * 0, vector)


SOURCES = {
    "concept": concept,
    "image": lambda: picture(1, 64, 64, 3),
    "reference": lambda: reference(WIDTH),
    "a reference of width 6": lambda: reference(6),
    "CLIP-L": lambda: encoder_of("text_model.encoder.layers.0.mlp.fc1.weight", (3072, 768)),
    "T5": lambda: encoder_of("encoder.block.0.layer.0.SelfAttention.k.weight", (768, 768)),
    "a VAE of 4 channels": narrow_vae,
}


def run_row(row, pack, good):
    """The node's own validation of what is typed, then its run, as ComfyUI does it."""
    node = getattr(pack, row.node)
    schema = node.define_schema()
    given = {i.id: i.default for i in schema.inputs if getattr(i, "default", None) is not None}
    given |= {**GOOD_INPUTS[row.node], **row.others, row.input: row.value}
    values, seen = {}, {}
    for name, value in given.items():
        seen[name] = None  # Of what is connected, validation sees that it is, and nothing more.
        if isinstance(value, Odd):
            values[name] = ODD[value.name]()
        elif isinstance(value, Good):
            values[name] = good(value.name)
        else:
            values[name] = seen[name] = value
    if schema.is_input_list:
        values = {name: [value] for name, value in values.items()}
        seen = {name: [value] for name, value in seen.items()}
    checked = set(inspect.signature(node.validate_inputs).parameters) & seen.keys()
    if checked:
        verdict = node.validate_inputs(**{name: seen[name] for name in checked})
        if verdict is not True:
            raise ValueError(verdict)
    return output(node, **values)


@pytest.mark.parametrize("row", IN_PROCESS, ids=lambda row: row.name)
def test_a_bad_value_is_refused_by_name_and_a_legal_one_comes_out_whole(row, pack, good):
    if not row.says:
        return require_given(row, run_row(row, pack, good))
    with pytest.raises(ValueError) as caught:
        run_row(row, pack, good)
    assert type(caught.value).__module__ == "builtins", "the page would show a path before it"
    message = str(caught.value)
    assert re.search(row.says, message, re.DOTALL), message
    assert WAY_OUT.search(message), f"it does not say what to do: {message}"
    assert len(message) < 1000, "nobody reads that"


def require_given(row, answer):
    """The outputs are what the row says, and finite."""
    first, *more = answer.args or (None,)
    if row.gives == "latent":
        assert more[-1]["samples"].isfinite().all()
    elif row.gives == "image":
        assert first.ndim == 4 and first.isfinite().all()
    elif isinstance(row.gives, str):
        shown = " ".join(map(str, [*answer.args, answer.ui]))
        assert re.search(row.gives, shown, re.DOTALL), shown
    else:
        [first] = first if isinstance(first[0][0], list) else [first]
        assert first, "no entry came out"
        for hidden, _ in first:
            assert tuple(hidden.shape[1:]) == row.gives
            assert hidden.isfinite().all()


def test_every_input_of_every_node_has_a_row_or_a_reason(pack):
    inputs = {
        (name, given.id) for name, node in vars(pack).items() for given in node.GET_SCHEMA().inputs
    }
    assert len(vars(pack)) == 32
    rows = {(row.node, row.input) for row in ROWS}
    assert inputs - rows - NO_BAD_VALUE.keys() == set()
    assert rows - inputs == set(), "rows about inputs that are not there"
    assert NO_BAD_VALUE.keys() - inputs == set() and not NO_BAD_VALUE.keys() & rows


def test_the_table_is_large_and_its_rows_differ():
    names = [row.name for row in ROWS]
    twice = sorted({name for name in names if names.count(name) > 1})
    assert len(ROWS) >= 150 and not twice, twice
