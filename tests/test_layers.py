"""Layer numbers follow Hugging Face's `hidden_states`; what is out of range is refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zimage_layer_lab.core.layers import (
    LayerRangeError,
    hidden_state_index,
    is_normed,
    negative_layer,
)


@pytest.mark.parametrize(
    ("layer", "index"), [(-1, 36), (-2, 35), (-6, 31), (-36, 1), (-37, 0), (0, 0), (1, 1), (36, 36)]
)
def test_qwen3_4b_layers_name_the_published_hidden_states(layer, index):
    assert hidden_state_index(layer, 36) == index


@given(blocks=st.integers(1, 200), layer=st.integers(-250, 250))
def test_a_layer_is_the_list_index_of_hidden_states_or_is_refused(blocks, layer):
    hidden_states = list(range(blocks + 1))
    if -len(hidden_states) <= layer < len(hidden_states):
        assert hidden_state_index(layer, blocks) == hidden_states[layer]
    else:
        with pytest.raises(LayerRangeError):
            hidden_state_index(layer, blocks)


@given(blocks=st.integers(1, 200), data=st.data())
def test_negative_layer_counts_the_same_place_from_the_end(blocks, data):
    index = data.draw(st.integers(0, blocks))
    name = negative_layer(index, blocks)
    assert -(blocks + 1) <= name <= -1
    assert list(range(blocks + 1))[name] == index
    assert negative_layer(name, blocks) == name


@pytest.mark.parametrize("layer", [-38, 37, -1000, 1000])
def test_the_message_names_the_layer_and_the_range_of_this_encoder(layer):
    with pytest.raises(LayerRangeError) as error:
        hidden_state_index(layer, 36)
    for part in (str(layer), "36 blocks", "-37", "-1"):
        assert part in str(error.value)


@pytest.mark.parametrize("layer", [True, False, 2.5, -0.5])
def test_what_is_no_whole_number_is_no_layer(layer):
    with pytest.raises(LayerRangeError, match="whole number"):
        hidden_state_index(layer, 36)


@pytest.mark.parametrize("layer", [math.nan, math.inf, -math.inf])
def test_a_layer_that_is_not_finite_is_a_value_error(layer):
    with pytest.raises(ValueError):
        hidden_state_index(layer, 36)


def test_a_whole_float_is_taken_as_its_integer():
    """Sliders and JSON hand over -2.0."""
    index = hidden_state_index(-2.0, 36)
    assert index == 35 and isinstance(index, int)


def test_only_the_last_hidden_state_is_normed():
    assert [is_normed(index, 4) for index in range(5)] == [False] * 4 + [True]
    assert is_normed(-1, 4) and not is_normed(-2, 4)


def test_a_layer_range_error_is_a_value_error():
    """Callers that know nothing of this pack catch ValueError."""
    assert issubclass(LayerRangeError, ValueError)
