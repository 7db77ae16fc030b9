"""How many neighbouring latent tokens a transformer takes as one."""

import math

from fieldforge.errors import UserError


def common_group(tokens: int, group: int, key: str) -> int:
    """The greatest number that divides both `tokens` and `group`, so that one setting serves latents of many lengths.

    `key`: of `group` in the configuration. UserError where only 1 divides both, or `group` is below 1.
    """
    if group < 1:
        raise UserError(f"{key}={group}: give a whole number of at least 1")
    divisor = math.gcd(tokens, group)
    if divisor == 1 < min(tokens, group):
        raise UserError(f"{key}={group} and the latent's {tokens} tokens have no divisor: choose another group")
    return divisor
