"""What a killed process was writing is no file to anybody, be it whole by chance."""

import pytest
from zimage_layer_lab.core.files.atomic import UNFINISHED

from .stock import run, text_encode


@pytest.fixture
def saved(host, pack, clip, tmp_path, monkeypatch):
    """A function: node's class -> the name of a whole file of that kind in an unfinished folder."""
    for name in ("input", "output"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(host.folder_paths, f"{name}_directory", str(tmp_path / name))

    def save(kind):
        if kind == "Embedding":
            run(pack.SaveEmbedding, conditioning=text_encode(clip, "a fox"))
        else:
            [built] = run(pack.BuildReference, clip=clip, prompts="a fox", layer=-8)
            run(pack.SaveReference, reference=built)
        [whole] = (tmp_path / "output").rglob("*.safetensors")
        folder = whole.parent / f"{UNFINISHED}abc"
        folder.mkdir()
        (folder / whole.name).write_bytes(whole.read_bytes())
        return [
            f"{path.relative_to(tmp_path / 'output').as_posix()} [output]"
            for path in (whole, folder / whole.name)
        ]

    return save


@pytest.mark.parametrize("kind", ["Embedding", "Reference"])
def test_it_is_neither_offered_nor_loaded(kind, saved, pack):
    node = getattr(pack, f"Load{kind}")
    whole, unfinished = saved(kind)
    [listed] = [i for i in node.define_schema().inputs if i.id == "name"]
    offered = [name for name in listed.options if not name.endswith(" [shipped]")]
    assert offered == [whole]
    assert node.validate_inputs(name=whole) is True
    refusal = node.validate_inputs(name=unfinished)
    assert unfinished in refusal and "was never finished: choose another" in refusal
    with pytest.raises(ValueError, match="was never finished"):
        run(node, name=unfinished)
