"""Stage 2: one seed becomes a seed for each stage that draws.

In: `seed`. Out: `seeds.json`.

Every stage seeds itself from its own entry, so it does not matter which stages before it were hits. All entries are
the seed itself: that is what `set_seed(seed)` at the top of a script gives, and a run must end in the same weights as
that script. The split of the data has a seed of its own (`data.split.seed`), so that a sweep over seeds does not
change the test set.
"""

from collections.abc import Mapping
from typing import Any

from tasks.artifacts.formats import json
from tasks.runtime.build import Build
from tasks.runtime.stage import stage


@stage(run_in_plan=True)
def seed(build: Build, *, seed: int) -> Mapping[str, Any]:
    """Write `seeds.json`: `{"model": …, "train": …}`."""
    json.write({"model": seed, "train": seed}, build.out / "seeds.json")
    return {"seed": seed}
