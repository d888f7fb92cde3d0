"""What every node shares: its errors reach the page as one sentence."""

import pytest

from .stock import run


@pytest.fixture(scope="module")
def raising(host):
    """A function: an error -> a node that ends with it."""
    from comfy_api.latest import io
    from zimage_layer_lab.nodes.node import Node

    def make(error: BaseException) -> type:
        class Raises(Node):
            @classmethod
            def define_schema(cls):
                return io.Schema(node_id="Raises", inputs=[], outputs=[])

            @classmethod
            def execute(cls):
                raise error

        return Raises

    return make


def shown_by_the_host(node: type) -> tuple[str, str]:
    """The type and the message that the host sends to its page, of the class that it runs."""
    import execution

    with pytest.raises(Exception) as caught:
        node.PREPARE_CLASS_CLONE(None).EXECUTE_NORMALIZED()
    return execution.full_type_name(caught.type), str(caught.value)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("encoder.layers.LayerRangeError", "ValueError"),
        ("measure.reference.ReferenceFileError", "ValueError"),
        ("encoder.capture.NotADecoderError", "TypeError"),
        ("checks.NonFiniteError", "ValueError"),
    ],
)
def test_an_error_of_the_pack_is_shown_without_the_path_of_its_class(raising, name, shown):
    from importlib import import_module

    module, _, error = name.rpartition(".")
    kind = getattr(import_module(f"zimage_layer_lab.core.{module}"), error)
    assert shown_by_the_host(raising(kind("what, and what to do"))) == (
        shown,
        "what, and what to do",
    )


def test_the_traceback_still_leads_to_where_it_happened(clip, pack):
    with pytest.raises(ValueError) as caught:
        run(pack.Qwen3Encode, clip=clip, text="a red fox", layer=-30)
    assert type(caught.value) is ValueError and caught.value.__cause__ is None
    assert "hidden_state_index" in [entry.name for entry in caught.traceback]


@pytest.mark.parametrize("kind", [MemoryError, KeyboardInterrupt, RuntimeError])
def test_any_other_error_reaches_the_host_as_it_is(raising, kind):
    error = kind("of the test")
    with pytest.raises(kind) as caught:
        raising(error).PREPARE_CLASS_CLONE(None).EXECUTE_NORMALIZED()
    assert caught.value is error


def test_every_node_of_the_pack_is_one(pack):
    from zimage_layer_lab.nodes.node import Node

    assert all(issubclass(node, Node) for node in vars(pack).values())
