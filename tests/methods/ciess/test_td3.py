import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bet_lightning.methods.ciess.settings import AgentSettings
from bet_lightning.methods.ciess.td3 import TD3, Transitions
from bet_lightning.methods.tasks import generator_of

SETTINGS = AgentSettings(hidden=16)
UNIT = 0.05


def made(settings: AgentSettings = SETTINGS, seed: int = 0) -> TD3:
    return TD3(3, UNIT, settings, generator_of(seed))


def batch(num: int = 64, seed: int = 1) -> Transitions:
    generator = generator_of(seed)
    states, next_states = (torch.rand(num, 3, generator=generator) * 2 - 1 for _ in range(2))
    actions, rewards = (torch.rand(num, generator=generator) * 2 - 1 for _ in range(2))
    return Transitions(states, actions, rewards, next_states)


def weights(module: torch.nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def test_critics_are_to_expect_the_less_hopeful_target() -> None:
    td3, met = made(replace(SETTINGS, target_noise=0.0)), batch()
    actions = td3.targets.actor(met.next_states)
    inputs = torch.cat([met.next_states, actions], 1)
    first, second = (critic(inputs).squeeze(1) for critic in td3.targets.critics)
    assert not first.equal(second) and (first < second).any() and (second < first).any()
    values = zip(met.rewards.tolist(), first.tolist(), second.tolist(), strict=True)
    expected = torch.tensor([reward + 0.99 * min(pair) for reward, *pair in values])
    torch.testing.assert_close(td3.wanted(met), expected)


def test_target_actions_are_smoothed_by_clipped_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    td3, met = made(replace(SETTINGS, discount=1.0)), batch(20_000)._replace(rewards=torch.zeros(20_000))
    for action in (0.0, 0.9, -1.0):
        with monkeypatch.context() as patched:  # critics that say which action they were asked about
            patched.setattr(td3.targets, "act", lambda states, action=action: torch.full((len(states),), action))
            patched.setattr(td3.targets, "values", lambda states, actions: (actions, actions))
            asked = td3.wanted(met)
        assert asked.min() >= max(-1.0, action - 5 * UNIT - 1e-6) and asked.max() <= min(1.0, action + 5 * UNIT + 1e-6)
        if action == 0.0:  # N(0, 2) clipped at 5 has nearly its deviation
            assert float(asked.std()) == pytest.approx(2 * UNIT, rel=0.03) and abs(float(asked.mean())) < 0.003
            assert float((asked.abs() >= 5 * UNIT - 1e-6).float().mean()) == pytest.approx(0.0124, abs=0.004)


def test_the_actor_and_the_targets_move_every_second_update() -> None:
    td3, met = made(), batch()
    actor, critics, targets = weights(td3.networks.actor), weights(td3.networks.critics), weights(td3.targets)
    td3.update(met)
    assert all(a.equal(b) for a, b in zip(weights(td3.networks.actor), actor, strict=True))
    assert all(a.equal(b) for a, b in zip(weights(td3.targets), targets, strict=True))
    assert not any(a.equal(b) for a, b in zip(weights(td3.networks.critics), critics, strict=True))
    td3.update(met)
    assert not any(a.equal(b) for a, b in zip(weights(td3.networks.actor), actor, strict=True))
    for moved, before, source in zip(weights(td3.targets), targets, weights(td3.networks), strict=True):
        torch.testing.assert_close(moved, 0.995 * before + 0.005 * source)


def test_the_actors_steps_leave_the_critics_alone() -> None:
    found = []
    for delay in (1, 100):
        td3 = made(replace(SETTINGS, policy_delay=delay, soft_update=0.0))
        for seed in range(3):
            td3.update(batch(seed=seed))
        found.append(weights(td3.networks.critics))
    assert all(a.equal(b) for a, b in zip(*found, strict=True))


def test_the_actor_finds_what_is_rewarded() -> None:
    td3 = made(AgentSettings(hidden=32, discount=0.0, actor_lr=3e-3, critic_lr=1e-2))
    for step in range(300):
        met = batch(256, seed=step)
        td3.update(met._replace(rewards=-(met.actions - 0.5 * met.states[:, 0]).square()))
    states = batch(200, seed=999).states
    assert (td3.networks.act(states) - 0.5 * states[:, 0]).abs().mean() < 0.1


def test_goes_on_from_its_state() -> None:
    first = made()
    for seed in range(3):
        first.update(batch(seed=seed))
    again = made(seed=5)
    again.load_state_dict(copy.deepcopy(first.state_dict()))
    again.generator.set_state(first.generator.get_state())
    for td3 in (first, again):
        for seed in range(3, 6):
            td3.update(batch(seed=seed))
    assert all(a.equal(b) for a, b in zip(weights(first.networks), weights(again.networks), strict=True))
    assert all(a.equal(b) for a, b in zip(weights(first.targets), weights(again.targets), strict=True))
