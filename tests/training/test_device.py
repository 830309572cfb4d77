"""Which GPUs a run sees, as `CUDA_VISIBLE_DEVICES` says it."""

import pytest

from tasks.models import device
from tasks.models.device import Gpu, untouched
from tasks.runtime.parallel.slots import devices

GPUS = [Gpu("NVIDIA H100", "GPU-aa11", (9, 0)), Gpu("NVIDIA L4", "GPU-ab22", (8, 9))]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs, and a torch that could use them."""
    monkeypatch.setattr(device, "_gpus", lambda: GPUS)
    monkeypatch.setattr(device, "version", lambda _: "2.13.0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("visible", "named"),
    [
        (None, "cuda:NVIDIA H100,NVIDIA L4"),
        ("1", "cuda:NVIDIA L4"),
        ("1, 0", "cuda:NVIDIA L4,NVIDIA H100"),
        ("GPU-ab", "cuda:NVIDIA L4"),
        ("0,7,1", "cuda:NVIDIA H100"),  # CUDA stops at the first that is none
        ("GPU-a", "cpu"),  # two begin so
        ("7", "cpu"),
        ("", "cpu"),
        ("-1", "cpu"),
        ("MIG-cc33", "cuda:MIG-cc33"),
        ("0,", "cuda:NVIDIA H100"),
        (" ", "cpu"),
        ("0,0", "cpu"),
    ],
)
def test_the_visible_gpus(visible: str | None, named: str, gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert device.device() == named


def test_a_slot_for_each_gpu_that_is_there(gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices(None, None) == {"cuda-0": 1, "cuda-1": 1}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,7")
    assert devices(2, None) == {"cuda-1": 2}


def test_a_torch_for_cpus_uses_no_gpu(gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "version", lambda _: "2.13.0+cpu")
    assert device.device() == "cpu"


def test_while_imports_ask_for_gpus_the_driver_answers(gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is to fork must not open them."""
    import torch

    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    before = torch.cuda.get_device_capability
    with untouched():
        asked = [torch.cuda.get_device_capability(torch.cuda.device(index)) for index in range(2)]
        asked += [torch.cuda.get_device_capability(given) for given in (None, 1, "cuda:1", torch.device("cuda"))]
        assert asked == [(8, 9), (9, 0), (8, 9), (9, 0), (9, 0), (8, 9)]
    assert torch.cuda.get_device_capability is before and not torch.cuda.is_initialized()


@pytest.mark.parametrize(("given", "on_a_gpu"), [({}, True), ({"full_determinism": False}, False),
                                                 ({"full_determinism": True}, True)])  # fmt: skip
def test_the_same_bits_every_time_unless_told_otherwise(
    given: dict[str, bool], on_a_gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's own `full_determinism` would make every launch wait, so it is not handed on."""
    from tasks.models import device

    asked = {"training": {"bf16": True, **given}, "torch_num_threads": 1, "float32_matmul_precision": "high"}
    for where, expected in (("cuda:NVIDIA L4", on_a_gpu), ("cpu", False)):
        monkeypatch.setattr(device, "device", lambda where=where: where)
        placed = device.placed(asked)
        assert (placed["device"], placed["deterministic"], placed["arguments"]) == (where, expected, {"bf16": True})


def test_a_gpu_that_the_plan_knows_nothing_of_is_not_left_idle_unsaid(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from tasks.config import MachineError
    from tasks.training.compute import computing_as

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA L4")
    plan = {"device": "cpu", "threads": 1, "float32_matmul_precision": "highest", "arguments": {}}
    with (
        pytest.raises(MachineError, match=r"torch can use NVIDIA L4, but .* lists no GPU.*train\.use_cpu: true"),
        computing_as(plan),
    ):
        pass
    with computing_as({**plan, "arguments": {"use_cpu": True}}):
        pass
