"""How fast training goes at each step."""

import math

__all__ = ["learning_rate"]


def learning_rate(step: int, steps: int, *, peak: float, warm_up: float) -> float:
    """The learning rate of a step, from 0: it rises evenly for a share of the steps, then falls as half a cosine to 0.

    warm_up: that share, 0 to 1. As a share, not a number of steps, it is right for short runs too: a number that
    suits training from scratch (open_clip's 10,000) is longer than most fine-tuning. (Loshchilov and Hutter 2017.)

    >>> [round(learning_rate(step, 10, peak=1.0, warm_up=0.2), 2) for step in range(10)]
    [0.5, 1.0, 1.0, 0.96, 0.85, 0.69, 0.5, 0.31, 0.15, 0.04]
    """
    rising = max(1, round(steps * warm_up))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising))) / 2
