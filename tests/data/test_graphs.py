"""Graphs of torch_geometric as interactions."""

import pytest
import torch
from torch_geometric.data import HeteroData

from bet_lightning.data import ColumnNames
from bet_lightning.data.graphs import read_graph

RATES = ("user", "rates", "movie")
USUAL = ColumnNames()


def graph_of(pairs, edge_type=RATES, **attributes):
    """A graph of 4 users and 5 items with some edges, their reverse and others."""
    graph = HeteroData()
    graph["user"].num_nodes = 4
    graph[edge_type[2]].x = torch.zeros(5, 3)
    edges = torch.tensor(pairs).T
    graph[edge_type].edge_index = edges
    graph[edge_type[2], "back", "user"].edge_index = edges.flip([0])
    graph["user", "follows", "user"].edge_index = torch.tensor([[0], [1]])
    for name, values in attributes.items():
        graph[edge_type][name] = values
    return graph


def pairs_of(interactions):
    return list(zip(interactions.users.tolist(), interactions.items.tolist(), strict=True))


def test_nodes_are_rows_with_or_without_edges():
    parts = read_graph(graph_of([(2, 0), (0, 3)]), None, USUAL, timed=True)
    assert list(parts) == ["train"] and pairs_of(parts["train"]) == [(0, 3), (2, 0)]
    assert parts["train"].user_ids.tolist() == [0, 1, 2, 3] and parts["train"].item_ids.tolist() == [0, 1, 2, 3, 4]
    assert parts["train"].times is None


def test_a_graph_that_does_not_count_its_nodes_has_those_of_its_edges():
    graph = HeteroData()
    graph["customer", "buys", "product"].edge_index = torch.tensor([[0, 2], [1, 4]])
    (data,) = read_graph(graph, None, USUAL, timed=False).values()
    assert (len(data.user_ids), len(data.item_ids)) == (3, 5)


def test_label_edges_are_for_testing_except_those_that_are_labelled_as_none():
    tested = torch.tensor([[0, 1, 3], [1, 2, 4]])
    parts = read_graph(graph_of([(0, 0), (3, 3)], edge_label_index=tested), None, USUAL, timed=False)
    assert list(parts) == ["train", "test"] and pairs_of(parts["test"]) == [(0, 1), (1, 2), (3, 4)]
    labelled = graph_of([(0, 0)], edge_label_index=tested, edge_label=torch.tensor([1.0, 0.0, 1.0]))
    assert pairs_of(read_graph(labelled, None, USUAL, timed=False)["test"]) == [(0, 1), (3, 4)]


def test_ratings_of_both_parts_against_the_least():
    graph = graph_of(
        [(0, 0), (0, 1), (1, 1)],
        rating=torch.tensor([3, 4, 5]),
        edge_label_index=torch.tensor([[2, 3], [2, 3]]),
        edge_label=torch.tensor([2.0, 4.0]),
    )
    parts = read_graph(graph, None, ColumnNames(min_rating=4), timed=False)
    assert [pairs_of(part) for part in parts.values()] == [[(0, 1), (1, 1)], [(3, 3)]]
    small = graph_of([(0, 0), (0, 1)], edge_label=torch.tensor([1, 5]))  # ratings as MovieLens has them
    assert pairs_of(read_graph(small, None, ColumnNames(min_rating=4), timed=False)["train"]) == [(0, 1)]


def test_times_where_they_are_wanted():
    graph = graph_of([(0, 1), (0, 0)], time=torch.tensor([7, 9]), moment=torch.tensor([[1], [2]]))
    read = {name: read_graph(graph, None, ColumnNames(time=name), timed=True)["train"] for name in (None, "moment")}
    assert read[None].times.tolist() == [9.0, 7.0] and read["moment"].times.tolist() == [2.0, 1.0]
    assert read_graph(graph, None, USUAL, timed=False)["train"].times is None


def test_positive_edges_of_a_split_graph():
    graph = HeteroData()
    graph["user"].num_nodes, graph["artist"].num_nodes = 3, 3
    for place, name in enumerate(("train", "val", "test")):
        graph["user", "artist"][f"{name}_pos_edge_index"] = torch.tensor([[0, place], [1, place], [2, place]])
    parts = read_graph(graph, None, USUAL, timed=False)
    assert list(parts) == ["train", "valid", "test"]
    assert [pairs_of(part) for part in parts.values()] == [[(row, n) for row in range(3)] for n in range(3)]


def test_edges_by_name():
    graph = graph_of([(0, 1)])
    graph["user", "saves", "movie"].edge_index = torch.tensor([[3], [4]])
    for name, expected in (("user,saves,movie", [(3, 4)]), ("user, rates, movie", [(0, 1)])):
        assert pairs_of(read_graph(graph, name, USUAL, timed=False)["train"]) == expected
    assert len(read_graph(graph, "user,user", USUAL, timed=False)["train"].item_ids) == 4


@pytest.mark.parametrize(
    ("graph", "edge_type", "names", "message"),
    [
        (graph_of([(0, 1)], ("user", "likes", "gadget")), None, USUAL, "data.edge_type is needed: .*user,likes,gadget"),
        (
            graph_of([(0, 1)]),
            "user,buys,movie",
            USUAL,
            "data.edge_type 'user,buys,movie' is not there: the graph has the edges user,rates,movie and movie,back",
        ),
        (graph_of([(0, 1)]), "user,movie,", USUAL, "data.edge_type 'user,movie,' is not there"),
        (graph_of([(0, 1)]), None, ColumnNames(user="u"), "data.user_column 'u' is of no use"),
        (graph_of([(0, 1)]), None, ColumnNames(time="t"), r"no attribute 't' \(data.time_column\), it has edge_index"),
        (graph_of([(0, 1)]), None, ColumnNames(min_rating=3), "data.min_rating 3 needs ratings, and edges for train"),
        (
            graph_of([(0, 1)], rating=torch.tensor([2])),
            None,
            ColumnNames(min_rating=3),
            "no edge for train has data",
        ),
        (graph_of([(0, 1)], rating=torch.tensor([2, 3])), None, USUAL, r"rating must be a finite number .* 1 edges"),
        (graph_of([(4, 1)]), None, USUAL, "they lead to node 4, and there are 4 of kind user"),
        (graph_of([(0.0, 1.0)]), None, USUAL, r"edge_index must hold integers of shape \(2, n\), got float32"),
    ],
)
def test_errors(graph, edge_type, names, message):
    with pytest.raises(ValueError, match=message):
        read_graph(graph, edge_type, names, timed=True)
