"""How the learning rate moves: formulas only, no framework."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeport_converter.training.recipe.tables import ScheduleTable


@dataclass
class Rate:
    """The learning rate at each step.

    Attributes:
        base: the rate of the recipe.
        schedule: how it moves.
        steps: batches in an epoch.
        epochs: planned in all.
        reduction: what the plateaus have multiplied it with so far.
        best: the lowest validation loss seen.
        waited: epochs since then.
    """

    base: float
    schedule: ScheduleTable
    steps: int
    epochs: int
    reduction: float = 1.0
    best: float = math.inf
    waited: int = 0

    @property
    def moves(self) -> bool:
        """Whether it ever differs from the base."""
        return self.schedule.kind != "constant" or self.schedule.warmup > 0

    def at(self, step: int) -> float:
        """Return the rate of a step, counted from 0 over all epochs."""
        plan, passed = self.schedule, step / self.steps
        warm = plan.warmup * self.steps
        if step < warm:
            # The first step already moves, and the last one of the warm-up has the whole rate.
            return self.base * min(1.0, (step + 1) / warm) * self.reduction
        if plan.kind == "step":
            return self.base * float(plan.factor ** int(passed / plan.every))
        if plan.kind == "exponential":
            return self.base * float(plan.factor**passed)
        if plan.kind == "cosine":
            share = (passed - plan.warmup) / max(self.epochs - plan.warmup, 1 / self.steps)
            swing = 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
            return self.base * (plan.final + (1 - plan.final) * swing)
        return self.base * self.reduction

    def see(self, validation_loss: float) -> None:
        """Take note of an epoch's validation loss."""
        if self.schedule.kind != "plateau":
            return
        if validation_loss < self.best:
            self.best, self.waited = validation_loss, 0
            return
        self.waited += 1
        if self.waited >= self.schedule.patience:
            self.reduction, self.waited = self.reduction * self.schedule.factor, 0
