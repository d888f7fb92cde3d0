"""The checks name the value, the place and the way out."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from zimage_layer_lab.core.checks import (
    NonFiniteError,
    as_states,
    require_choice,
    require_finite_number,
    require_finite_states,
    require_flag,
    require_same_width,
    require_whole_number,
    shortened,
)


@given(value=st.floats(allow_nan=True, allow_infinity=True))
def test_a_number_is_accepted_exactly_inside_its_limits(value):
    if math.isfinite(value) and 0.0 <= value <= 1.0:
        assert require_finite_number("alpha", value, 0.0, 1.0) == value
    else:
        with pytest.raises(ValueError, match="alpha.*between 0 and 1"):
            require_finite_number("alpha", value, 0.0, 1.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.999])
def test_a_number_without_an_upper_limit_must_still_be_finite(value):
    with pytest.raises(ValueError, match="threshold.*at least 1"):
        require_finite_number("threshold", value, 1.0, math.inf)
    assert require_finite_number("threshold", 1e30, 1.0, math.inf) == 1e30


def test_a_whole_number_comes_back_as_float():
    assert isinstance(require_finite_number("alpha", 1, 0, 1), float)


@pytest.mark.parametrize(
    "value",
    [None, "x", "0.5", True, [1], [], {"a": 1}, 1j, 10**400, 10**5000, torch.ones(2)],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_number_is_refused_and_the_input_named(value):
    """A workflow sent over HTTP may hold any JSON."""
    with pytest.raises(ValueError, match="^alpha is .*between 0 and 1$"):
        require_finite_number("alpha", value, 0.0, 1.0)


def test_a_long_value_is_cut_in_the_message():
    with pytest.raises(ValueError) as error:
        require_finite_number("alpha", ["x"] * 1000, 0.0, 1.0)
    assert len(str(error.value)) < 150


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_non_finite_value_is_named_by_token_and_dimension(bad, dtype):
    hidden = torch.zeros(2, 5, 7, dtype=dtype)
    hidden[1, 3, 6] = bad
    with pytest.raises(NonFiniteError) as error:
        require_finite_states(hidden, "the vision side")
    message = str(error.value)
    assert "the vision side" in message and "token 3 dimension 6" in message
    assert str(bad) in message


def test_many_non_finite_values_are_counted_and_the_first_ones_named():
    hidden = torch.zeros(1, 4, 8)
    hidden[0, :2] = math.nan
    with pytest.raises(NonFiniteError) as error:
        require_finite_states(hidden, "it")
    assert "16 non-finite" in str(error.value) and "and 11 more" in str(error.value)
    assert str(error.value).count("token") == 5


def test_finite_states_pass_even_at_the_dtypes_largest_value():
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        require_finite_states(torch.full((1, 2, 3), torch.finfo(dtype).max, dtype=dtype), "it")


def test_a_non_finite_error_is_a_value_error():
    assert issubclass(NonFiniteError, ValueError)


def test_two_dimensions_become_a_batch_of_one_without_a_copy():
    rows = torch.randn(3, 4)
    assert as_states(rows).shape == (1, 3, 4)
    assert as_states(rows).data_ptr() == rows.data_ptr()
    states = torch.randn(2, 3, 4)
    assert as_states(states) is states


@pytest.mark.parametrize("shape", [(4,), (1, 1, 3, 4), (0, 3, 4), (1, 0, 4), (1, 3, 0), (0, 4), ()])
def test_other_shapes_and_empty_ones_are_refused_by_name(shape):
    with pytest.raises(ValueError, match="the text side has shape"):
        as_states(torch.zeros(shape), "the text side")


@pytest.mark.parametrize(
    ("given", "number"), [(0, 0), (7, 7), (7.0, 7), (np.int64(3), 3), (2**64 - 1, 2**64 - 1)]
)
def test_a_whole_number_passes_exactly_whatever_its_type(given, number):
    passed = require_whole_number("seed", given, 0, 2**64 - 1)
    assert type(passed) is int and passed == number


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (2.5, "seed is 2.5: it must be a whole number"),
        (-1, "seed is -1: it must be a number between 0 and 100"),
        (101, "seed is 101"),
        (math.nan, "seed is nan"),
        (True, "seed is True"),
        ("7", "seed is '7'"),
        (None, "seed is None"),
        (10**400, "seed is too large"),
    ],
)
def test_what_is_no_whole_number_of_the_range_is_refused_by_name(given, says):
    with pytest.raises(ValueError, match=says):
        require_whole_number("seed", given, 0, 100)


@pytest.mark.parametrize(("given", "flag"), [(True, True), (False, False), (1, True), (0, False)])
def test_a_flag_is_a_bool_or_1_or_0(given, flag):
    assert require_flag("keep_sinks", given) is flag


@pytest.mark.parametrize("given", ["true", None, 2, 0.5, math.nan, [], torch.tensor([1, 0])])
def test_what_is_no_flag_is_refused_by_name(given):
    with pytest.raises(ValueError, match="keep_sinks is .*: it must be true or false"):
        require_flag("keep_sinks", given)


@pytest.mark.parametrize("given", ["Zero", "", None, 0, {}, ["zero"], math.nan])
def test_a_choice_that_is_not_there_is_refused_with_those_that_are(given):
    assert require_choice("mode", "zero", {"zero": 1, "clamp": 2}) == "zero"
    with pytest.raises(ValueError, match="mode .* is not one of zero, clamp"):
        require_choice("mode", given, {"zero": 1, "clamp": 2})


@pytest.mark.parametrize(
    ("states", "says"),
    [
        (torch.zeros(1, 2, 3, dtype=torch.int64), "is of torch.int64"),
        (torch.zeros(1, 2, 3, dtype=torch.bool), "is of torch.bool"),
        (torch.zeros(1, 2, 3, dtype=torch.complex64), "is of torch.complex64"),
        (torch.zeros(1, 2, 3, device="meta"), "on the meta device, which holds no values"),
        (torch.eye(3).to_sparse(), "of layout torch.sparse_coo, which holds no values"),
    ],
)
def test_tensors_that_are_no_states_are_refused_by_name(states, says):
    with pytest.raises(ValueError, match=f"the text side .*{says}"):
        as_states(states, "the text side")


@pytest.mark.parametrize(
    ("value", "high", "says"),
    [
        (1.5, 1.0, "alpha is 1.5: it must be a number between 0.25 and 1"),
        (0.2, math.inf, "alpha is 0.2: it must be a number at least 0.25"),
        (10**400, 1.0, "alpha is too large: it must be a number between 0.25 and 1"),
        ("0.5", 1.0, "alpha is '0.5': it must be a number between 0.25 and 1"),
        (b"1", 1.0, "alpha is b'1': it must be a number between 0.25 and 1"),
        (True, 1.0, "alpha is True: it must be a number between 0.25 and 1"),
    ],
)
def test_a_number_is_refused_in_a_whole_sentence(value, high, says):
    with pytest.raises(ValueError) as refused:
        require_finite_number("alpha", value, 0.25, high)
    assert str(refused.value) == says


def test_both_limits_are_numbers_inside_them():
    assert require_finite_number("alpha", 0.25, 0.25, 1.0) == 0.25
    assert require_finite_number("alpha", 1, 0.25, 1.0) == 1.0
    assert require_whole_number("seed", 2**64 - 1, 2**64 - 1, 2**64 - 1) == 2**64 - 1
    assert require_whole_number("seed", 3.0, 3, math.inf) == 3
    with pytest.raises(ValueError, match=r"^seed is 2: it must be a number at least 3$"):
        require_whole_number("seed", 2, 3, math.inf)


@pytest.mark.parametrize("given", [-1, 2, 1.0, 0.0, "1"])
def test_no_other_number_is_a_flag(given):
    with pytest.raises(ValueError) as refused:
        require_flag("keep", given)
    assert str(refused.value) == f"keep is {given!r}: it must be true or false"


def test_a_value_is_shown_up_to_60_characters():
    assert shortened("a" * 58) == f"'{'a' * 58}'"
    assert shortened("a" * 59) == f"'{'a' * 59}..."
    with pytest.raises(ValueError) as refused:
        require_choice("mode", "b" * 80, ["x", "y"])
    assert str(refused.value) == f"mode '{'b' * 59}... is not one of x, y"


def test_what_is_not_finite_is_told_in_a_whole_sentence():
    hidden = torch.zeros(2, 3, 4)
    hidden[0, 2, 1], hidden[1, 0, 3] = math.nan, -math.inf
    with pytest.raises(NonFiniteError) as refused:
        require_finite_states(hidden, "the text side")
    assert str(refused.value) == (
        "the text side holds 2 non-finite values: token 2 dimension 1 is nan, token 0 dimension 3 "
        "is -inf. The encoder overflowed, or an earlier node divided by zero; encode again in a "
        "wider dtype"
    )


@pytest.mark.parametrize(
    ("states", "says"),
    [
        (
            torch.zeros(2, device="meta"),
            "embeddings is a tensor on the meta device, which holds no values to read: look at "
            "the node that made it, or encode again",
        ),
        (
            torch.zeros(1, 2, dtype=torch.int8),
            "embeddings is of torch.int8, and hidden states have a float dtype: look at the node "
            "that made it, or encode again",
        ),
        (
            torch.zeros(1, 2, 0),
            "embeddings has shape (1, 2, 0); it must be (tokens, width) or (batch, tokens, width) "
            "with at least one token",
        ),
    ],
)
def test_a_tensor_that_is_no_states_is_refused_in_a_whole_sentence(states, says):
    with pytest.raises(ValueError) as refused:
        as_states(states)
    assert str(refused.value) == says


def test_both_sides_must_be_as_wide_as_each_other():
    require_same_width(torch.zeros(1, 2, 300), torch.zeros(1, 5, 300), "the vision side")
    for width in (299, 301):
        with pytest.raises(ValueError) as refused:
            require_same_width(torch.zeros(1, 2, 300), torch.zeros(1, 2, width), "the vision side")
        assert str(refused.value) == (
            f"the text side has 300 dimensions and the vision side {width}: both encoders must "
            "have the same width (Qwen3-4B and Qwen3-VL-4B have 2560)"
        )
