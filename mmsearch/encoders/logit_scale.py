"""What a model of torch was trained to multiply cosines with."""

import math
from typing import Any

__all__ = ["logit_scale_of"]


def logit_scale_of(model: Any) -> float | None:
    """The scale of a dual encoder; None where it states none.

    Most hold its logarithm as `logit_scale`; ALIGN divides by a `temperature`.
    """
    if (logarithm := getattr(model, "logit_scale", None)) is not None:
        scale = float(logarithm.detach().float().exp().mean())
    elif (temperature := getattr(model, "temperature", None)) is not None:
        divisor = float(temperature.detach())
        scale = 1 / divisor if divisor else math.nan
    else:
        return None
    return scale if math.isfinite(scale) and scale > 0 else None
