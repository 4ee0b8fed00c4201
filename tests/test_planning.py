"""Plans against sums by hand, against tensors that are there, and against epochs that were timed."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bet_lightning.backbones import MF, NGCF, Backbone, LightGCN, NeuMF
from bet_lightning.data import BPRBatch, Csr
from bet_lightning.plan import COSTS, describe, limits_of, main
from bet_lightning.planning import Costs, Memory, Workload, least_devices, make_plan
from bet_lightning.recommender import Recommender, make_optimizer
from tests.benchmarks.growth import random_edges

GB = 10**9
SMALL = Workload(6000, 4000, 400_000, budget=10**6, device_memory=GB, size=32)
HUGE = Workload(10**9, 10**8, 10**11, budget=40 * GB, device_memory=80 * GB, devices=64)
COSTS_OF_ONE = Costs(step=1, row=0, interaction=0, triplet=0, score=0, draw=0, candidate=0)
MEASURED = json.loads(COSTS.read_text())
WITHIN = 3.0  # times, that a predicted epoch may be from a timed one
BACKBONES: dict[str, type[Backbone]] = {"LightGCN": LightGCN, "MF": MF, "NeuMF": NeuMF, "NGCF": NGCF}


@pytest.mark.parametrize("name", BACKBONES)
def test_bytes_are_those_of_tensors(name: str) -> None:
    edges = random_edges(2000, 30_000)
    work = replace(SMALL, users=1000, items=1000, interactions=len(edges.users), backbone=name)  # type: ignore[arg-type]
    network, memory = BACKBONES[name](edges, work.size), Memory.of(work)
    recommender = Recommender(network)
    optimizer, _ = make_optimizer(network, recommender.schedule, lambda: 1)
    recommender.loss(BPRBatch(edges.users[:9], edges.items[:9], edges.items[9:18])).backward()
    optimizer.step()
    tables = [network.masked_table(index).weight for index in range(len(network.tables))]
    assert memory.table == sum(table.nbytes for table in tables)
    kept = [each for table in tables for each in (table, table.grad, *optimizer.state[table].values())]
    assert memory.training == sum(each.nbytes for each in kept if each.numel() > 1)
    graph = getattr(network, "graph", None)
    assert memory.graph == (0 if graph is None else sum(buffer.nbytes for buffer in graph.buffers()))
    vectors = sum(each.nbytes for each in network.encode()) if graph is not None else 0
    assert memory.vectors == vectors
    matrix = Csr.from_pairs(edges.users.numpy(), edges.items.numpy(), work.users, work.items)
    assert memory.matrix == matrix.indptr.nbytes + matrix.columns.nbytes


@pytest.mark.parametrize("point", MEASURED["points"], ids=lambda point: f"{point['data']}-{point['backbone']}")
def test_epochs_that_were_timed_are_predicted(point: dict[str, float | str]) -> None:
    shape = {name: point[name] for name in ("users", "items", "interactions", "batch_size", "backbone")}
    work = replace(SMALL, **shape, size=MEASURED["machine"]["width"])  # type: ignore[arg-type]
    predicted = Costs.read(MEASURED, work.backbone).epoch_seconds(work)
    assert 1 / WITHIN < predicted / float(point["seconds"]) < WITHIN


def test_the_points_are_of_several_sizes() -> None:
    assert len({point["interactions"] for point in MEASURED["points"] if point["backbone"] == "LightGCN"}) >= 2


def test_a_small_table_is_held_by_one_device() -> None:
    plan = make_plan(SMALL, COSTS_OF_ONE)
    assert (plan.sharing, plan.least, plan.used) == ("one", 1, 1)
    assert limits_of(plan) == []
    assert plan.seconds == {"pretraining": 20 * 49, "search": 0, "retraining": 20 * 49}  # a second each of 49 steps
    assert make_plan(replace(SMALL, devices=40), COSTS_OF_ONE).used == SMALL.size  # a column each


def test_a_wide_table_is_shared_by_columns_and_a_long_one_by_rows() -> None:
    wide = replace(SMALL, users=10**7, items=10**7, interactions=10**6, device_memory=20 * GB, devices=8)
    assert make_plan(wide, COSTS_OF_ONE).sharing == "columns"
    assert make_plan(replace(wide, backbone="NGCF"), COSTS_OF_ONE).sharing == "rows"
    plan = make_plan(HUGE, COSTS_OF_ONE)
    memory = plan.memory
    assert memory.table == 1.1e9 * 64 * 4 and memory.training == 4 * memory.table
    assert memory.graph > 2 * HUGE.interactions * 8 > HUGE.device_memory  # whole on no device
    assert plan.sharing == "rows"
    assert plan.least == math.ceil((memory.training + memory.propagation + memory.graph) / HUGE.device_memory)


def test_devices_that_share_columns_gather_whole_tables() -> None:
    work = replace(SMALL, backbone="MF", size=30)
    memory = Memory.of(work)
    assert memory.a_device(work, "columns", 1) == memory.training == 16 * 30 * work.rows
    assert memory.a_device(work, "columns", 4) == (16 * 8 + 2 * 4 * 30) * work.rows  # 8 columns, two whole tables


def test_probes_are_spread_over_devices_that_hold_the_table() -> None:
    costs = replace(COSTS_OF_ONE, step=0, score=1e-9)
    alone, many = (make_plan(replace(SMALL, devices=number), costs) for number in (1, 9))
    assert alone.seconds["search"] == pytest.approx(45 * 1e-9 * SMALL.users * SMALL.items * SMALL.size)
    assert alone.seconds["search"] == pytest.approx(9 * many.seconds["search"])
    assert alone.bottleneck == "ranking"


@given(
    st.sampled_from(list(BACKBONES)),
    st.integers(1, 10**9),
    st.integers(1, 10**9),
    st.floats(0, 1),
    st.integers(1, 200),
    st.integers(1, 10**12),
)
def test_the_fewest_devices_hold_it_and_one_fewer_do_not(name, users, items, density, size, memory) -> None:
    interactions = max(1, int(users * items * density / 10**4))
    work = Workload(users, items, interactions, 1, memory, 1, size, name)
    for sharing in ("one", "columns", "rows"):
        number = least_devices(work, sharing)
        held = Memory.of(work)
        if number is not None:
            assert held.a_device(work, sharing, number) <= memory
            assert number == 1 or held.a_device(work, sharing, number - 1) > memory
        elif sharing == "columns" and work.has_apart_columns:
            assert held.a_device(work, sharing, size) > memory


@pytest.mark.parametrize("backbone", BACKBONES)
def test_time_grows_with_work_and_shrinks_with_speed(backbone: str) -> None:
    costs = Costs(1e-3, 1e-8, 1e-9, 1e-7, 1e-10, 1e-8, 1e-5)
    plan = make_plan(replace(SMALL, backbone=backbone), costs)  # type: ignore[arg-type]
    assert sum(plan.parts.values()) == pytest.approx(sum(plan.seconds.values()))
    faster = make_plan(replace(plan.work, speed=4.0), costs)
    assert faster.seconds == pytest.approx({phase: seconds / 4 for phase, seconds in plan.seconds.items()})
    for more in ({"interactions": 800_000}, {"items": 8000}, {"size": 64}, {"epochs": 40, "probes": 90}):
        larger = make_plan(replace(plan.work, **more), costs)  # type: ignore[arg-type]
        assert all(larger.seconds[phase] >= seconds for phase, seconds in plan.seconds.items())
        assert larger.seconds["pretraining"] > plan.seconds["pretraining"]


def test_a_plan_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    counts = {"users": "1e9", "items": "1e8", "interactions": "1e11", "budget": "40GB", "devices": "64"}
    words = [f"--{flag}={value}" for flag, value in counts.items()]
    for backbone in BACKBONES:
        assert main([*words, "--backbone", backbone]) == 0
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= 80
        assert "cannot share rows or edges" in out
    assert len(describe(make_plan(replace(SMALL, devices=3), COSTS_OF_ONE))) < 40


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"--users": "many"}, "--users must be a number such as 250000 or 1e9, got 'many'"),
        ({"--users": "0"}, "--users must be at least 1, got 0"),
        ({"--items": "1.5"}, "--items must be a whole number, got '1.5'"),
        ({"--items": "inf"}, "--items must be a number"),
        ({"--interactions": "1e30"}, "--interactions"),
        ({"--budget": "10"}, None),
        ({"--budget": "10XB"}, "--budget must be bytes such as 80GB or 1.5MiB, got '10XB'"),
        ({"--device-memory": "-1GB"}, "--device-memory must be bytes"),
        ({"--backbone": "GCN"}, "--backbone must be one of LightGCN, MF, NeuMF, NGCF, got 'GCN'"),
        ({"--speed": "0"}, "--speed must be positive, got 0.0"),
        ({"--epochs": "-1"}, "--epochs must not be negative, got -1"),
        ({"--colour": "red"}, "unrecognized arguments: --colour=red"),
    ],
)
def test_wrong_input_is_one_line(
    changed: dict[str, str], message: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"--users": "1e4", "--items": "1e3", "--interactions": "1e5", "--budget": "1MB", **changed}
    code = main([f"{flag}={value}" for flag, value in words.items()])
    err = capsys.readouterr().err
    assert code == (0 if message is None else 2)
    assert err == "" if message is None else err.startswith("error: ") and message in err and err.count("\n") == 1


def test_what_is_missing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "--users, --items, --interactions, --budget" in capsys.readouterr().err
