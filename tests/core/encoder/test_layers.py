"""Layer numbers follow Hugging Face's `hidden_states`; what is out of range is refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zimage_layer_lab.core.encoder.layers import (
    LayerRangeError,
    hidden_state_index,
    is_normed,
    negative_layer,
    parse_layer_weights,
    parse_layers,
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


@pytest.mark.parametrize("layer", [True, False, 2.5, -0.5, "x", "-2", None, [], [1], {"a": 1}, 1j])
def test_what_is_no_whole_number_is_no_layer(layer):
    with pytest.raises(LayerRangeError, match="whole number"):
        hidden_state_index(layer, 36)


@pytest.mark.parametrize("layer", [math.nan, math.inf, -math.inf])
def test_a_layer_that_is_not_finite_is_a_value_error(layer):
    with pytest.raises(ValueError):
        hidden_state_index(layer, 36)


def test_a_layer_too_large_for_a_float_is_out_of_range():
    with pytest.raises(LayerRangeError, match="36 blocks"):
        hidden_state_index(10**400, 36)


@pytest.mark.parametrize("value", [None, -2, 2.5, True, ["-2"], {"-2": 1}])
@pytest.mark.parametrize(
    ("parse", "named"), [(parse_layers, "list of layers"), (parse_layer_weights, "list of weights")]
)
def test_a_list_that_is_no_text_is_refused(parse, named, value):
    with pytest.raises(ValueError, match=f"the {named} is .*no text: write"):
        parse(value, 36)


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


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("-2", [-2]),
        ("-2, -6", [-2, -6]),
        ("-6,-2", [-6, -2]),
        ("  -2 ,\n-6 ", [-2, -6]),
        ("-4..-6", [-4, -5, -6]),
        ("-6..-4", [-6, -5, -4]),
        ("-6 .. -4", [-6, -5, -4]),
        ("-3..-3", [-3]),
        ("0..2", [-37, -36, -35]),
        ("35..-1", [-2, -1]),
        ("-2, -6, -10..-12", [-2, -6, -10, -11, -12]),
        ("+35", [-2]),
    ],
)
def test_a_list_of_layers_keeps_its_order_and_ranges_hold_both_ends(text, layers):
    assert list(parse_layers(text, 36)) == layers


@pytest.mark.parametrize(
    ("text", "layers"),
    [("-2, -2", [-2]), ("-2, 35", [-2]), ("-3, -4..-2", [-3, -4, -2]), ("0, -37", [-37])],
)
def test_a_hidden_state_named_twice_is_kept_once_at_its_first_place(text, layers):
    assert list(parse_layers(text, 36)) == layers


@pytest.mark.parametrize("text", ["all", " ALL "])
def test_all_is_every_hidden_state_from_the_embeddings_on(text):
    assert parse_layers(text, 4) == (-5, -4, -3, -2, -1)


@given(st.integers(1, 60), st.data())
def test_any_range_is_the_slice_of_hidden_states_between_its_ends(blocks, data):
    states = list(range(blocks + 1))
    ends = st.integers(-(blocks + 1), blocks)
    first, last = data.draw(ends), data.draw(ends)
    low, high = sorted((states[first], states[last]))
    found = [states[layer] for layer in parse_layers(f"{first}..{last}", blocks)]
    assert sorted(found) == states[low : high + 1]
    assert found[0] == states[first] and found[-1] == states[last]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("abc", "'abc'"),
        ("-2..", "'-2..'"),
        ("..-2", "'..-2'"),
        ("-2...-6", "'-2...-6'"),
        ("1.5", "'1.5'"),
        ("-2, two, -6", "'two'"),
        ("-2 -6", "'-2 -6'"),
        ("-2; -6", "'-2; -6'"),
        ("-2,", "comma"),
        (",-2", "comma"),
        ("-2,, -6", "comma"),
        ("all, -2", "'all'"),
        ("nan", "'nan'"),
        ("--2", "'--2'"),
        ("1e1", "'1e1'"),
        ("9" * 5000, "is no layer"),
    ],
)
def test_what_is_no_list_of_layers_is_refused_and_the_bad_part_named(text, named):
    with pytest.raises(ValueError) as error:
        parse_layers(text, 36)
    assert named in str(error.value)


@pytest.mark.parametrize("text", ["-38", "37", "-2, -38", "-2..-38", "0..999999999999", "-5..37"])
def test_a_layer_out_of_range_is_refused_before_any_range_is_built(text):
    """The range of 10**12 numbers would not fit into memory."""
    with pytest.raises(LayerRangeError, match="36 blocks"):
        parse_layers(text, 36)


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("-2: 0.7, -6: 0.3", {-2: 0.7, -6: 0.3}),
        ("-6:3,-2:1", {-6: 3.0, -2: 1.0}),
        ("35: 1", {-2: 1.0}),
        (" -2 : 1.5 ,\n -6 : -.5 ", {-2: 1.5, -6: -0.5}),
        ("-2: 0, -6: 1e-3", {-2: 0.0, -6: 0.001}),
        ("-2: 1e308, -6: 1e308", {-2: 1e308, -6: 1e308}),
    ],
)
def test_weights_are_read_in_their_order(text, weights):
    found = parse_layer_weights(text, 36)
    assert list(found.items()) == list(weights.items())


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "empty"),
        ("-2", "'-2'"),
        ("-2: ", "''"),
        (": 1", "': 1'"),
        ("-2: x", "'x'"),
        ("-2: 0.5, x: 1", "'x: 1'"),
        ("-2: 0,5", "'5'"),
        ("-2..-6: 1", "'-2..-6: 1'"),
        ("1.5: 1", "'1.5: 1'"),
        ("-2: 1: 2", "'1: 2'"),
        ("-2: 1,", "comma"),
        ("-2: nan", "nan"),
        ("-2: inf", "inf"),
        ("-2: 1e999", "inf"),
        ("-2: 1, -2: 2", "layer -2 again"),
        ("-2: 1, 35: 2", "layer -2 again"),
        ("-2: 0", "add up to 0"),
        ("-2: 1, -6: -1", "add up to 0"),
        ("-2: 0.1, -6: 0.2, -7: -0.3", "add up to 0"),
        ("-2: 1e308, -6: 1e308, -3: -1e308, -4: -1e308", "add up to 0"),
        ("-2: 1, -6: -0.9999995", "add up to 0"),
    ],
)
def test_what_are_no_weights_is_refused_and_the_bad_part_named(text, named):
    with pytest.raises(ValueError) as error:
        parse_layer_weights(text, 36)
    assert named in str(error.value)


def test_a_weight_of_a_layer_out_of_range_is_refused():
    with pytest.raises(LayerRangeError, match="layer -38 .*36 blocks"):
        parse_layer_weights("-2: 1, -38: 1", 36)
