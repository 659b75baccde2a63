"""The numbers that random choices come from."""

from __future__ import annotations

from numbers import Integral

from workbench.errors import ConfigError

# Seeds next to one that is given are used as well, and catalogs keep integers of 32 bits.
LARGEST = 2_000_000_000


def check_seed(seed: object) -> None:
    """ConfigError for a seed that is no whole number from 0 to 2,000,000,000."""
    if not isinstance(seed, Integral) or not 0 <= int(seed) <= LARGEST:
        raise ConfigError(f"A seed is a whole number from 0 to {LARGEST:,}, not {seed}.")
