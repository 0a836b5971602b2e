"""Half precision: rounded once, kept without loss."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from sqp.networks.checkpoint import packed, rounded


@given(values=st.lists(st.floats(-1e5, 1e5, width=32), min_size=1, max_size=8))
def test_what_is_packed_comes_back_to_the_bit(values):
    state = {"a": torch.tensor(values, dtype=torch.float32), "n": torch.tensor([3]), "r": torch.tensor([0.1]).double()}
    for one in (state, rounded(state)):
        for name, value in packed(one).items():
            assert torch.equal(value.to(one[name].dtype), one[name])


def test_rounded_weights_take_half_the_bytes_and_err_little():
    weights = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    near = rounded({"w": weights})["w"]
    assert near.dtype == torch.float32 and ((near - weights).abs() <= 2**-11 * weights.abs()).all()
    assert packed({"w": near})["w"].dtype == torch.float16 and packed({"w": weights})["w"] is weights
