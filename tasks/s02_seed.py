"""Stage 2: turn one seed into a seed for each stage that draws random numbers.

In: `seed`. Out: `seeds.json`.

Every stage seeds itself from its own entry, so it does not matter which earlier stages were cached. All entries equal
`seed`, as after `set_seed(seed)` at the top of a script, because a run must end with the same weights as that script.
The data split has its own seed (`data.split.seed`), so that a sweep over seeds does not change the test set.
"""

from collections.abc import Mapping

from tasks.artifacts.formats import json
from tasks.runtime.build import Build
from tasks.runtime.stage import stage


@stage(run_in_plan=True)
def seed(build: Build, *, seed: int) -> Mapping[str, object]:
    """Write `seeds.json`: `{"model": …, "train": …}`."""
    json.write({"model": seed, "train": seed}, build.out / "seeds.json")
    return {"seed": seed}
