"""Named data sets: where their files come from and what they must contain."""

from __future__ import annotations

import difflib
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bet_lightning.data.interactions import Interactions

_logger = logging.getLogger(__name__)

_SOURCE = "https://raw.githubusercontent.com/gusye1234/LightGCN-PyTorch/master/data"
_MIRROR = "https://raw.githubusercontent.com/kuandeng/LightGCN/master/Data"


@dataclass(frozen=True)
class CatalogFile:
    """One part of a data set.

    Attributes:
        interactions: Number of pairs in the file.
        sha256: Hex digest of the published file, where known.
        git_blob: Hex git blob id of the published file, where known.
    """

    interactions: int
    sha256: str | None = None
    git_blob: str | None = None


@dataclass(frozen=True)
class CatalogEntry:
    """A named data set.

    Attributes:
        users: Number of users.
        items: Number of items.
        files: Parts by name. Part ``train`` is the file ``train.txt``.
        urls: Folders with the files, in the order to try. Empty if the files are not public in this form.
    """

    users: int
    items: int
    files: Mapping[str, CatalogFile]
    urls: tuple[str, ...]


def _lightgcn_urls(name: str) -> tuple[str, ...]:
    """Return the folders that hold one of the data sets of LightGCN (arXiv 2002.02126)."""
    return f"{_SOURCE}/{name}", f"{_MIRROR}/{name}"


CATALOG: Mapping[str, CatalogEntry] = {
    "gowalla": CatalogEntry(
        users=29_858,
        items=40_981,
        files={
            "train": CatalogFile(810_128, "7244696fdeb23911319cf7b689f2e15a3c4c92549c873a5677b44e3f13cc3e62"),
            "test": CatalogFile(217_242, "099a2a73924e4b754dc6efd730d764f492321b53c38eb93298850c83acf57be3"),
        },
        urls=_lightgcn_urls("gowalla"),
    ),
    "yelp2018": CatalogEntry(
        users=31_668,
        items=38_048,
        files={
            "train": CatalogFile(1_237_259, git_blob="cda12361055ba448ae4bd1070f6000c16dea8f22"),
            "test": CatalogFile(324_147, "9cd9b37926cd1447a06625ffa7914527573fb097c10cb0bbdb1d1b8ded3742fe"),
        },
        urls=_lightgcn_urls("yelp2018"),
    ),
    "amazon-book": CatalogEntry(
        users=52_643,
        items=91_599,
        files={"train": CatalogFile(2_380_730), "test": CatalogFile(603_378)},
        urls=_lightgcn_urls("amazon-book"),
    ),
    "ml-1m": CatalogEntry(
        users=6_039,
        items=3_628,
        files={
            "train": CatalogFile(590_733, "dfa3a7a866feade29ca5722ac0423c1b0317ac1f6ad38a55fc1a7ceeb9cee3bb"),
            "valid": CatalogFile(80_897, "429fe0d750b304677898d7eeb1080764bbf06550b94c9508b8cc8cd0573e3dfc"),
            "test": CatalogFile(164_848, "0d58f78bbf606f401aec2efe3f519b945c458c8398955f986e03b880fbbd16a6"),
        },
        urls=(),
    ),
    "lastfm": CatalogEntry(
        users=1_885,
        items=17_388,
        files={
            "train": CatalogFile(64_315, "1845769cb1a9834692d3cf884de523d23aa126fa6b58eb5f49e9628e8c317705"),
            "valid": CatalogFile(9_143, "9ae3440becfcbba19d5a5a8298b7933126f89424a468de5765bf1c6f08a9e3eb"),
            "test": CatalogFile(18_321, "0f0a15e3de2f868554ee1e32190c51db3e0ad0c4138e1428c66ba6de86102755"),
        },
        urls=(),
    ),
}


def find_entry(name: str) -> CatalogEntry:
    """Look up a named data set.

    Raises:
        ValueError: If there is no data set of this name.
    """
    if name in CATALOG:
        return CATALOG[name]
    close = difflib.get_close_matches(name.lower(), CATALOG, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ValueError(f"data.name {name!r} is unknown: {hint}known are synthetic, {', '.join(CATALOG)}")


def find_dataset(name: str, data_dir: str | Path) -> dict[str, Path]:
    """Find the files of a named data set in ``data_dir/<name>/`` and download those that are missing.

    Args:
        name: Name in the catalog.
        data_dir: Folder of data sets.

    Returns:
        The file of every part (``train``, ``valid``, ``test``) that the data set has.

    Raises:
        ValueError: If the name is unknown.
        FileNotFoundError: If files are missing and cannot be downloaded.
    """
    entry = find_entry(name)
    folder = Path(data_dir) / name
    paths = {part: folder / f"{part}.txt" for part in entry.files}
    missing = {part: path for part, path in paths.items() if not path.is_file()}
    need = f"data.name {name!r} needs {_join(missing)} in {folder}"
    for part, path in paths.items():
        if part in missing:
            _download(path, entry.files[part], entry.urls, need)
        elif not _is_published(path, entry.files[part]):
            _logger.info("%s is not the published file; its counts are checked", path)
    return paths


def check_statistics(name: str, folder: str | Path, parts: Mapping[str, Interactions]) -> None:
    """Check that the files hold the data set that their name promises.

    Args:
        name: Name in the catalog.
        folder: Folder of the files, for the message.
        parts: Interactions by part.

    Raises:
        ValueError: If the number of users, of items, or of pairs in a part differs from the catalog.
    """
    entry = find_entry(name)
    expected = {"users": entry.users, "items": entry.items}
    expected |= {part: file.interactions for part, file in entry.files.items()}
    found = {"users": len(parts["train"].user_ids), "items": len(parts["train"].item_ids)}
    found |= {part: data.pairs.nnz + data.duplicates for part, data in parts.items()}
    if found != expected:
        raise ValueError(f"{folder} is not {name}: expected {_join(expected)}, found {_join(found)}")


def _download(path: Path, file: CatalogFile, urls: tuple[str, ...], need: str) -> None:
    """Fetch one file from the first folder that has it as published.

    Args:
        path: Where to put the file. Its name is also the name in the folders.
        file: What the published file is known by.
        urls: Folders to try, in this order.
        need: Beginning of the message if no folder has it.

    Raises:
        FileNotFoundError: If no folder has it.
    """
    import pooch

    if not urls:
        raise FileNotFoundError(f"{need}: this set has no public URL in this form, put the files there")
    known_hash = None if file.sha256 is None else f"sha256:{file.sha256}"
    reason = ""
    for url in urls:
        try:
            pooch.retrieve(f"{url}/{path.name}", known_hash=known_hash, fname=path.name, path=path.parent)
        except (OSError, ValueError) as error:  # no connection, no such page, wrong content
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            continue
        if _is_published(path, file):
            return
        path.unlink()
        reason = f"{url}/{path.name} is not the file it used to be"
    raise FileNotFoundError(f"{need}: get them from {' or '.join(urls)}; the download failed: {reason}")


def _is_published(path: Path, file: CatalogFile) -> bool:
    """Return whether a file is the published one; a file of which no hash is known counts as published."""
    content = path.read_bytes()
    if file.git_blob is not None:
        header = f"blob {len(content)}\0".encode()
        return hashlib.sha1(header + content, usedforsecurity=False).hexdigest() == file.git_blob
    return file.sha256 is None or hashlib.sha256(content).hexdigest() == file.sha256


def _join(values: Mapping[str, object]) -> str:
    """Join names and values as in ``users 3, items 4``; of a path only the file name is shown."""
    return ", ".join(v.name if isinstance(v, Path) else f"{k} {v}" for k, v in values.items())
