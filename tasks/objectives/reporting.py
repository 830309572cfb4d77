"""Check the trackers of a config before a run begins: their names, and that their packages are installed."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec

from tasks.config import RunConfig
from tasks.config.reading.names import hint

# Transformers' names of trackers: the modules of which one is needed, and what to install.
TRACKERS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "azure_ml": (("azureml",), "azureml-mlflow"),
    "clearml": (("clearml",), "clearml"),
    "codecarbon": (("codecarbon",), "codecarbon"),
    "comet_ml": (("comet_ml",), "comet-ml"),
    "dagshub": (("dagshub",), "dagshub"),
    "dvclive": (("dvclive",), "dvclive"),
    "flyte": (("flytekit",), "flytekit"),
    "kubeflow": (("kubeflow",), "kubeflow"),
    "mlflow": (("mlflow",), "mlflow"),
    "neptune": (("neptune",), "neptune"),
    "swanlab": (("swanlab",), "swanlab"),
    "tensorboard": (("tensorboard", "tensorboardX"), "tensorboard"),
    "trackio": (("trackio",), "trackio"),
    "wandb": (("wandb",), "wandb"),
}


def reporting_problems(config: RunConfig) -> Iterator[str]:
    """Yield a message for each."""
    given = config.train.model_dump().get("report_to") or []
    names = [given] if isinstance(given, str) else given
    for name in names if names not in (["all"], ["none"]) else ():
        if name not in TRACKERS:
            yield (f"train.report_to: {name!r} is no tracker; valid are {', '.join(TRACKERS)}, all or none"
                   f"{hint(name, TRACKERS)}")  # fmt: skip
        elif not any(map(find_spec, TRACKERS[name][0])):
            yield f"train.report_to: {name} needs its package; pip install {TRACKERS[name][1]}"
