from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bet_lightning.tables import MaskedEmbedding, PackedEmbedding

SIZES = torch.tensor([0, 1, 4, 2, 3, 4])


def make_masked(sizes: Tensor = SIZES, max_size: int = 4) -> MaskedEmbedding:
    table = MaskedEmbedding(len(sizes), max_size)
    torch.nn.init.normal_(table.weight, generator=torch.Generator().manual_seed(0))
    table.set_sizes(sizes)
    return table


@st.composite
def tables(draw: st.DrawFn) -> tuple[MaskedEmbedding, Tensor]:
    """A masked table and some of its rows, with repeats."""
    max_size = draw(st.integers(1, 9))
    sizes = draw(st.lists(st.integers(0, max_size), min_size=1, max_size=12))
    rows = draw(st.lists(st.integers(0, len(sizes) - 1), max_size=20))
    return make_masked(torch.tensor(sizes), max_size), torch.tensor(rows, dtype=torch.long)


@given(tables(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_reads_and_gradients_are_those_of_the_masked_table(drawn: tuple[MaskedEmbedding, Tensor], narrow: bool) -> None:
    masked, some_rows = drawn
    packed = PackedEmbedding.from_masked(masked)
    mask = torch.arange(masked.max_size) < masked.sizes.unsqueeze(1)
    for rows in (None, some_rows):
        expected, found = (table.narrow(rows) if narrow else table(rows) for table in (masked, packed))
        assert found.equal(expected)
        weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
        (of_masked,) = torch.autograd.grad((expected * weight).sum(), masked.weight)
        (of_packed,) = torch.autograd.grad((found * weight).sum(), packed.values)
        assert of_packed.equal(of_masked[mask])  # bit for bit: repeated rows are added up in the same order


@given(tables())
@settings(max_examples=30, deadline=None)
def test_there_and_back(drawn: tuple[MaskedEmbedding, Tensor]) -> None:
    masked, _ = drawn
    packed = PackedEmbedding.from_masked(masked)
    again = packed.to_masked()
    assert again.sizes.equal(masked.sizes) and again.sizes.dtype == masked.sizes.dtype
    assert again.weight.equal(masked())
    assert PackedEmbedding.from_masked(again).values.equal(packed.values)
    assert packed.num_used == masked.num_used == packed.values.numel()


def test_holds_no_more_than_the_sizes() -> None:
    packed = PackedEmbedding.from_masked(make_masked())
    assert [(name, tuple(values.shape)) for name, values in packed.named_parameters()] == [("values", (14,))]
    assert packed.sizes.dtype == torch.uint8
    assert packed.starts.tolist() == [0, 0, 1, 5, 7, 10] and packed.starts.dtype == torch.int32
    assert set(packed.state_dict()) == {"values", "sizes"}
    packed().sum().backward()
    assert packed.values.grad is not None and packed.values.grad.shape == (14,)


def test_a_copy_of_its_own() -> None:
    masked = make_masked()
    packed = PackedEmbedding.from_masked(masked)
    before = packed().clone()
    with torch.no_grad():
        masked.weight.add_(1)
    masked.set_sizes(torch.zeros(6, dtype=torch.long))
    assert packed().equal(before)


def test_sizes_beyond_a_byte() -> None:
    masked = make_masked(torch.tensor([300, 299, 0]), 300)
    packed = PackedEmbedding.from_masked(masked)
    assert packed.sizes.dtype == torch.int16
    assert packed().equal(masked())


def test_starts_at_zero_and_trains_nothing_where_all_sizes_are_zero() -> None:
    packed = PackedEmbedding(torch.zeros(3, dtype=torch.long), 4)
    assert packed().equal(torch.zeros(3, 4)) and packed.narrow().shape == (3, 1)
    optimizer = torch.optim.Adam(packed.parameters(), fused=True)
    packed(torch.tensor([1, 1])).sum().backward()
    optimizer.step()
    assert packed.values.shape == (0,)


@pytest.mark.parametrize("prefix", ["", "0."])
def test_either_state_loads_into_the_other(prefix: str) -> None:
    def wrapped(table: torch.nn.Module) -> torch.nn.Module:
        return torch.nn.ModuleList([table]) if prefix else table

    masked, packed = make_masked(), PackedEmbedding(SIZES, 4)
    wrapped(packed).load_state_dict(state := wrapped(masked).state_dict())
    assert set(state) == {f"{prefix}weight", f"{prefix}sizes"}  # the caller's state stays what it is
    assert packed().equal(masked())
    other = MaskedEmbedding(6, 4)
    wrapped(other).load_state_dict(wrapped(packed).state_dict())
    assert other().equal(masked()) and other.sizes.equal(masked.sizes)
    third = PackedEmbedding(SIZES, 4)
    wrapped(third).load_state_dict(wrapped(packed).state_dict())
    assert third.values.equal(packed.values)


@pytest.mark.parametrize(
    ("table", "state", "message"),
    [
        (PackedEmbedding(SIZES, 4), make_masked(SIZES.flip(0)), "size mismatch for sizes: .* fixed"),
        (PackedEmbedding(SIZES, 4), PackedEmbedding(SIZES.flip(0), 4), "size mismatch for sizes: .* fixed"),
        (PackedEmbedding(SIZES, 4), make_masked(SIZES[:5]), "size mismatch for"),
        (PackedEmbedding(SIZES, 4), make_masked(SIZES, 5), r"size mismatch for weight: its shape is \(6, 5\), not"),
        (MaskedEmbedding(6, 4), PackedEmbedding(SIZES[:5], 4), r"size mismatch for values: .* \(6,\), got \(5,\)"),
        (MaskedEmbedding(6, 3), PackedEmbedding(SIZES, 4), r"values: sizes must be in 0\.\.3, got 0\.\.4"),
        (
            MaskedEmbedding(6, 4),
            {"values": torch.zeros(13), "sizes": SIZES},
            r"values: values must have shape \(14,\), got \(13,\)",
        ),
        (PackedEmbedding(SIZES, 4), {"values": torch.zeros(13), "sizes": SIZES}, "size mismatch for values"),
        (PackedEmbedding(SIZES, 4), {"sizes": SIZES}, 'Missing key.*"values"'),
        (MaskedEmbedding(6, 4), {"values": torch.zeros(14)}, 'Missing key.*"weight"'),
    ],
)
def test_refuses_states_that_do_not_fit(
    table: torch.nn.Module, state: torch.nn.Module | dict[str, Tensor], message: str
) -> None:
    given_state = state.state_dict() if isinstance(state, torch.nn.Module) else state
    with pytest.raises(RuntimeError, match=message):
        table.load_state_dict(given_state)


@pytest.mark.parametrize(
    ("sizes", "max_size", "message"),
    [
        (torch.zeros(0, dtype=torch.long), 4, "num_rows must be at least 1, got 0"),
        (torch.zeros(2, 2, dtype=torch.long), 4, r"sizes must have shape \(4,\), got \(2, 2\)"),
        (torch.ones(6), 4, "sizes must be integers"),
        (SIZES, 3, r"sizes must be in 0\.\.3, got 0\.\.4"),
        (SIZES, 0, r"max_size must be in 1\.\.32767, got 0"),
    ],
)
def test_refuses_wrong_sizes(sizes: Tensor, max_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PackedEmbedding(sizes, max_size)


def test_repr() -> None:
    assert str(PackedEmbedding(SIZES, 4)) == "PackedEmbedding(6, max_size=4, used=14)"
