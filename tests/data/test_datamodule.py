import logging

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer

from bet_lightning.data import InteractionDataModule, RankingLoader, TripletLoader, datamodule

SMALL = {"synthetic_users": 60, "synthetic_items": 50, "synthetic_interactions": 700}


def write(folder, **files):
    paths = {}
    for part, text in files.items():
        paths[f"{part}_path"] = str(folder / f"{part}.txt")
        (folder / f"{part}.txt").write_text(text)
    return paths


def prepared(**options):
    data = InteractionDataModule(**options)
    data.prepare_data()
    data.setup()
    return data


def seen_and_targets(loader):
    """Pairs (user, item) of a ranking loader."""
    seen, targets = set(), set()
    for batch in loader:
        seen |= set(zip(batch.users[batch.seen_rows].tolist(), batch.seen_items.tolist(), strict=True))
        targets |= set(zip(batch.users[batch.target_rows].tolist(), batch.target_items.tolist(), strict=True))
    return seen, targets


def pairs_of(csr, users):
    pairs = zip(csr.rows().tolist(), csr.indices.tolist(), strict=True)
    return {pair for pair in pairs if users[pair[0]]}


def test_last_pairs_of_adjacency_lists_for_validation(tmp_path):
    (tmp_path / "train.txt").write_text("0 5 3 4 1 0 2\n1 2 1\n1 0 4\n2 3\n")
    (tmp_path / "test.txt").write_text("0 6\n")
    paths = {f"{part}_path": str(tmp_path / f"{part}.txt") for part in ("train", "test")}
    split = prepared(**paths, valid_ratio=0.34, valid_choice="last").dataset
    assert sorted(zip(split.valid.rows().tolist(), split.valid.indices.tolist(), strict=True)) == [
        (0, 0),
        (0, 2),
        (1, 4),
    ]


def test_validation_pairs_given_back_to_training():
    usual, data = prepared(**SMALL), prepared(**SMALL, train_on_valid=True)
    known = usual.dataset.train.union(usual.dataset.valid)
    assert sum(len(batch.users) for batch in data.train_dataloader()) == known.nnz == data.dataset.train.nnz
    assert data.dataset.hash != usual.dataset.hash
    for loader in ("val_dataloader", "test_dataloader"):
        assert seen_and_targets(getattr(data, loader)()) == seen_and_targets(getattr(usual, loader)())


def test_loaders_of_the_synthetic_set():
    data = prepared(**SMALL, batch_size=64, eval_batch_size=7)
    split = data.dataset
    assert (data.name, data.split) == ("synthetic", "ratio")
    train = data.train_dataloader()
    assert isinstance(train, TripletLoader) and train.sampler is data.triplets
    assert sum(len(batch.users) for batch in train) == split.train.nnz

    has_valid, has_test, everyone = (
        split.valid.degrees() > 0,
        split.test.degrees() > 0,
        np.ones(60, dtype=bool),
    )
    known = split.train.union(split.valid)
    assert seen_and_targets(data.val_dataloader()) == (
        pairs_of(split.train, has_valid),
        pairs_of(split.valid, everyone),
    )
    assert seen_and_targets(data.test_dataloader()) == (
        pairs_of(known, has_test),
        pairs_of(split.test, everyone),
    )
    assert seen_and_targets(data.predict_dataloader()) == (pairs_of(known.union(split.test), everyone), set())
    assert sum(len(batch.users) for batch in data.predict_dataloader()) == 60
    assert data.num_skipped == {"valid": (~has_valid).sum(), "test": (~has_test).sum()}


def test_setup_is_idempotent_and_logs_once(caplog):
    data = InteractionDataModule(**SMALL)
    with caplog.at_level(logging.INFO, logger="bet_lightning"):
        data.setup("fit")
        split = data.dataset
        data.setup("test")
    assert data.dataset is split
    assert len(caplog.records) == 1 and split.hash[:12] in caplog.text


def test_seed_decides():
    assert prepared(**SMALL).dataset.hash == prepared(**SMALL).dataset.hash
    assert prepared(**SMALL).dataset.hash != prepared(**SMALL, seed=1).dataset.hash


def test_dataset_before_setup():
    with pytest.raises(RuntimeError, match="setup"):
        _ = InteractionDataModule().dataset


@pytest.mark.parametrize(
    ("parts", "split"),
    [("train", "ratio"), ("train test", "official"), ("train valid", "given"), ("train valid test", "given")],
)
def test_usual_split_of_own_files(tmp_path, parts, split):
    texts = {"train": "0 0 1 2 3 4 5 6 7 8 9\n1 1 2\n", "valid": "0 10\n", "test": "1 11\n"}
    data = prepared(name="gowalla", **write(tmp_path, **{part: texts[part] for part in parts.split()}))
    assert (data.name, data.split) == (tmp_path.name, split)  # three files called train, valid and test tell nothing
    assert data.dataset.valid.nnz > 0


def test_own_csv(tmp_path):
    rows = [f"u{user},i{item},{item % 5 + 1},{item}" for user in range(6) for item in range(40)]
    (tmp_path / "mine.csv").write_text("user,item,rating,timestamp\n" + "\n".join(rows))
    data = prepared(path=str(tmp_path / "mine.csv"), split="temporal", min_rating=3, ratios=(0.5, 0.25, 0.25))
    assert data.dataset.name == "mine"
    assert (data.dataset.num_users, data.dataset.num_items) == (6, 24)
    assert data.dataset.train.degrees().tolist() == [12] * 6
    assert data.dataset.user_ids.tolist() == [f"u{user}" for user in range(6)]
    latest = {int(item[1:]) for item in data.dataset.item_ids[data.dataset.test.indices]}
    assert latest == {item for item in range(30, 40) if item % 5 >= 2}


def test_user_with_all_items(tmp_path):
    data = prepared(**write(tmp_path, train="0 0 1 2\n1 0\n", valid="1 1\n", test="1 2\n"))
    assert [batch.users.tolist() for batch in data.train_dataloader()] == [[1]]
    assert [batch.seen_items.tolist() for batch in data.predict_dataloader()] == [[0, 1, 2, 0, 1, 2]]


class Probe(LightningModule):
    """Records what Lightning hands over."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.first_users, self.evaluated = [], 0

    def training_step(self, batch, batch_idx):
        if batch_idx == 0:
            self.first_users.append(batch.users)
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        self.evaluated += len(batch.users)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_lightning_shuffles_every_epoch():
    data, probe = InteractionDataModule(**SMALL, batch_size=128), Probe()
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(probe, datamodule=data)
    assert len(probe.first_users) == 2 and not torch.equal(*probe.first_users)
    assert trainer.global_step == 2 * len(data.triplets)
    assert probe.evaluated == 2 * (60 - data.num_skipped["valid"])


def test_ranks_come_from_the_trainer():
    class Ranked:
        global_rank, world_size = 1, 2

    data = prepared(**SMALL, batch_size=64)
    total = data.dataset.train.nnz
    data.trainer = Ranked()
    batches = list(data.train_dataloader())
    assert abs(sum(len(batch.users) for batch in batches) - total / 2) < 1
    loader = data.predict_dataloader()
    assert isinstance(loader, RankingLoader)
    assert loader.users.tolist() == list(range(1, 60, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "gowala"}, "data.name 'gowala' is unknown: did you mean 'gowalla'"),
        ({"split": "random"}, "data.split must be one of"),
        ({"ratios": (1.0, 1.0, 1.0)}, "data.ratios must"),
        ({"valid_ratio": 0.0}, "data.valid_ratio must be in"),
        ({"batch_size": 0}, "data.batch_size must be at least 1, got 0"),
        ({"eval_batch_size": -1}, "data.eval_batch_size must be at least 1, got -1"),
        ({"seed": -1}, "data.seed must not be negative, got -1"),
        (
            {"path": "a.csv", "train_path": "b.csv"},
            "data.path a.csv and data.train_path b.csv exclude each other",
        ),
        ({"test_path": "b.csv"}, "data.test_path b.csv needs data.train_path"),
        ({"min_rating": 4.0}, "data.min_rating 4.0 needs data.path, data.train_path or data.source"),
        ({"user_column": "u"}, "data.user_column 'u' needs data.path, data.train_path or data.source"),
    ],
)
def test_argument_errors(options, message):
    with pytest.raises(ValueError, match=message):
        InteractionDataModule(**options)


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        (
            {"train": "0 1\n1 2\n"},
            {"split": "ratio"},
            "data.split ratio of .* leaves nothing to validate on",
        ),
        (
            {"train": "0 1 2\n", "valid": "0 1\n"},
            {},
            "data.split given of .* leaves nothing to validate on",
        ),
        ({"train": "0 1 2\n"}, {"split": "given"}, "data.split given needs a valid part"),
        ({"train": "0 1 2\n"}, {"min_rating": 3.0}, "data.min_rating 3.0 is of no use"),
    ],
)
def test_setup_errors(tmp_path, files, options, message):
    with pytest.raises(ValueError, match=message):
        prepared(**write(tmp_path, **files), **options)


def test_nothing_to_test_on(tmp_path):
    data = prepared(**write(tmp_path, train="0 1 2\n", valid="0 3\n"))
    with pytest.raises(ValueError, match="leaves nothing to test on"):
        data.test_dataloader()


def test_wrong_file_under_a_known_name(tmp_path):
    (tmp_path / "gowalla").mkdir()
    write(tmp_path / "gowalla", train="0 1 2\n", test="0 0\n")
    with pytest.raises(ValueError, match=r"gowalla is not gowalla: expected users 29858"):
        prepared(name="gowalla", data_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "users", "items", "train_and_valid", "test", "skipped"),
    [
        ("gowalla", 29_858, 40_981, 810_128, 217_242, 0),
        ("yelp2018", 31_668, 38_048, 1_237_259, 324_147, 0),
        ("ml-1m", 6_039, 3_628, 590_733 + 80_897, 164_848, 1),
        ("lastfm", 1_885, 17_388, 64_315 + 9_143, 18_321, 22),
    ],
)
def test_real_data(real_data, name, users, items, train_and_valid, test, skipped):
    if not (real_data / name).is_dir():
        pytest.skip(f"BET_DATA_DIR has no {name}")
    data = prepared(name=name, data_dir=str(real_data))
    split = data.dataset
    assert (split.num_users, split.num_items) == (users, items)
    assert split.train.nnz + split.valid.nnz == train_and_valid
    assert split.test.nnz == test
    assert split.duplicates == 0
    assert data.num_skipped["test"] == skipped
    assert split.statistics()["users_without_train"] == 0
    np.testing.assert_array_equal(split.user_ids, np.arange(users))
    np.testing.assert_array_equal(split.item_ids, np.arange(items))
    paper = prepared(name=name, data_dir=str(real_data), split="paper").dataset
    sizes = np.array([paper.train.nnz, paper.valid.nnz, paper.test.nnz])
    np.testing.assert_allclose(sizes / sizes.sum(), [0.5, 0.25, 0.25], atol=0.02)


def test_fewer_users_at_once_where_their_scores_would_take_too_much(monkeypatch):
    data = InteractionDataModule(synthetic_items=1500, eval_batch_size=1024)
    data.setup("fit")
    assert data.val_dataloader().batch_size == 1024
    monkeypatch.setattr(datamodule, "_MAX_SCORE_BYTES", 100 * 4 * data.dataset.num_items)
    assert data.val_dataloader().batch_size == data.predict_dataloader().batch_size == 100


def test_own_data_is_called_after_what_tells_more(tmp_path):
    for name, expected in (("sales.csv", "sales"), ("Interactions.csv", tmp_path.name), ("train.csv", tmp_path.name)):
        assert InteractionDataModule(path=str(tmp_path / name)).name == expected


def test_batches_follow_the_number_of_pairs():
    for interactions, expected in ((400, 256), (20_000, 512), (60_000, 1024)):
        data = prepared(synthetic_users=1000, synthetic_items=1500, synthetic_interactions=interactions)
        assert data.triplets.batch_size == expected
        steps = len(data.train_dataloader())
        assert 24 <= steps <= 49 or expected == 256
