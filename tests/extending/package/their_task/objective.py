"""Classification in which a column says how much each row counts."""

from dataclasses import replace

from tasks.data.rows.columns import Role
from tasks.objectives.text_classification import TEXT_CLASSIFICATION

WEIGHTED = replace(
    TEXT_CLASSIFICATION,
    name="weighted-classification",
    aliases=(),
    roles=(*TEXT_CLASSIFICATION.roles, Role("importance", ("importance",), required=True)),
    encode="their_task.encode:encode",
    loss="their_task.loss:weighted",
    predictor="their_task.loss:Unweighted",
)
