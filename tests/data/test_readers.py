import gzip
from datetime import date, datetime

import polars as pl
import pytest

from bet_lightning.data import ColumnNames, encode_interactions, read_interactions
from bet_lightning.data.sources import own_name

PAIRS = {("ann", "x,1"), ("bob", "é"), ("ann", "é")}
USUAL = ColumnNames()
DATES = [(3, 4), (12, 25)]  # months and days


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def decode(data):
    return set(zip(data.user_ids[data.users], data.item_ids[data.items], strict=True))


def read_pairs(path, names=USUAL):
    return decode(encode_interactions([read_interactions(path, names)])[0])


class TestAdjacency:
    def test_pairs_and_users_without_items(self, tmp_path):
        path = write(tmp_path / "a.txt", "\ufeff0 3 1\r\n\n1\n 2\t0 2 \n0 4 3")
        (data,) = encode_interactions([read_interactions(path)])
        assert decode(data) == {(0, 1), (0, 3), (0, 4), (2, 0), (2, 2)}
        assert data.duplicates == 1
        assert data.user_ids.tolist() == [0, 1, 2]
        assert data.item_ids.tolist() == [0, 1, 2, 3, 4]
        assert data.times is None

    def test_matches_python_parser(self, tmp_path, rng):
        lists = {user: rng.choice(50, rng.integers(0, 9), replace=False).tolist() for user in range(40)}
        path = write(tmp_path / "a.txt", "\n".join(" ".join(map(str, [u, *i])) for u, i in lists.items()))
        assert read_pairs(path) == {(user, item) for user, items in lists.items() for item in items}

    def test_dense_ids_are_rows_over_all_files(self, tmp_path):
        train = read_interactions(write(tmp_path / "train.txt", "0 0 2\n1 5\n"))
        test = read_interactions(write(tmp_path / "test.txt", "3 1\n"))
        parts = encode_interactions([train, test])
        assert parts[0].user_ids is parts[1].user_ids
        assert parts[0].user_ids.tolist() == [0, 1, 2, 3]
        assert parts[0].item_ids.tolist() == [0, 1, 2, 3, 4, 5]
        assert parts[1].users.tolist() == [3]

    def test_sparse_ids_are_renumbered(self, tmp_path):
        (data,) = encode_interactions([read_interactions(write(tmp_path / "a.txt", "7 900000000000 5\n9 5\n"))])
        assert data.user_ids.tolist() == [7, 9]
        assert data.item_ids.tolist() == [5, 900000000000]

    def test_line_ends_of_old_macs(self, tmp_path):
        assert read_pairs(write(tmp_path / "a.txt", "0 3 1\r2 0\r")) == {(0, 3), (0, 1), (2, 0)}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "the file is empty"),
            (" \n\n", "the file is empty"),
            ("0\n1\n", "the file is empty"),
            ("0 1\n\n1 -2 x\n", "line 3: '-2' is not a non-negative integer id"),
            ("0 1\n1 2.5\n", "line 2: '2.5' is not a non-negative integer id"),
            ("user item\n0 1\n", "line 1: 'user' is not a non-negative integer id"),
            ("0 1234567890123456789\n0 x", "line 1: '1234567890123456789' is not"),
            ("0 1\n1 \u00e9\n", "line 2: '\u00e9' is not"),
        ],
    )
    def test_errors(self, tmp_path, text, message):
        with pytest.raises(ValueError) as error:
            read_interactions(write(tmp_path / "bad.txt", text))
        assert str(error.value).startswith(str(tmp_path / "bad.txt"))
        assert message in str(error.value)
        assert "\n" not in str(error.value)


class TestColumns:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("a.csv", 'User_ID,movieId,Rating\nann,"x,1",5\nbob,é,1\nann,é,2\n'),
            ("a.CSV", '\ufeffuser,x,item\r\nann,0,"x,1"\r\nbob,0,é\r\nann,0,é\r\n'),
            ("a.tsv", "item_id\tuid\nx,1\tann\né\tbob\né\tann\n"),
            ("a.inter", "user_id:token\titem_id:token\trating:float\nann\tx,1\t1\nbob\té\t1\nann\té\t2\n"),
        ],
    )
    def test_text_formats_with_string_ids(self, tmp_path, name, text):
        assert read_pairs(write(tmp_path / name, text)) == PAIRS

    @pytest.mark.parametrize(
        "header", ["customer,SKU", "Client ID,product-id", "visitorid,Article_Id", "buyer,ParentAsin"]
    )
    def test_usual_names_however_they_are_spelt(self, tmp_path, header):
        assert read_pairs(write(tmp_path / "a.csv", f"{header}\nann,x\n")) == {("ann", "x")}

    @pytest.mark.parametrize("separator", [";", "\t", "|"])
    def test_another_separator_is_found_in_the_header(self, tmp_path, separator):
        text = 'user;item\nann;"x,1"\nbob;é\nann;é\n'.replace(";", separator)
        assert read_pairs(write(tmp_path / "a.csv", text)) == PAIRS

    def test_a_separator_that_is_given(self, tmp_path):
        path = write(tmp_path / "a.csv", "user,item^day,x\na,nn^x\nbob^y\n")
        table = read_interactions(path, ColumnNames("user,item", "day,x"), separator="^")
        assert (table.users.to_list(), table.items.to_list()) == (["a,nn", "bob"], ["x", "y"])
        for name in ("a.txt", "a.parquet"):
            with pytest.raises(ValueError, match=r"data.separator ';' is of no use"):
                read_interactions(write(tmp_path / name, "0 1"), separator=";")
        with pytest.raises(ValueError, match=r"data.separator must be one character, got '::'"):
            read_interactions(path, separator="::")

    def test_line_ends_of_old_macs(self, tmp_path):
        assert read_pairs(write(tmp_path / "a.csv", 'user,item\rann,"x,1"\rbob,é\rann,é\r')) == PAIRS

    def test_times_that_are_missing_where_none_are_wanted(self, tmp_path):
        path = write(tmp_path / "a.csv", "user,item,ts\n1,2,0\n1,3,\n")
        assert read_interactions(path, timed=False).times is None

    def test_junk_is_not_echoed(self, tmp_path):
        path = tmp_path / "junk.csv"
        path.write_bytes(bytes(range(256)).replace(b"\n", b"") * 40 + b"\n1,2\n")
        with pytest.raises(ValueError) as error:
            read_interactions(path)
        assert str(error.value).isprintable() and len(str(error.value)) < 1500
        packed = tmp_path / "junk.csv.gz"
        for content in (b"no gzip", gzip.compress(b"user,item\n1,2\n" * 99)[:-9]):
            packed.write_bytes(content)
            with pytest.raises(ValueError, match=r"not a readable \.gz file"):
                read_interactions(packed)

    def test_packed_text(self, tmp_path):
        path = tmp_path / "shop.csv.gz"
        path.write_bytes(gzip.compress('user;item\nann;"x,1"\nbob;é\nann;é\n'.encode()))
        assert read_pairs(path) == PAIRS
        assert own_name(path) == "shop"
        assert read_pairs(path.rename(tmp_path / "shop.csv")) == PAIRS  # whatever it is called

    def test_another_encoding_is_advised_against(self, tmp_path):
        path = write(tmp_path / "a.csv", "user,item\nann,é\n", encoding="latin-1")
        with pytest.raises(ValueError, match=r"not a readable table.*utf-8.*iconv -f LATIN1 -t UTF-8"):
            read_interactions(path)

    def test_dates_with_slashes_begin_with_whatever_all_can_begin_with(self, tmp_path):
        expected = [(datetime(2024, *month_and_day) - datetime(1970, 1, 1)).total_seconds() for month_and_day in DATES]
        for pattern in ("{1:02}/{0:02}/2024", "{0}/{1}/2024", "{1}/{0}/2024 00:00:00"):
            rows = "".join(f"a,{place},{pattern.format(*each)}\n" for place, each in enumerate(DATES))
            path = write(tmp_path / "a.csv", "user,item,date\n" + rows)
            assert read_interactions(path).times.tolist() == expected
        same = write(tmp_path / "a.csv", "user,item,date\na,b,3/3/2024\n")
        assert len(read_interactions(same).times) == 1

    def test_parquet_with_string_ids(self, tmp_path):
        users, items = zip(*sorted(PAIRS), strict=True)
        frame = pl.DataFrame({"USER_ID": users, "asin": items}, schema_overrides={"USER_ID": pl.Categorical})
        frame.write_parquet(tmp_path / "a.parquet")
        assert read_pairs(tmp_path / "a.parquet") == PAIRS

    def test_parquet_ids_that_are_none(self, tmp_path):
        values = {"the id is missing": [1.0, float("nan")], "must be numbers or text, not Struct": [{"a": 1}, {"a": 2}]}
        for message, ids in values.items():
            pl.DataFrame({"user": ids, "item": [1, 2]}).write_parquet(tmp_path / "a.parquet")
            with pytest.raises(ValueError, match=message):
                encode_interactions([read_interactions(tmp_path / "a.parquet")])

    def test_whole_numbers_held_as_floats_are_integers(self, tmp_path):
        pl.DataFrame({"user": [3.0, 1.0], "item": [0.5, 2.0]}).write_parquet(tmp_path / "a.parquet")
        (table,) = read_interactions(tmp_path / "a.parquet").pieces()
        assert (table.users.to_list(), table.items.to_list()) == ([3, 1], ["0.5", "2.0"])

    def test_parquet_with_integers_and_dates(self, tmp_path):
        frame = pl.DataFrame({"user": [3, 1], "item": [2, 2], "date": [date(1970, 1, 2), date(1970, 1, 1)]})
        frame.with_columns(pl.col("user").cast(pl.UInt16)).write_parquet(tmp_path / "a.parquet")
        (table,) = read_interactions(tmp_path / "a.parquet").pieces()
        assert table.users.dtype == pl.Int64
        assert table.users.to_list() == [3, 1]
        assert table.times.tolist() == [86400.0, 0.0]

    def test_integers_only_if_nothing_is_lost(self, tmp_path):
        table = read_interactions(write(tmp_path / "a.csv", "user,item\n1,01\n-2,2\n"))
        assert table.users.to_list() == [1, -2]
        assert table.items.to_list() == ["01", "2"]

    def test_integer_and_string_files_share_a_vocabulary(self, tmp_path):
        train = read_interactions(write(tmp_path / "train.csv", "user,item\n1,10\n2,20\n"))
        test = read_interactions(write(tmp_path / "test.csv", "user,item\n1,20\nx,10\n"))
        parts = encode_interactions([train, test])
        assert parts[0].user_ids.tolist() == ["1", "2", "x"]
        assert parts[0].item_ids.tolist() == [10, 20]
        assert decode(parts[1]) == {("1", 20), ("x", 10)}

    def test_times_by_number_and_by_date(self, tmp_path):
        numbers = write(tmp_path / "a.inter", "user_id:token\titem_id:token\ttimestamp:float\na\tb\t1.5e3\n")
        assert read_interactions(numbers).times.tolist() == [1500.0]
        dates = write(tmp_path / "a.csv", "user,item,date\na,b,2018-07-07 22:09:11\n")
        assert read_interactions(dates).times.tolist() == [
            (datetime(2018, 7, 7, 22, 9, 11) - datetime(1970, 1, 1)).total_seconds()
        ]

    def test_columns_by_name_and_minimal_rating(self, tmp_path):
        path = write(tmp_path / "a.csv", "who,what,how,user\na,b,4,z\nc,d,3.5,z\ne,f,5,z\n")
        assert read_pairs(path, ColumnNames("WHO", "what", "how", min_rating=4)) == {("a", "b"), ("e", "f")}
        assert len(read_pairs(path, ColumnNames("WHO", "what", "how"))) == 3

    @pytest.mark.parametrize(
        ("name", "text", "options", "message"),
        [
            ("a.csv", "", {}, "the file is empty"),
            ("a.csv", "user,item\n", {}, "it is empty, there is a header and no rows"),
            (
                "a.csv",
                "a,b\n1,2\n",
                {},
                "no user column (data.user_column) and no item column (data.item_column) is recognised, it has a, b",
            ),
            ("a.csv", "a,sku\n1,2\n", {}, "no user column (data.user_column) is recognised, it has a, sku"),
            (
                "a.csv",
                "user,item,date\n1,2,3/4/2024\n1,3,12/11/2024\n",
                {},
                "'3/4/2024' and all others may begin with the day or with the month: write dates as 2024-12-31",
            ),
            ("a.csv", "user,b\n1,2\n", {}, "no item column (data.item_column) is recognised, it has user, b"),
            (
                "a.csv",
                "user,item\n1,2\n",
                {"item": "x"},
                "no column 'x' (data.item_column), it has user, item",
            ),
            ("a.csv", "user,item\n1,2\n", {"time": "x"}, "no column 'x' (data.time_column)"),
            ("a.csv", "user,item\n1,2\n", {"rating": "x"}, "no column 'x' (data.rating_column)"),
            ("a.csv", "user,item\n1,2\n", {"min_rating": 3}, "no rating column (data.rating_column)"),
            ("a.csv", "user,item\n1,2\n", {"item": "user"}, "column 'user' cannot be both"),
            ("a.csv", "user,item\n1,2\n3,\n", {}, "row 2 of the data, column 'item': the id is missing"),
            ("a.tsv", "user\titem\n\t2\n", {}, "row 1 of the data, column 'user': the id is missing"),
            ("a.csv", "user,item\n1,2\n1,2,3\n", {}, "not a readable table"),
            ("a.parquet", "not a table", {}, "not a readable table"),
            (
                "a.csv",
                "user,item,ts\n1,2,0\n1,2,nan\n",
                {},
                "row 2 of the data, column 'ts': ['nan'] is not a",
            ),
            (
                "a.csv",
                "user,item,ts\n1,2,0\n1,3,\n",
                {},
                "row 2 of the data, column 'ts': [None] is not a",
            ),
            ("a.csv", "user,item,ts\n1,2,soon\n", {}, "column 'ts': ['soon'] is not a finite number"),
            (
                "a.csv",
                "user,item,stars\n1,2,x\n",
                {"min_rating": 1},
                "column 'stars': ['x'] is not a finite number",
            ),
            (
                "a.csv",
                "user,item,stars\n1,2,inf\n",
                {"min_rating": 1},
                "column 'stars': ['inf'] is not a finite",
            ),
            (
                "a.csv",
                "user,item,stars\n1,2,3\n",
                {"min_rating": 4},
                "no row has data.min_rating 4 in column 'stars'",
            ),
            (
                "a.dat",
                "1::2::3\n",
                {},
                "unknown suffix '.dat', expected a folder or .txt, .csv, .tsv, .inter, .parquet",
            ),
            ("a.txt", "1 2\n", {"min_rating": 4}, "data.min_rating 4 is of no use: .txt has no columns"),
            (
                "a.txt",
                "1 2\n",
                {"user": "u"},
                "data.user_column 'u' is of no use: .txt has no columns",
            ),
        ],
    )
    def test_errors(self, tmp_path, name, text, options, message):
        with pytest.raises(ValueError) as error:
            read_interactions(write(tmp_path / name, text), ColumnNames(**options))
        assert str(error.value).startswith(str(tmp_path / name))
        assert message in str(error.value)
        assert "\n" not in str(error.value)

    def test_encoding_error(self, tmp_path):
        with pytest.raises(ValueError, match=r"latin\.csv: not a readable table"):
            read_interactions(write(tmp_path / "latin.csv", "user,item\né,é\n", "latin-1"))


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv: no such file"):
        read_interactions(tmp_path / "none.csv")
