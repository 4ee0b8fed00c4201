"""What decides on the sizes of rows while they are learned: a small network that sees how popular rows are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_STEPS_AN_OCTAVE = 4  # of popularity
POPULARITY_STEPS = 128  # as many as 2 ** 31 interactions take


class RowNorm(nn.BatchNorm1d):
    """Batch normalisation of rows, by running statistics where a batch is a single row."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(b, num_features)``."""
        training = self.training
        self.training = training and len(input) > 1
        try:
            return super().forward(input)
        finally:
            self.training = training


class SizeController(nn.Module):
    """Turns the popularity of rows, and what is known of their present sizes, into scores of choices.

    The network of AutoEmb (arXiv 2002.11252) and ESAPN (SIGIR 2020) as its authors wrote it: an embedding of popularity
    with batch normalisation, beside the state, then one hidden layer with batch normalisation and tanh.

    Args:
        num_states: Width of what is known of present sizes.
        num_choices: Choices.
        popularity_size: Width of the embedding of popularity.
        hidden: Width of the hidden layer.
    """

    def __init__(self, num_states: int, num_choices: int, popularity_size: int = 32, hidden: int = 512) -> None:
        super().__init__()
        self.embedding = nn.Embedding(POPULARITY_STEPS, popularity_size)
        self.popularity_norm = RowNorm(popularity_size)
        self.hidden = nn.Linear(popularity_size + num_states, hidden)
        self.hidden_norm = RowNorm(hidden)
        self.output = nn.Linear(hidden, num_choices)

    def forward(self, popularity: Tensor, states: Tensor) -> Tensor:
        """Return scores.

        Args:
            popularity: ``(b,)`` int64, :func:`popularity_steps` of rows.
            states: ``(b, num_states)`` float32, what is known of their present sizes.

        Returns:
            ``(b, num_choices)`` float32.
        """
        seen = torch.cat([self.popularity_norm(self.embedding(popularity)), states], dim=1)
        scores: Tensor = self.output(torch.tanh(self.hidden_norm(self.hidden(seen))))
        return scores


def popularity_steps(frequency: Tensor) -> Tensor:
    """Return numbers of interactions ``(n,)`` as int64 steps of a quarter of an octave, one for none."""
    return (torch.log2(frequency.double() + 1) * _STEPS_AN_OCTAVE).round().long()
