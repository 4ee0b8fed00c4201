import hashlib
from pathlib import Path

import numpy as np
import pooch
import pytest

from bet_lightning.data import CATALOG, CatalogFile, Interactions, catalog, check_statistics, find_dataset


def fill(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("0 0\n")


@pytest.fixture
def downloads(monkeypatch):
    """Stands for the network: content by address; what is asked for is appended to `asked`."""

    class Network(dict):
        asked: list[str]

    network = Network()
    network.asked = []

    def retrieve(url, known_hash, fname, path):
        network.asked.append(url)
        if url not in network:
            raise OSError(f"no route to {url}\nmore about it")
        if known_hash and known_hash != "sha256:" + hashlib.sha256(network[url]).hexdigest():
            raise ValueError(f"hash of {url} does not match")
        path.mkdir(parents=True, exist_ok=True)
        (path / fname).write_bytes(network[url])

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    return network


def test_local_files_are_used(tmp_path, downloads):
    fill(tmp_path / "lastfm", "train.txt", "valid.txt", "test.txt")
    found = find_dataset("lastfm", tmp_path)
    assert found == {part: tmp_path / "lastfm" / f"{part}.txt" for part in ("train", "valid", "test")}
    assert not downloads.asked


def test_only_missing_files_are_downloaded(tmp_path, downloads):
    fill(tmp_path / "amazon-book", "train.txt")
    (url, _) = CATALOG["amazon-book"].urls
    downloads[f"{url}/test.txt"] = b"0 1\n"
    assert find_dataset("amazon-book", str(tmp_path))["test"].read_text() == "0 1\n"
    assert downloads.asked == [f"{url}/test.txt"]


def test_mirror_is_used_if_the_source_fails(tmp_path, downloads):
    source, mirror = CATALOG["amazon-book"].urls
    downloads |= {f"{mirror}/{part}.txt": b"0 1\n" for part in ("train", "test")}
    find_dataset("amazon-book", tmp_path)
    assert downloads.asked == [f"{url}/{part}.txt" for part in ("train", "test") for url in (source, mirror)]


def test_changed_downloads_are_refused(tmp_path, downloads):
    for name in ("gowalla", "yelp2018"):
        for url in CATALOG[name].urls:
            downloads |= {f"{url}/{part}.txt": b"0 1\n" for part in ("train", "test")}
        with pytest.raises(FileNotFoundError, match="the download failed"):
            find_dataset(name, tmp_path)
        assert not list((tmp_path / name).glob("*.txt"))


def test_git_blob_is_gits(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"hello\n")
    assert catalog._is_published(path, CatalogFile(1, git_blob="ce013625030ba8dba906f756967f9e9ca394464a"))
    assert not catalog._is_published(path, CatalogFile(1, git_blob="0" * 40))


def test_failed_download_says_what_goes_where(tmp_path, downloads):
    with pytest.raises(FileNotFoundError) as error:
        find_dataset("gowalla", tmp_path)
    message = str(error.value)
    assert message.startswith(f"data.name 'gowalla' needs train.txt, test.txt in {tmp_path / 'gowalla'}: get them from")
    assert all(url in message for url in CATALOG["gowalla"].urls)
    assert "no route to" in message and "\n" not in message


def test_sets_without_address(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"needs train.txt, valid.txt, test.txt in .*no public URL"):
        find_dataset("ml-1m", tmp_path)


@pytest.mark.parametrize(("name", "hint"), [("Gowala", "did you mean 'gowalla'"), ("netflix", "is unknown: known are")])
def test_unknown_name(tmp_path, name, hint):
    with pytest.raises(ValueError, match=hint) as error:
        find_dataset(name, tmp_path)
    assert "synthetic, gowalla, yelp2018, amazon-book, ml-1m, lastfm" in str(error.value)


def test_statistics_are_checked():
    part = Interactions.from_pairs(np.array([0]), np.array([1]), np.arange(2), np.arange(3))
    with pytest.raises(ValueError) as error:
        check_statistics("gowalla", "folder", {"train": part, "test": part})
    assert str(error.value) == (
        "folder is not gowalla: expected users 29858, items 40981, train 810128, test 217242, "
        "found users 2, items 3, train 1, test 1"
    )


def test_published_total_of_amazon_book():
    assert sum(file.interactions for file in CATALOG["amazon-book"].files.values()) == 2_984_108
