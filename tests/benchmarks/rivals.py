"""How others do it, written again, only to be measured, and to check that ours computes the same."""

from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn.models import LightGCN as PyGLightGCN

from bet_lightning.backbones import MF, NGCF, Backbone, Edges, LightGCN, NeuMF
from bet_lightning.data import BPRBatch
from bet_lightning.objectives import BPR, total_loss
from bet_lightning.optimizers import pays_by_rows
from bet_lightning.recommender import make_optimizer
from bet_lightning.schedule import LRSchedule

Step = Callable[[BPRBatch], object]
L2 = 1e-4


def bpr_loss(pos_scores: Tensor, neg_scores: Tensor, ego: Tensor, size: int) -> Tensor:
    """BPR with the squared norm of the batch's rows."""
    loss: Tensor = functional.softplus(neg_scores - pos_scores).mean() + L2 * ego.square().sum() / (2 * size)
    return loss


def train_step(
    model: nn.Module, loss_of: Callable[[BPRBatch], Tensor], optimizer: torch.optim.Optimizer | None = None
) -> Step:
    """A step on a loss, of plain Adam unless an optimiser is given."""
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=1e-3)

    def step(batch: BPRBatch) -> None:
        optimizer.zero_grad()
        loss_of(batch).backward()
        optimizer.step()

    return step


def our_step(model: Backbone, batch_size: int) -> Step:
    """A step as the package trains, for batches of a size."""
    by_rows = pays_by_rows(model, batch_size)
    optimizer, _ = make_optimizer(model, LRSchedule(1e-3), lambda: 1, by_rows)
    return train_step(model, lambda batch: total_loss(model, BPR(), L2, batch), optimizer)


def _triplet_loss(final: Tensor, ego: Tensor, batch: BPRBatch, num_users: int) -> Tensor:
    users, positives, negatives = batch.users, batch.pos_items + num_users, batch.neg_items + num_users
    user, pos, neg = final[users], final[positives], final[negatives]
    rows = torch.cat([ego[users], ego[positives], ego[negatives]])
    return bpr_loss((user * pos).sum(1), (user * neg).sum(1), rows, len(users))


def plain_mf_step(model: MF) -> Step:
    """MF in its straightforward form: rows indexed, plain Adam."""
    weight = model.masked_table().weight
    return train_step(model, lambda batch: _triplet_loss(weight, weight, batch, model.num_users))


def coo_lightgcn_step(model: LightGCN, adjacency: Tensor) -> Step:
    """LightGCN as LightGCN-PyTorch trains it: COO products over all rows, layers stacked, plain Adam."""
    weight = model.masked_table().weight

    def loss(batch: BPRBatch) -> Tensor:
        layers = [weight]
        for _ in range(model.num_layers):
            layers.append(torch.sparse.mm(adjacency, layers[-1]))
        return _triplet_loss(torch.stack(layers, 1).mean(1), weight, batch, model.num_users)

    return train_step(model, loss)


def pyg_lightgcn_step(model: PyGLightGCN, adjacency: Tensor, num_users: int) -> Step:
    """LightGCN as torch_geometric's example trains it; ``adjacency`` is an edge index or a CSR tensor."""

    def loss(batch: BPRBatch) -> Tensor:
        users, positives, negatives = batch.users, batch.pos_items + num_users, batch.neg_items + num_users
        pairs = torch.cat([torch.stack([users, positives]), torch.stack([users, negatives])], dim=1)
        pos_rank, neg_rank = model(adjacency, pairs).chunk(2)
        result: Tensor = model.recommendation_loss(pos_rank, neg_rank, node_id=pairs.unique(), lambda_reg=L2)
        return result

    return train_step(model, loss)


def coo_ngcf_step(model: NGCF, adjacency: Tensor) -> Step:
    """NGCF in its straightforward form: COO products, all layers of all rows side by side, plain Adam."""
    weight = model.masked_table().weight

    def loss(batch: BPRBatch) -> Tensor:
        hidden, outputs = weight, [weight]
        for sum_layer, product_layer in zip(model.sum_layers, model.product_layers, strict=True):
            side = torch.sparse.mm(adjacency, hidden)
            hidden = functional.leaky_relu(sum_layer(side + hidden) + product_layer(side * hidden), 0.2)
            hidden = functional.dropout(hidden, model.message_dropout)
            outputs.append(functional.normalize(hidden))
        return _triplet_loss(torch.cat(outputs, 1), weight, batch, model.num_users)

    return train_step(model, loss)


def plain_neumf_step(model: NeuMF) -> Step:
    """NeuMF in its straightforward form: a lookup a side, table and pair, the tower on joined rows, plain Adam."""
    gmf, mlp = model.masked_table(0).weight, model.masked_table(1).weight

    def score(users: Tensor, items: Tensor) -> Tensor:
        hidden = torch.cat([functional.embedding(users, mlp), functional.embedding(items, mlp)], 1)
        for layer in model.tower:
            hidden = torch.relu(layer(hidden))
        joint = torch.cat([functional.embedding(users, gmf) * functional.embedding(items, gmf), hidden], 1)
        result: Tensor = model.output(joint)[:, 0]
        return result

    def loss(batch: BPRBatch) -> Tensor:
        positives, negatives = batch.pos_items + model.num_users, batch.neg_items + model.num_users
        rows = torch.cat([batch.users, positives, negatives])
        ego = torch.cat([functional.embedding(rows, gmf), functional.embedding(rows, mlp)], 1)
        return bpr_loss(score(batch.users, positives), score(batch.users, negatives), ego, len(batch.users))

    return train_step(model, loss)


def masked_neumf_step(model: NeuMF) -> Step:
    """NeuMF with a mask as the BET authors apply it: the whole table times a mask, then lookups."""
    masks = [torch.ones_like(model.masked_table(index).weight) for index in range(2)]

    def loss(batch: BPRBatch) -> Tensor:
        positives, negatives = batch.pos_items + model.num_users, batch.neg_items + model.num_users
        gmf, mlp = (model.masked_table(index).weight * masks[index] for index in range(2))

        def score(items: Tensor) -> Tensor:
            hidden = torch.cat([mlp[batch.users], mlp[items]], 1)
            for layer in model.tower:
                hidden = torch.relu(layer(hidden))
            result: Tensor = model.output(torch.cat([gmf[batch.users] * gmf[items], hidden], 1))[:, 0]
            return result

        rows = torch.cat([batch.users, positives, negatives])
        return bpr_loss(score(positives), score(negatives), torch.cat([gmf[rows], mlp[rows]], 1), len(batch.users))

    return train_step(model, loss)


def recbole_lightgcn_step(edges: Edges, d: int) -> Step | None:
    """LightGCN as RecBole trains it, if RecBole is installed: its model and loss, plain Adam."""
    try:
        from recbole.model.general_recommender import LightGCN as RecBoleLightGCN
        from scipy.sparse import coo_matrix
    except ImportError:
        return None
    fields = {"USER_ID_FIELD": "user", "ITEM_ID_FIELD": "item", "NEG_PREFIX": "neg_"}
    settings = {"device": torch.device("cpu"), "embedding_size": d, "n_layers": 3, "reg_weight": L2}
    shape, numbers = (edges.num_users, edges.num_items), {"user": edges.num_users, "item": edges.num_items}
    ones = torch.ones(len(edges.users)).numpy()
    matrix = coo_matrix((ones, (edges.users.numpy(), edges.items.numpy())), shape)
    dataset = SimpleNamespace(num=numbers.__getitem__, inter_matrix=lambda form: matrix)
    model = RecBoleLightGCN({**fields, **settings, "require_pow": True}, dataset)

    def loss(batch: BPRBatch) -> Tensor:
        interaction = {"user": batch.users, "item": batch.pos_items, "neg_item": batch.neg_items}
        result: Tensor = model.calculate_loss(interaction)
        return result

    return train_step(model, loss)
