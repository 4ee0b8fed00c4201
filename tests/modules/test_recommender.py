from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from bet_lightning.backbones import MF, NeuMF
from bet_lightning.data import BPRBatch, Csr, InteractionDataModule, RankingBatch
from bet_lightning.modules import RecommenderModule
from bet_lightning.objectives import BPR, SampledSoftmax
from bet_lightning.ranking import RankingMetrics
from bet_lightning.schedule import LRSchedule
from bet_lightning.tables import MaskedEmbedding
from bet_lightning.tables.soft_threshold import PrunedTable
from tests.conftest import TINY

TRAIN = Csr.from_pairs(np.array([0, 0, 1, 2]), np.array([0, 3, 1, 2]), 3, 5)


@pytest.fixture
def module() -> RecommenderModule:
    module = RecommenderModule(lambda edges: MF(edges, max_size=4), l2=0.3, objective=BPR(), ks=(2, 1))
    module.build(TRAIN)
    module.network.reset_parameters(torch.Generator().manual_seed(0))
    return module


def test_a_training_step_returns_and_logs_the_loss_of_the_recommender(module: RecommenderModule) -> None:
    batch = BPRBatch(torch.tensor([0, 2]), torch.tensor([3, 2]), torch.tensor([1, 4]))
    logged: dict[str, Any] = {}
    module.log = lambda name, value, **_: logged.update({name: value})  # type: ignore[method-assign]
    loss = module.training_step(batch, 0)
    assert loss.equal(module.recommender.loss(batch)) and loss.requires_grad
    assert logged == {"train/loss": loss}


def test_learning_rate_follows_the_schedule_in_force(module: RecommenderModule) -> None:
    module.schedule = LRSchedule(lr=0.5, decay=0.5, decay_epochs=1, min_lr=0.1)
    module.row_steps = False
    module.trainer = SimpleNamespace(num_training_batches=2)  # type: ignore[assignment]
    configured = module.configure_optimizers()
    assert isinstance(configured, dict)
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]  # type: ignore[typeddict-item]
    assert configured["lr_scheduler"]["interval"] == "step"  # type: ignore[typeddict-item]
    rates = []
    for _ in range(7):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == [0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.1]


def test_what_is_left_out_follows_the_recipe_of_the_backbone() -> None:
    module = RecommenderModule(lambda edges: NeuMF(edges, max_size=4), ks=(2,))
    module.build(TRAIN)
    assert isinstance(module.recommender.objective, BPR)
    assert (module.recommender.l2, module.schedule) == (NeuMF.recipe.l2, NeuMF.recipe.schedule)
    given = RecommenderModule(lambda edges: MF(edges, max_size=4), 0.5, LRSchedule(0.7), BPR(), ks=(2,))
    given.build(TRAIN)
    assert isinstance(given.recommender.objective, BPR)
    assert (given.recommender.l2, given.schedule) == (0.5, LRSchedule(0.7))


def test_validation_and_test_log_the_metrics_of_their_users_in_full_precision() -> None:
    data = InteractionDataModule(**TINY["data"]["init_args"])
    module = RecommenderModule(lambda edges: MF(edges, max_size=4), ks=(5, 10))
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    (found,) = trainer.validate(module, data, verbose=False)
    expected = module.recommender.evaluate(data.val_dataloader())
    assert found == {f"val/{name}": value for name, value in expected.items()}
    (found,) = trainer.test(module, data, verbose=False)
    expected = module.recommender.evaluate(data.test_dataloader())
    assert found == {f"test/{name}": value for name, value in expected.items()}
    lists: Any = trainer.predict(module, data)
    assert [top.items.shape for top in lists] == [(120, 10)]


def test_a_warning_of_the_ranker_reaches_the_user_once(module: RecommenderModule) -> None:
    module.log_dict = lambda _: None  # type: ignore
    nothing = torch.empty(0, dtype=torch.int64)
    module.on_validation_epoch_start()
    module.validation_step(RankingBatch(torch.tensor([0]), nothing, nothing, torch.tensor([0]), torch.tensor([1])), 0)
    module.recommender.ranker.warnings.append("out of memory: ranking 1 users at once from now on")
    with pytest.warns(UserWarning, match="out of memory: ranking 1 users at once"):
        module.on_validation_epoch_end()
    assert not module.recommender.ranker.warnings


def test_a_checkpoint_of_other_tables_describes_them(module: RecommenderModule) -> None:
    saved: dict[str, Any] = {}
    attach(module, "ours")
    module.on_save_checkpoint(saved)
    assert saved == {"backbone": "MF", "data_hash": "ours"}  # masked tables need no description
    mask = torch.rand(8, 4, generator=torch.Generator().manual_seed(0)) < 0.5
    module.network.use_tables([PrunedTable(8, 4, mask)])
    module.network.reset_parameters(torch.Generator().manual_seed(1))
    module.on_save_checkpoint(saved)
    other = RecommenderModule(lambda edges: MF(edges, max_size=4), ks=(1, 2))
    other.build(TRAIN)
    other.use_tables_of(saved)
    other.load_state_dict(module.state_dict())
    assert isinstance(other.network.table(), PrunedTable)
    assert other.network.table()().equal(module.network.table()())
    other.use_tables_of({})
    assert isinstance(other.network.table(), MaskedEmbedding)
    with pytest.raises(ValueError, match="the checkpoint holds a table that is not known here"):
        other.use_tables_of({"tables": [{"kind": "Unheard"}]})


def test_refuses_weights_of_another_backbone(module: RecommenderModule) -> None:
    other = RecommenderModule(lambda edges: MF(edges, max_size=5), ks=(1, 2))
    other.build(TRAIN)
    with pytest.raises(ValueError, match="the checkpoint is of another backbone or other data: size mismatch"):
        module.load_state_dict(other.state_dict())


def attach(module: RecommenderModule, data_hash: str) -> None:
    """Give a module a trainer with data."""
    module.trainer = SimpleNamespace(datamodule=SimpleNamespace(dataset=SimpleNamespace(hash=data_hash)))  # type: ignore[assignment]


def test_refuses_a_checkpoint_of_other_data(module: RecommenderModule) -> None:
    attach(module, "ours")
    module.on_load_checkpoint({"data_hash": "ours"})
    with pytest.raises(ValueError, match="the checkpoint is of other data or another split, hash theirs, not ours"):
        module.on_load_checkpoint({"data_hash": "theirs"})


def test_refuses_wrong_arguments(module: RecommenderModule) -> None:
    with pytest.raises(ValueError, match=r"model\.l2 must not be negative, got -1"):
        RecommenderModule(MF, l2=-1)
    with pytest.raises(ValueError, match=r"model\.ks must be cut-offs of at least 1, got \[0\]"):
        RecommenderModule(MF, ks=[0])
    with pytest.raises(ValueError, match=r"model\.ks must not exceed the 5 items of the data, got 6"):
        RecommenderModule(MF, ks=[6]).build(TRAIN)
    with pytest.raises(ValueError, match="SampledSoftmax needs a backbone that scores by dot products, got NeuMF"):
        RecommenderModule(NeuMF, objective=SampledSoftmax(), ks=[1]).build(TRAIN)
    with pytest.raises(RuntimeError, match=r"call build\(\) first"):
        _ = RecommenderModule(MF).network
    assert isinstance(module.metrics, RankingMetrics) and module.metrics.ks == (1, 2)
