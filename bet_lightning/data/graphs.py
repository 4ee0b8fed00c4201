"""Interactions of a graph of torch_geometric: the edges between its users and its items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bet_lightning.data.frames import ColumnNames
from bet_lightning.data.interactions import Interactions
from bet_lightning.data.names import list_names, printable, usual_name

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData
    from torch_geometric.data.storage import EdgeStorage

EdgeType = tuple[str, str, str]
_SPLIT_EDGES = {"train": "train_pos_edge_index", "valid": "val_pos_edge_index", "test": "test_pos_edge_index"}


@dataclass(frozen=True, eq=False)
class _Edges:
    """Some of the edges of one type: ``(2, n)`` nodes, and ``(n,)`` ratings and times where there are any."""

    nodes: npt.NDArray[np.int64]
    ratings: npt.NDArray[np.float64] | None = None
    times: npt.NDArray[np.float64] | None = None

    def take(self, chosen: npt.NDArray[np.bool_]) -> _Edges:
        """Return the edges that an ``(n,)`` mask chooses."""
        attributes = (None if each is None else each[chosen] for each in (self.ratings, self.times))
        return _Edges(self.nodes[:, chosen], *attributes)


def read_graph(graph: HeteroData, edge_type: str | None, names: ColumnNames, *, timed: bool) -> dict[str, Interactions]:
    """Read the edges from users to items of a graph; ids are the numbers of the nodes.

    ``edge_index`` is the part ``train`` and, where there is one, ``edge_label_index`` the part ``test``; edges of it
    whose ``edge_label`` is 0 are none. Where there is a ``train_pos_edge_index``, the parts are it, the
    ``val_pos_edge_index`` and the ``test_pos_edge_index``.

    Args:
        graph: The graph.
        edge_type: ``user,rates,movie``, or ``user,movie`` where that is the only type between them. By default the only
            type whose first kind of nodes has a usual name of users and whose last has one of items.
        names: Names of the edges' attributes of ratings and times, and the least rating to keep. By default ``rating``
            or, where there is no ``edge_label_index``, ``edge_label``; and ``time``, each also by another usual name.
        timed: Whether to read times, if all edges have them.

    Raises:
        ValueError: If there is no such type of edges, an attribute is missing or not one value an edge, an edge leads
            to no node, or no edge has a rating of at least ``names.min_rating``.
    """
    for flag, value in names.given():
        if flag in ("data.user_column", "data.item_column"):
            raise ValueError(f"{flag} {value!r} is of no use: users and items of a graph are its nodes")
    chosen = _find_edge_type(list(graph.edge_types), edge_type)
    where = f"data.source, edges {','.join(chosen)}"
    parts = _read_parts(where, graph[chosen], names)
    least = names.min_rating
    if least is not None:
        parts = {part: _keep_rated(where, part, edges, least) for part, edges in parts.items()}
    users, items = (_num_nodes(graph, kind, where, parts, side) for side, kind in enumerate((chosen[0], chosen[2])))
    user_ids, item_ids = np.arange(users), np.arange(items)
    return {
        part: Interactions.from_pairs(
            edges.nodes[0], edges.nodes[1], user_ids, item_ids, edges.times if timed else None
        )
        for part, edges in parts.items()
    }


def _find_edge_type(present: list[EdgeType], given: str | None) -> EdgeType:
    """Find the edges between users and items, as :func:`read_graph` says."""
    if given is None:
        found = [each for each in present if usual_name(each[:1], "user") and usual_name(each[2:], "item")]
    else:
        wanted = tuple(name.strip() for name in given.split(","))
        found = [each for each in present if wanted in (each, (each[0], each[2]))]
    if len(found) == 1:
        return found[0]
    asked = "is needed" if given is None else f"{given!r} is " + ("ambiguous" if found else "not there")
    kinds = " and ".join(",".join(each) for each in found or present)
    raise ValueError(f"data.edge_type {asked}: the graph has the edges {printable(kinds) or 'none'}")


def _read_parts(where: str, store: EdgeStorage, names: ColumnNames) -> dict[str, _Edges]:
    """Read all edges of a type, by part."""
    if _SPLIT_EDGES["train"] in store:
        return {part: _Edges(_nodes(where, store, name)) for part, name in _SPLIT_EDGES.items() if name in store}
    if "edge_index" not in store:
        raise ValueError(f"{where}: there is no edge_index, only {list_names(list(store.keys()))}")
    has_test = "edge_label_index" in store
    rating = names.rating or usual_name(list(store.keys()), "rating") or ("" if has_test else "edge_label")
    time = names.time or usual_name(list(store.keys()), "time") or ""
    for flag, name in (("rating_column", names.rating), ("time_column", names.time)):
        if name is not None and name not in store:
            raise ValueError(f"{where}: no attribute {name!r} (data.{flag}), it has {list_names(list(store.keys()))}")
    nodes = _nodes(where, store, "edge_index")
    parts = {"train": _Edges(nodes, *(_values(where, store, name, nodes.shape[1]) for name in (rating, time)))}
    if has_test:
        nodes = _nodes(where, store, "edge_label_index")
        labels = _values(where, store, "edge_label", nodes.shape[1])
        test = _Edges(nodes, labels)
        parts["test"] = test if labels is None else test.take(labels != 0)
    return parts


def _nodes(where: str, store: EdgeStorage, name: str) -> npt.NDArray[np.int64]:
    """Return the ends of edges, ``(2, n)``."""
    nodes = np.asarray(store[name].cpu())
    if nodes.ndim == 2 and nodes.shape[1] == 2 and nodes.shape[0] != 2:
        nodes = nodes.T  # as LastFM's
    if nodes.ndim != 2 or nodes.shape[0] != 2 or nodes.dtype.kind not in "iu":
        raise ValueError(f"{where}: {name} must hold integers of shape (2, n), got {nodes.dtype} of {nodes.shape}")
    return nodes.astype(np.int64)


def _values(where: str, store: EdgeStorage, name: str, count: int) -> npt.NDArray[np.float64] | None:
    """Return an attribute of edges as ``(count,)`` float64; None if there is none."""
    if name not in store:
        return None
    values = np.asarray(store[name].cpu(), dtype=np.float64)
    if values.shape not in ((count,), (count, 1)) or not np.isfinite(values).all():
        raise ValueError(
            f"{where}: {name} must be a finite number for each of {count} edges, its shape is {values.shape}"
        )
    return values.reshape(count)


def _keep_rated(where: str, part: str, edges: _Edges, least: float) -> _Edges:
    """Keep the edges with at least a rating."""
    if edges.ratings is None:
        raise ValueError(f"{where}: data.min_rating {least} needs ratings, and edges for {part} have none")
    kept = edges.take(edges.ratings >= least)
    if not kept.nodes.size:
        raise ValueError(f"{where}: no edge for {part} has data.min_rating {least}")
    return kept


def _num_nodes(graph: HeteroData, kind: str, where: str, parts: Mapping[str, _Edges], side: int) -> int:
    """Return how many nodes of a kind there are; a graph that does not say has as many as its edges name."""
    ends = np.concatenate([edges.nodes[side] for edges in parts.values()])
    if not len(ends):
        raise ValueError(f"{where}: there are none")
    known = kind in graph.node_types and graph[kind].can_infer_num_nodes
    count = int(graph[kind].num_nodes) if known else int(ends.max()) + 1
    wrong = ends[(ends < 0) | (ends >= count)]
    if len(wrong):
        raise ValueError(f"{where}: they lead to node {wrong[0]}, and there are {count} of kind {kind}")
    return count
