"""The proofs that CI runs besides the quick tests: one of each kind. All others are run by `make prove`.

A proof is a test marked `slow`. One more here costs every landing its time; twelve minutes on two cores are the limit.
"""

from collections.abc import Iterable
from typing import Any

import pytest

SELECTED = {
    "a kill in a stage and in training": (
        "tests/kill/test_every_stage.py::test_killed_in_and_after_each_stage[s05_tokenize-inside]",
        "tests/kill/test_every_stage.py::test_killed_in_training[full-in_step-13-13]",
        "tests/kill/test_every_task.py::test_killed_in_the_second_epoch[token-classification-random]",
    ),
    "a kill while publishing": ("tests/kill/test_publish_boundaries.py::test_dying_at_every_boundary[middle]",),
    "a race": ("tests/race/test_single_flight.py::test_many_runs_build_each_artifact_once",),
    "weights equal to plain code": (
        "tests/numerics/test_same_weights.py::test_equal_to_a_plain_script[LoRA]",
        "tests/numerics/test_tasks.py::test_equal_to_plain_code[question-answering]",
    ),
    "S3": ("tests/remote/test_s3.py::test_a_training_resumes_from_s3",),
    "a run killed, retried, cancelled": (
        "tests/serving/test_served_runs.py::test_killed_and_retried_and_cancelled_and_run_again_to_the_same_bits",
    ),
    "a secret": ("tests/serving/test_secrets.py::test_a_sweep_does_not_tell_of_its_green_and_red_cells",),
    "a page in a browser": ("tests/browser/test_form.py::test_a_wrong_value_then_a_run",),
    "a grid with a failed and a killed cell": ("tests/flow/test_grid.py::test_a_sweep_ends_whatever_happens",),
    "the README's commands": (
        "tests/docs/test_readme.py::test_every_command_runs",
        "tests/docs/test_readme.py::test_python_runs_as_it_stands",
    ),
    "keys and code versions": (
        "tests/contract/test_keys.py::test_what_keys_are_made_of",
        "tests/contract/test_code_version.py::test_each_module_changes_its_dependents_and_no_other",
    ),
}


def slow_except(quick: Iterable[Any], cases: Iterable[Any]) -> list[Any]:
    """Return the values of a parameter, or tuples of several parameters, with all but the `quick` ones marked slow."""
    kept = list(quick)
    return [
        each if each in kept else pytest.param(*(each if isinstance(each, tuple) else [each]), marks=pytest.mark.slow)
        for each in cases
    ]


def mark_selected(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the selected proofs `selected`.

    Raises:
        UsageError: a selected proof is not there, although its file was collected whole.
    """
    wanted = {each for group in SELECTED.values() for each in group}
    found: set[str] = set()
    for item in items:
        if item.nodeid in wanted:
            item.add_marker(pytest.mark.selected)
            found.add(item.nodeid)
    if any("::" in argument for argument in config.args):
        return
    files = {item.nodeid.partition("::")[0] for item in items}
    if missing := sorted(each for each in wanted - found if each.partition("::")[0] in files):
        raise pytest.UsageError(f"tests/selection.py names tests that are not there: {', '.join(missing)}")
