"""A folder of Parquet files holds what the same rows hold in one file, however they are cut into pieces."""

import itertools
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bet_lightning.data import ColumnNames, InteractionDataModule, encode_interactions, parquet, read_interactions

NUM_ROWS = 500
CUTS = (0, 3, 3, 200, 201, NUM_ROWS)  # one of the files is empty


def make_rows(kind: str) -> pl.DataFrame:
    """Rows with repeated pairs, times and ratings, and ids of a kind."""
    rng = np.random.default_rng(5)
    users, items = rng.integers(0, 30, NUM_ROWS) * 7 - 60, rng.integers(0, 40, NUM_ROWS)
    times, ratings = rng.integers(0, 50, NUM_ROWS), rng.integers(1, 6, NUM_ROWS)
    rows = pl.DataFrame({"user_id": users, "rating": ratings, "item_id": items, "timestamp": times})
    if kind == "integers far apart":
        return rows.with_columns(pl.col("user_id", "item_id") * 10**9)
    if kind == "text":
        return rows.with_columns(user_id=pl.format("é{}", "user_id"), item_id=pl.format("x{}", "item_id"))
    if kind == "floats, some broken":  # only the last file shows that item ids are no integers
        broken = pl.when(pl.int_range(pl.len()) == NUM_ROWS - 1).then(0.5).otherwise(0.0)
        return rows.with_columns(pl.col("user_id").cast(pl.Float64), pl.col("item_id") + broken)
    if kind == "dates with slashes":  # most files do not tell the day from the month
        day = pl.when(pl.int_range(pl.len()) == NUM_ROWS - 1).then(30).otherwise(pl.col("timestamp") % 12 + 1)
        return rows.with_columns(timestamp=pl.format("{}/{}/2024", day, 12 - pl.col("timestamp") // 13))
    return rows


def write_folder(folder: Path, rows: pl.DataFrame) -> Path:
    """Write rows as several files, one of them in a folder of its own and with its columns in another order."""
    (folder / "more=1").mkdir(parents=True)
    for part, (start, stop) in enumerate(itertools.pairwise(CUTS)):
        rows[start:stop].write_parquet(folder / f"part-{part}.parquet", row_group_size=32)
    (folder / "part-3.parquet").unlink()
    rows[200:201].select(reversed(rows.columns)).write_parquet(folder / "more=1" / "part-3.PARQUET")
    (folder / "_SUCCESS").touch()
    return folder


@pytest.fixture(params=[1 << 21, 7, 64])
def piece_rows(request, monkeypatch) -> int:
    monkeypatch.setattr(parquet, "PIECE_ROWS", request.param)
    return request.param


@pytest.mark.usefixtures("piece_rows")
@pytest.mark.parametrize("split", ["paper", "temporal"])
@pytest.mark.parametrize(
    "kind", ["integers", "integers far apart", "text", "floats, some broken", "dates with slashes"]
)
def test_a_folder_is_the_data_set_of_its_rows(tmp_path, kind, split):
    rows = make_rows(kind)
    write_folder(tmp_path / "shop", rows)
    rows.write_parquet(tmp_path / "shop.parquet")
    rows.write_csv(tmp_path / "shop.csv")
    names = ["shop", "shop.parquet", "sh*p/**/*.[pP]*"] + ([] if "floats" in kind else ["shop.csv"])
    modules = [InteractionDataModule(path=str(tmp_path / name), split=split, min_rating=2) for name in names]
    assert {module.name for module in modules[:2]} == {"shop"}
    held = InteractionDataModule(source=rows, split=split, min_rating=2)
    for module in (held, *modules):
        module.setup()
    expected = held.dataset  # a frame is read in one piece
    assert expected.duplicates > 0
    for module in modules:
        found = module.dataset
        for part in ("train", "valid", "test"):
            ours, theirs = getattr(found, part), getattr(expected, part)
            np.testing.assert_array_equal(ours.indptr, theirs.indptr)
            np.testing.assert_array_equal(ours.columns, theirs.columns)
            assert ours.columns.dtype == np.int32
        assert (found.hash, found.duplicates) == (expected.hash, expected.duplicates)
        assert found.user_ids.tolist() == expected.user_ids.tolist()
        assert found.item_ids.tolist() == expected.item_ids.tolist()


def test_parts_in_folders_share_a_vocabulary(tmp_path):
    rows = make_rows("integers")
    train, test = (
        write_folder(tmp_path / "train", rows),
        write_folder(tmp_path / "test", rows.with_columns(user_id=999)),
    )
    data = InteractionDataModule(train_path=str(train), test_path=str(test))
    data.setup()
    assert data.dataset.user_ids.tolist() == sorted({*rows["user_id"], 999})
    assert data.dataset.test.degrees()[-1] == data.dataset.test.nnz == rows["item_id"].n_unique()


def test_no_more_than_a_piece_is_read_at_once(tmp_path, piece_rows):
    table = read_interactions(write_folder(tmp_path / "shop", make_rows("text")))
    sizes = [len(piece.users) for piece in table.pieces()]
    assert sum(sizes) == table.num_rows() == NUM_ROWS
    assert max(sizes) < 2 * piece_rows


class TestErrors:
    def write(self, folder: Path, **changed: pl.DataFrame) -> Path:
        folder.mkdir()
        for name in ("a", "b"):
            changed.get(name, pl.DataFrame({"user": [1, 2], "item": [3, 4]})).write_parquet(folder / f"{name}.parquet")
        return folder

    def message(self, path: Path, names: ColumnNames = ColumnNames()) -> str:  # noqa: B008
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            encode_interactions([read_interactions(path, names)])
        assert "\n" not in str(error.value)
        return str(error.value)

    def test_no_parquet_file(self, tmp_path):
        (tmp_path / "empty").mkdir()
        assert self.message(tmp_path / "empty") == f"{tmp_path / 'empty'}: no .parquet file in this folder"
        assert self.message(tmp_path / "*.parquet") == f"{tmp_path / '*.parquet'}: no .parquet file fits"

    def test_other_columns(self, tmp_path):
        folder = self.write(tmp_path / "x", b=pl.DataFrame({"user": [1], "product": [1]}))
        first, second = folder / "a.parquet", folder / "b.parquet"
        assert self.message(folder) == f"{second}: it has user, product, but {first} has user, item"

    def test_other_types(self, tmp_path):
        folder = self.write(tmp_path / "x", b=pl.DataFrame({"user": [1], "item": ["1"]}))
        assert self.message(folder) == (
            f"{folder / 'b.parquet'}: column 'item' is String, but Int64 in {folder / 'a.parquet'}"
        )

    def test_no_column_of_a_role(self, tmp_path):
        folder = self.write(tmp_path / "x")
        assert self.message(folder, ColumnNames(user="buyer")).startswith(f"{folder / 'a.parquet'}: no column 'buyer'")

    def test_a_missing_id_is_named_by_its_file_and_row(self, tmp_path, monkeypatch):
        monkeypatch.setattr(parquet, "PIECE_ROWS", 2)
        folder = self.write(tmp_path / "x", b=pl.DataFrame({"user": [1, 2, 3, None], "item": [1, 2, 3, 4]}))
        assert self.message(folder) == (f"{folder / 'b.parquet'}, row 4 of the data, column 'user': the id is missing")

    def test_no_rows(self, tmp_path):
        nothing = pl.DataFrame(schema={"user": pl.Int64, "item": pl.Int64})
        folder = self.write(tmp_path / "x", a=nothing, b=nothing)
        assert self.message(folder) == f"{folder}: it is empty, there is a header and no rows"

    def test_ratings_keep_nothing(self, tmp_path):
        rated = pl.DataFrame({"user": [1], "item": [1], "rating": [3]})
        folder = self.write(tmp_path / "x", a=rated, b=rated)
        assert self.message(folder, ColumnNames(min_rating=4)) == (
            f"{folder}: no row has data.min_rating 4 in column 'rating'"
        )

    def test_a_file_that_is_none(self, tmp_path):
        folder = self.write(tmp_path / "x")
        (folder / "b.parquet").write_bytes(b"junk")
        assert self.message(folder).startswith(f"{folder / 'b.parquet'}: not a readable table: ")


def test_datetimes_are_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "PIECE_ROWS", 2)
    dates = [datetime(1970, 1, 1, 0, 0, second) for second in range(5)]
    pl.DataFrame({"user": [0] * 5, "item": range(5), "date": dates}).write_parquet(tmp_path / "a.parquet")
    (data,) = encode_interactions([read_interactions(tmp_path / "a.parquet")])
    assert data.times.tolist() == [0, 1, 2, 3, 4]
