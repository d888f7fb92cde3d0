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
    require_whole_number,
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
