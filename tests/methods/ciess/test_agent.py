"""The agent of one side: what it remembers, sees and chooses."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bet_lightning.methods.ciess.agent import SideAgent
from bet_lightning.methods.ciess.replay import Replay
from bet_lightning.methods.ciess.settings import AgentSettings
from bet_lightning.methods.ciess.td3 import Transitions
from bet_lightning.methods.tasks import generator_of

ROWS, LOW, HIGH, PENALTY = 40, 1, 32, 0.5
FREQUENCY = torch.arange(ROWS) * 3 + 2
SETTINGS = AgentSettings(hidden=16, batch_size=64)
SIZES, RATIOS = torch.full((ROWS,), HIGH), torch.linspace(0, 1, ROWS)


def made(settings: AgentSettings = SETTINGS, seed: int = 0) -> SideAgent:
    return SideAgent(FREQUENCY, LOW, HIGH, PENALTY, 10, settings, generator_of(seed))


def test_the_last_iterations_are_remembered_row_by_row() -> None:
    replay = Replay(ROWS, capacity=3)
    rows = torch.arange(ROWS)
    for number in range(5):
        replay.add(rows + 100 * number, rows / 100, rows + 100 * (number + 1), 2 * rows, rows / 50)
    drawn = replay.sample(2_000, generator_of(0))
    iterations = ((drawn.sizes - drawn.rows) / 100).long()
    assert iterations.unique().tolist() == [2, 3, 4] and drawn.rows.unique().equal(rows)
    torch.testing.assert_close(drawn.actions, drawn.sizes + 100)
    torch.testing.assert_close(drawn.ratios, drawn.rows / 100)
    torch.testing.assert_close(drawn.next_sizes, 2.0 * drawn.rows)
    torch.testing.assert_close(drawn.next_ratios, drawn.rows / 50)


def test_a_state_is_popularity_size_and_quality() -> None:
    agent = made()
    states = agent.states(agent.popularity, torch.tensor([LOW, HIGH] * (ROWS // 2)), RATIOS)
    torch.testing.assert_close(states[:, 0], torch.linspace(-1, 1, ROWS))
    torch.testing.assert_close(states[:, 1], torch.tensor([-1.0, 1.0] * (ROWS // 2)))
    torch.testing.assert_close(states[:, 2], torch.linspace(-1, 1, ROWS))


def test_memory_is_paid_for() -> None:
    rewards = made().rewards(torch.tensor([HIGH, 8, LOW]), torch.tensor([1.0, 0.9, 0.0]))
    torch.testing.assert_close(rewards, torch.tensor([1 - 0.5, 0.9 - 0.5 / 16, -0.5 / 32**2]))


def test_without_noise_and_walk_the_actor_chooses() -> None:
    agent = made(replace(SETTINGS, noise=0.0, walk_steps=0))
    with torch.no_grad():
        agent.td3.networks.actor[-2].weight.mul_(20)  # spreads sizes
        actions = agent.td3.networks.act(agent.states(agent.popularity, SIZES, RATIOS))
    chosen = agent.choose(SIZES, RATIOS)
    expected = [round(1 + (action + 1) / 2 * 31) for action in actions.tolist()]
    assert chosen.tolist() == expected and len({*expected}) > 3


@pytest.mark.parametrize("sign", [1, -1])
def test_the_walks_point_of_most_value_is_chosen(sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, paths = made(replace(SETTINGS, noise=30.0)), list[Tensor]()
    walk = type(agent.walk).__call__

    def noting(self: object, start: Tensor, num_steps: int, generator: torch.Generator) -> Tensor:
        paths.append(walk(agent.walk, start, num_steps, generator))
        return paths[-1]

    monkeypatch.setattr(type(agent.walk), "__call__", noting)
    networks = agent.td3.networks  # the first critic values large sizes, or small ones; the second the opposite
    monkeypatch.setattr(networks, "values", lambda states, actions: (sign * actions, -sign * actions))
    chosen = agent.choose(SIZES, RATIOS)
    (path,) = paths
    assert path.shape == (ROWS, 6)
    assert chosen.equal(path.amax(1) if sign > 0 else path.amin(1))
    assert chosen.min() >= LOW and chosen.max() <= HIGH and path[:, 0].unique().numel() > 10  # noise differs by row


def test_learns_what_its_choice_became(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, met = made(), list[Transitions]()
    monkeypatch.setattr(agent.td3, "update", met.append)
    chosen, repaired = torch.randint(LOW, HIGH + 1, (2, ROWS), generator=generator_of(0))
    agent.learn(SIZES, RATIOS, chosen, repaired, RATIOS.flip(0))
    (batch,) = met
    rows = ((batch.states[:, 0] + 1) / 2 * (ROWS - 1)).round().long()  # by their popularity
    torch.testing.assert_close(batch.states, agent.states(agent.popularity, SIZES, RATIOS)[rows])
    torch.testing.assert_close(batch.next_states, agent.states(agent.popularity, repaired, RATIOS.flip(0))[rows])
    torch.testing.assert_close(batch.actions, (2 * (chosen[rows] - LOW) / (HIGH - LOW) - 1).float())
    torch.testing.assert_close(batch.rewards, agent.rewards(repaired, RATIOS.flip(0))[rows])


def test_learns_and_goes_on_from_its_state() -> None:
    first, again = made(), made(seed=3)

    def step(agent: SideAgent) -> Tensor:
        chosen = agent.choose(SIZES, RATIOS)
        agent.learn(SIZES, RATIOS, chosen, chosen // 2, chosen / HIGH)
        return chosen

    for _ in range(2):
        step(first)
    again.load_state_dict(copy.deepcopy(first.state_dict()))
    again.generator.set_state(first.generator.get_state())
    assert first.td3.num_updates == again.td3.num_updates == 2
    assert [step(first).tolist() for _ in range(3)] == [step(again).tolist() for _ in range(3)]


def test_refuses_values_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"search.method.agent.reach must be at least 1, got 0"):
        AgentSettings(reach=0)
    with pytest.raises(ValueError, match=r"search.method.agent.discount must be in \[0, 1\], got 1.5"):
        AgentSettings(discount=1.5)
