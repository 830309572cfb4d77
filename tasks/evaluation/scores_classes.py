"""(being written)"""

import pyarrow.compute as pc


def metrics(table, head):
    if head["problem_type"] == "regression":
        return {}
    return (
        {
            "accuracy": float(
                pc.mean(pc.equal(table["label"].combine_chunks(), table["prediction"].combine_chunks())).as_py()
            )
        }
        if head["problem_type"].startswith("single")
        else {}
    )
