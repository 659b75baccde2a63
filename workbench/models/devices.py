"""Which device a model runs on: what leaves a model is there, tables and stored tensors are in main memory."""

from __future__ import annotations

import os

import torch

from workbench.errors import ConfigError

VARIABLE = "WORKBENCH_DEVICE"
# As the value of the variable: the weights of a text model are spread over the GPUs; whatever else runs takes the first one.
AUTO = "auto"


def choose_device(asked: str | None = None) -> str:
    """The device that is asked for, else the one that the environment's ``WORKBENCH_DEVICE`` names, else a CUDA GPU where
    there is one, else the CPU.

    Where a model runs is no part of what it is: a study that was made on a GPU opens on a machine without one.

    Raises:
        ConfigError: There is no such device here.
    """
    wanted = asked or os.environ.get(VARIABLE)
    if not wanted or (not asked and wanted == AUTO):
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=wanted).cpu()
    except (RuntimeError, AssertionError) as error:
        known = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        known += ["mps"] if torch.backends.mps.is_available() else []
        raise ConfigError(
            f"There is no device '{wanted}' that a model can run on here; there is {', '.join(known)}. Give one as device=…, or"
            f" by the environment variable {VARIABLE}."
        ) from error
    return wanted
