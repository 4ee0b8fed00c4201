import pytest
import torch

from bet_lightning.tables import build_table
from bet_lightning.tables.codebooks import CodebookTable, codebook_bytes

FORMS = {"product": (False, False), "rotated": (False, True), "additive": (True, False)}


def make_table(form: str, rows: int = 7, size: int = 6, num_codes: int = 3, num_bits: int = 4) -> CodebookTable:
    generator = torch.Generator().manual_seed(0)
    table = CodebookTable(rows, size, num_codes, num_bits, *FORMS[form])
    table.reset_parameters(lambda values: values.data.normal_(std=0.1, generator=generator))
    table.codes.random_(2**num_bits, generator=generator)
    if table.rotation is not None:
        table.rotation.copy_(torch.linalg.qr(torch.randn(size, size, generator=generator)).Q)
    return table


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_put_together_from_their_entries(form: str) -> None:
    table = make_table(form)
    found = table().detach()
    for row in range(7):
        entries = [table.codebooks[m, int(table.codes[row, m])].detach() for m in range(3)]
        expected = torch.stack(entries).sum(0) if form == "additive" else torch.cat(entries)
        if table.rotation is not None:
            expected = expected @ table.rotation
        torch.testing.assert_close(found[row], expected)
    rows = torch.tensor([6, 0, 3, 3])
    torch.testing.assert_close(table(rows).detach(), found[rows])


@pytest.mark.parametrize("form", FORMS)
def test_entries_that_a_code_names_are_trained(form: str) -> None:
    table = make_table(form)
    table().square().sum().backward()
    named = torch.zeros(3, 16, dtype=torch.bool)
    named[torch.arange(3), table.codes.long()] = True
    assert table.codebooks.grad is not None and (table.codebooks.grad.abs().sum(2) > 0).equal(named)
    assert [name for name, _ in table.named_parameters()] == ["codebooks"]


@pytest.mark.parametrize("form", FORMS)
def test_comes_back_from_its_description(form: str) -> None:
    table = make_table(form)
    again = build_table(table.describe())
    again.load_state_dict(table.state_dict())
    assert again().equal(table()) and again.num_bytes == table.num_bytes
    assert form in repr(table)


def test_bytes_counted_by_hand() -> None:
    # 7 rows of 3 codes of 4 bits are 84 bits, 11 bytes; 16 entries of 2 columns in each of 3 codebooks
    assert make_table("product").num_bytes == 11 + 4 * 16 * 2 * 3
    assert make_table("rotated").num_bytes == 11 + 4 * (16 * 2 * 3 + 36)
    assert make_table("additive").num_bytes == 11 + 4 * 16 * 6 * 3
    assert make_table("rotated").num_used == 16 * 2 * 3 + 36
    assert codebook_bytes(1000, 64, 8, 8) == 8000 + 4 * 256 * 64
    assert codebook_bytes(1001, 64, 1, 6) == 751 + 4 * 64 * 64


@pytest.mark.parametrize("form", FORMS)
def test_is_drawn_as_a_table_of_the_backbone(form: str) -> None:
    table = make_table(form, rows=500, size=8, num_codes=4)
    assert 0.08 < float(table().detach().std()) < 0.12


def test_refuses_codes_that_do_not_divide_a_row_or_a_byte() -> None:
    with pytest.raises(ValueError, match="num_codes must divide 6 columns, got 4"):
        CodebookTable(7, 6, 4, 8)
    CodebookTable(7, 6, 4, 8, additive=True)
    with pytest.raises(ValueError, match=r"num_bits must be in 1\.\.8, got 9"):
        CodebookTable(7, 6, 3, 9)
