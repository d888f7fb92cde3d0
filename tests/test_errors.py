"""The checks name the value, the place and the way out."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from zimage_layer_lab.core.errors import (
    NonFiniteError,
    as_states,
    require_finite_number,
    require_finite_states,
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
