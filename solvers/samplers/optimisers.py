"""How far particles go along a direction: plain descent, AdaGrad and Adam."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch


class Optimiser(ABC):
    """An optimiser moves particles along a direction φ, each coordinate as far as its rule says."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate

    @abstractmethod
    def move(self, points: torch.Tensor, direction: torch.Tensor) -> None:
        """Move ``points`` (n, D) along ``direction`` (n, D), in place."""


class PlainDescent(Optimiser):
    """Plain descent moves particles by x ← x + ε φ."""

    def move(self, points: torch.Tensor, direction: torch.Tensor) -> None:
        points.add_(direction, alpha=self.learning_rate)


class AdaGrad(Optimiser):
    """AdaGrad moves x ← x + ε φ / (10⁻⁶ + √G), with G ← 0.9 G + 0.1 φ² from G = φ² of the first step.

    So does the code of Liu and Wang (NeurIPS 2016).
    What they call AdaGrad forgets, and so is closer to RMSProp.
    """

    decay, fudge = 0.9, 1e-6

    def __init__(self, learning_rate: float) -> None:
        super().__init__(learning_rate)
        self.history: torch.Tensor | None = None

    def move(self, points: torch.Tensor, direction: torch.Tensor) -> None:
        if self.history is None:
            self.history = direction.square()
        else:
            self.history.mul_(self.decay).addcmul_(direction, direction, value=1 - self.decay)
        points.addcdiv_(direction, self.history.sqrt().add_(self.fudge), value=self.learning_rate)


class Adam(Optimiser):
    """Adam (Kingma, Ba, International Conference on Learning Representations, 2015) with its default constants."""

    first_decay, second_decay, fudge = 0.9, 0.999, 1e-8

    def __init__(self, learning_rate: float) -> None:
        super().__init__(learning_rate)
        self.steps = 0
        self.first: torch.Tensor | None = None
        self.second: torch.Tensor | None = None

    def move(self, points: torch.Tensor, direction: torch.Tensor) -> None:
        if self.first is None or self.second is None:
            self.first, self.second = torch.zeros_like(direction), torch.zeros_like(direction)
        self.steps += 1
        self.first.mul_(self.first_decay).add_(direction, alpha=1 - self.first_decay)
        self.second.mul_(self.second_decay).addcmul_(direction, direction, value=1 - self.second_decay)
        spread = (self.second / (1 - self.second_decay**self.steps)).sqrt_().add_(self.fudge)
        points.addcdiv_(self.first, spread, value=self.learning_rate / (1 - self.first_decay**self.steps))


OPTIMISERS: dict[str, type[Optimiser]] = {"adagrad": AdaGrad, "adam": Adam, "descent": PlainDescent}
