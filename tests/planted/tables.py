"""Errors in processes that are tables."""

from tests.planted.mutant import Mutant

MUTANTS = [
    Mutant(
        "table off by one",
        "sde_lib/tabulated.py",
        "nearest - 1 - place, 0.0)",
        "nearest - 2 - place, 0.0)",
        "test_processes.py -k table_is_its_betas",
    ),
    Mutant(
        "lines between the levels of a table",
        "sde_lib/tabulated.py",
        "a + u * (b + u * (c + u * d)), (b + u * (2 * c + 3 * u * d)) * n",
        "a + u * (b + c + d), (b + c + d) * n",
        "test_between_levels.py -k costs_about",
    ),
    Mutant(
        "slopes of a table that are not limited",
        "sde_lib/tabulated.py",
        "return spline.clamp(torch.minimum(0.5 * least, 2 * least), torch.maximum(0.5 * least, 2 * least))",
        "return spline",
        "test_between_levels.py -k 'falls or overshoots'",
    ),
    Mutant(
        "log sigma whose slope is that of log alpha less twice its share",
        "sde_lib/tabulated.py",
        "slope - half_fall",
        "slope - 2 * half_fall",
        "test_between_levels.py -k 'falls or finer'",
    ),
    Mutant(
        "a table that misses its own times by a rounding",
        "sde_lib/tabulated.py",
        "torch.where(nearest / n == t, nearest - 1 - place, 0.0)",
        "torch.where(nearest / n == t, 0.0, 0.0)",
        "test_between_levels.py -k to_the_bit",
    ),
    Mutant(
        "a real label that counts from 1",
        "sde_lib/tabulated.py",
        "return self._interpolate(2, as_time(t))[0]",
        "return self._interpolate(2, as_time(t))[0] + 1",
        "test_between_levels.py -k real_label",
    ),
    Mutant(
        "betas of another number of steps not rescaled",
        "sde_lib/tables.py",
        "steps, dtype=torch.float64) * (1000 / steps)",
        "steps, dtype=torch.float64)",
        "test_tables.py -k linear_and_cosine",
    ),
    Mutant(
        "cosine betas not clipped",
        "sde_lib/tables.py",
        ".clamp_max(largest)",
        "",
        "test_tables.py -k linear_and_cosine",
    ),
    Mutant(
        "places by multiplication",
        "sde_lib/tables.py",
        "round(at)",
        "int(at)",
        "test_tables.py -k space_timesteps",
    ),
    Mutant(
        "NCSN's index from the small end",
        "sde_lib/tabulated.py",
        "tuple(range(n - 1, -1, -1)) if falling",
        "tuple(range(n)) if falling",
        "test_tables.py -k table_of_sigmas",
    ),
    Mutant(
        "the respaced index is its own",
        "sde_lib/tabulated.py",
        "return self._indices.to(place.device)[place]",
        "return place",
        "test_tables.py -k respaced",
    ),
    Mutant(
        "uniform times with half a share at the ends",
        "sde_lib/tabulated.py",
        "(u * (n - first)).floor()",
        "(u * (n - first - 1)).round()",
        "test_tables.py -k visit_every_level",
    ),
]
