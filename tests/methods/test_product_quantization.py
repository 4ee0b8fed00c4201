import sys
from typing import get_args

import numpy as np
import pytest
import torch

from bet_lightning.backbones import NeuMF
from bet_lightning.methods import ProductQuantization
from bet_lightning.methods.product_quantization import Coding, Kind, fitting_codings, quantize
from bet_lightning.table_format import TableShape
from bet_lightning.tables.codebooks import CodebookTable
from tests.methods.compressing import NUM_ROWS, only, run

pytest.importorskip("faiss")

SHAPE = TableShape(400, 300, 8)


def make_rows() -> torch.Tensor:
    """Rows about a few centres, their columns mixed."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(12, 8, generator=generator)
    rows = centres[torch.randint(12, (700,), generator=generator)] + torch.randn(700, 8, generator=generator)
    mixed = torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q
    return rows * torch.linspace(1, 0.1, 8) @ mixed


def error_of(table: CodebookTable, rows: torch.Tensor) -> float:
    return float((table().detach() - rows).square().sum())


@pytest.mark.parametrize("kind", ["pq", "opq"])
@pytest.mark.parametrize("bits", [4, 6, 8])
def test_codes_name_the_nearest_entries(kind: Kind, bits: int) -> None:
    rows = make_rows()
    table = quantize(rows, [Coding(kind, 4, bits)])
    turned = (rows if table.rotation is None else rows @ table.rotation.T).double().numpy()
    entries = table.codebooks.detach().double().numpy()
    for part in range(4):
        values = turned[:, 2 * part : 2 * part + 2]
        distances = np.square(values[:, None] - entries[part]).sum(2)
        chosen = distances[np.arange(700), table.codes[:, part].numpy()]
        np.testing.assert_allclose(chosen, distances.min(1), atol=1e-5)
    if table.rotation is not None:
        torch.testing.assert_close(table.rotation @ table.rotation.T, torch.eye(8), atol=1e-4, rtol=0)


def test_residual_codes_add_up() -> None:
    rows = make_rows()
    errors = [error_of(quantize(rows, [Coding("rq", number, 4)]), rows) for number in (1, 2, 4)]
    assert errors[0] > 1.5 * errors[1] > 2 * errors[2]
    one = quantize(rows, [Coding("rq", 1, 4)])
    distances = torch.cdist(rows, one.codebooks[0].detach())
    assert distances.gather(1, one.codes.long()).squeeze(1).allclose(distances.min(1).values, atol=1e-5)


def test_a_rotation_lowers_the_error_where_columns_are_mixed() -> None:
    rows = make_rows()
    plain, rotated = (quantize(rows, [Coding(kind, 4, 4)]) for kind in ("pq", "opq"))
    assert error_of(rotated, rows) < 0.8 * error_of(plain, rows)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_the_most_codes_that_fit_are_tried_and_the_best_taken(kind: Kind) -> None:
    for num_bytes in (1000, 2000, 5000, 12_000):
        codings = fitting_codings(kind, SHAPE, num_bytes)
        for coding in codings:
            assert coding.num_bytes(SHAPE) <= num_bytes
            more = range(coding.num_codes + 1, 9)
            allowed = [number for number in more if kind == "rq" or 8 % number == 0]
            assert all(Coding(kind, number, coding.num_bits).num_bytes(SHAPE) > num_bytes for number in allowed)
        assert len({coding.num_bits for coding in codings}) == len(codings)
    assert [coding.num_bits for coding in codings][:2] == [4, 6]
    rows = make_rows()
    errors = [error_of(quantize(rows, [coding]), rows) for coding in codings]
    best = quantize(rows, codings)
    assert error_of(best, rows) == pytest.approx(min(errors))


@pytest.mark.parametrize("kind", get_args(Kind))
def test_codebooks_are_trained_and_codes_stay(kind: Kind) -> None:
    found, trained = (run(ProductQuantization(kind, **only(epochs)), [900]) for epochs in (0, 4))
    tables = [each.problem.network.table() for each in (found, trained)]
    assert isinstance(tables[0], CodebookTable) and isinstance(tables[1], CodebookTable)
    assert tables[0].codes.equal(tables[1].codes) and not tables[0].codebooks.equal(tables[1].codebooks)
    assert trained.results[kind].quality > found.results[kind].quality
    assert tables[0].num_bytes <= 900


def test_two_tables_have_codebooks_of_their_own() -> None:
    found = run(ProductQuantization("pq", **only()), [3000], NeuMF)
    first, second = found.problem.network.tables
    assert isinstance(first, CodebookTable) and isinstance(second, CodebookTable)
    assert not first.codebooks.equal(second.codebooks)
    assert first.num_bytes == 4 * 16 * 8 + -(-NUM_ROWS * 8 * 4 // 8) <= 1500


def test_needs_faiss_and_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="needs at least 16 users and items, got 12"):
        ProductQuantization().least_bytes(TableShape(6, 6, 8))
    with pytest.raises(ValueError, match=r"search\.method\.kind must be one of pq, opq, rq, got 'vq'"):
        ProductQuantization("vq")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ValueError, match=r"^ProductQuantization needs faiss: pip install 'bet-lightning\[faiss\]'$"):
        run(ProductQuantization(**only()), ["2500B"])
