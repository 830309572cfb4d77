"""What lies in `deployments/` fits the code, the packages and each other, as far as can be said without an engine."""

import inspect
import json
import re
import shlex
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from prefect.events.schemas.automations import AutomationCore
from prefect.settings.legacy import _get_valid_setting_names
from prefect.settings.models.root import Settings
from prefect.utilities.callables import parameter_schema
from prefect.utilities.importtools import import_object

from tasks.config import RunConfig, load_chain
from tasks.config.reading.load import load, load_sweep
from tests.served import ROOT, SILENCE, Refused, Served

FOLDER = ROOT / "deployments"
PREFECT = yaml.safe_load((FOLDER / "prefect.yaml").read_text())
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
POOLS = {path.stem: json.loads(path.read_text()) for path in (FOLDER / "pools").glob("*.json")}
OURS = {"FINETUNE_STORE"}
IMAGE = "finetune-flow:latest"
# Of finetune/finetune only `model` and `data` are left to whoever runs it.
UNFILLED = {"model": {"name": "m"}, "data": {"train": "d"}}


def known(name: str) -> bool:
    """Whether an environment variable is one that Prefect, or this project, reads: a misspelt one does nothing."""
    return not name.startswith(("PREFECT_", "FINETUNE_")) or name in _get_valid_setting_names(Settings) | OURS


def test_the_image_has_what_the_build_of_the_package_reads() -> None:
    copied = {word for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = [name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]]
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"], *packages}
    assert needed <= copied
    assert {f"!{name}" for name in copied} <= set((FOLDER / "Dockerfile.dockerignore").read_text().split())


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_runs_in_containers_start_where_the_volume_is(kind: str) -> None:
    text = (FOLDER / f"prefect.{kind}.yaml").read_text()
    made = yaml.safe_load(text)
    [step] = made["pull"]
    folder = step["prefect.deployments.steps.set_working_directory"]["directory"]
    assert folder == re.findall(r"^WORKDIR (\S+)$", DOCKERFILE, re.MULTILINE)[-1]
    template = POOLS[kind]
    assert template["variables"]["properties"]["env"]["default"]["FINETUNE_STORE"].startswith(f"{folder}/")
    if kind == "docker":
        mounts = [volume.split(":")[1] for volume in template["variables"]["properties"]["volumes"]["default"]]
    else:
        [container] = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["containers"]
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert container["workingDir"] == folder
    assert folder in mounts
    flows = ("finetune", "grid", "align", "continual")
    ours = {each["entrypoint"]: each for each in PREFECT["deployments"] if each["name"] in flows}
    assert {each["entrypoint"] for each in made["deployments"]} == set(ours)
    for each in made["deployments"]:
        assert each["work_pool"] == {"name": f"finetune-{kind}"}, "its environment is the pool's"
        assert each["concurrency_limit"] == ours[each["entrypoint"]]["concurrency_limit"]
    assert f"create finetune-{kind} --type {kind} --base-job-template deployments/pools/{kind}.json" in text
    assert f"--prefect-file deployments/prefect.{kind}.yaml --all" in text


@pytest.mark.parametrize("deployment", PREFECT["deployments"], ids=lambda each: each["name"])
def test_a_deployment_names_a_flow_and_gives_it_what_it_takes(deployment: dict[str, Any]) -> None:
    flow = import_object(deployment["entrypoint"])
    schema = parameter_schema(flow.fn).model_dump_for_openapi()
    given = UNFILLED | deployment.get("parameters", {})
    if flow.name == "grid":
        given["sweep"] = {"grid": {"train.learning_rate": [1e-4, 2e-4]}}
    if flow.name == "align":
        given["steps"] = [{"task": "sft", "data": {"train": "a"}}, {"task": "dpo", "data": "b", "peft": "lora"}]
    if flow.name == "continual":
        given |= {"task": "text-classification", "continual": ["a", {"data": {"train": "b"}, "seed": 1}]}
    jsonschema.Draft202012Validator(schema).validate(given)
    {"finetune": load, "grid": load_sweep, "align": load_chain, "continual": load_chain}[flow.name](given)
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    assert deployment["description"] and deployment["tags"]
    assert deployment["work_pool"]["name"] == "finetune"
    assert all(known(name) for name in deployment["work_pool"]["job_variables"]["env"])


def test_the_preset_is_the_preset() -> None:
    """Prefect's file cannot include another; this keeps the two the same."""
    filled = next(each for each in PREFECT["deployments"] if each["name"] == "quickstart")["parameters"]
    assert load(filled).config == load(FOLDER / "presets" / "quickstart.yaml").config


def test_the_form_says_what_each_parameter_is() -> None:
    from flows.pipeline import finetune

    schema = parameter_schema(finetune.fn).model_dump_for_openapi()
    assert list(schema["properties"]) and set(schema["properties"]) == set(RunConfig.model_fields)
    assert schema["required"] == ["model", "data"]
    for name, field in schema["properties"].items():
        section = schema["definitions"].get(field.get("$ref", "").rpartition("/")[2], {})
        assert field.get("description", section.get("description")) == RunConfig.model_fields[name].description, name
        assert name in schema["required"] or "default" in field, name
    assert [each["$ref"].rpartition("/")[2] for each in schema["properties"]["peft"]["anyOf"]] == [
        "NoPeft",
        "Lora",
        "OtherTuner",
        "ContinuePeft",
    ]
    assert "<" not in json.dumps(schema), "the form takes <…> for markup"


@pytest.mark.parametrize(
    ("entrypoint", "more"), [("flows.pipeline.finetune", set()), ("flows.sweep.flow.grid", {"sweep"})]
)
def test_a_flow_takes_every_section_of_a_config(entrypoint: str, more: set[str]) -> None:
    parameters = inspect.signature(import_object(entrypoint).fn).parameters
    assert set(parameters) == {*RunConfig.model_fields, *more}
    defaults = {name: field.get_default(call_default_factory=True) for name, field in RunConfig.model_fields.items()}
    for name, parameter in parameters.items():
        assert parameter.default is inspect.Parameter.empty or parameter.default == defaults[name], name


def test_the_automation_waits_for_three_signs_of_life() -> None:
    automation = yaml.safe_load((FOLDER / "automations.yaml").read_text())["automations"][0]
    AutomationCore.model_validate(automation)
    pace = int(PREFECT["deployments"][0]["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
    assert automation["trigger"]["within"] == 90 == 3 * pace
    assert pace < SILENCE
    flows = {import_object(each["entrypoint"]).name for each in PREFECT["deployments"]}
    assert flows <= set(automation["trigger"]["match_related"]["prefect.resource.name"])


def test_the_image_copies_what_is_there_and_runs_what_exists() -> None:
    copied = [word for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]]
    assert {"flows", "tasks", "deployments", "constraints.txt", "pyproject.toml"} <= set(copied)
    assert all((ROOT / path).exists() for path in copied)
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text().split()
    assert {f"!{path}" for path in copied} <= set(ignored)
    assert "--constraint constraints.txt" in DOCKERFILE
    assert re.findall(r"^FROM python:3\.11", DOCKERFILE, re.MULTILINE)
    environment = dict(pair.split("=", 1) for pair in re.findall(r"\b[A-Z_]+=\S+", DOCKERFILE))
    assert all(known(name) for name in environment)
    assert environment["DO_NOT_TRACK"] == "1" and environment["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    assert exists(json.loads(re.findall(r"^CMD (.+)$", DOCKERFILE, re.MULTILINE)[0]))


def exists(command: list[str]) -> bool:
    """Whether the program is installed and the verb is one of its own."""
    from prefect.cli import app  # noqa: F401 — a broken install fails here

    from flows.cli import _parser

    program, verb = command[:2]
    if program == "finetune":
        return verb in _parser().format_help()
    return shutil.which(program, path=str(Path(sys.executable).parent)) is not None


def test_compose_knows_the_traps() -> None:
    services = COMPOSE["services"]
    assert set(services) == {"database", "server", "worker"}
    server, worker = services["server"], services["worker"]
    assert (ROOT / "deployments" / server["build"]["context"]).resolve() == ROOT
    assert (ROOT / server["build"]["dockerfile"]).exists()
    assert {server["image"], worker["image"]} == {IMAGE}
    settings = server["environment"]
    assert settings["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"].endswith("lease_storage.filesystem")
    assert settings["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert settings["PREFECT_UI_API_URL"].endswith("/api")
    assert "postgresql+asyncpg://" in settings["PREFECT_API_DATABASE_CONNECTION_URL"]
    for service in services.values():
        assert all(known(name) for name in service["environment"])
        assert {volume.split(":")[0] for volume in service["volumes"]} <= set(COMPOSE["volumes"])
        assert set(service.get("depends_on", {})) <= set(services)
    assert exists(server["command"]) and exists(worker["command"])
    assert worker["environment"]["PREFECT_API_URL"] == "http://server:4200/api"


@pytest.mark.parametrize("name", ["docker", "kubernetes"])
def test_a_pool_template_is_whole(name: str) -> None:
    template = POOLS[name]
    job, variables = template["job_configuration"], template["variables"]
    jsonschema.Draft202012Validator.check_schema(variables)
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(job)))
    assert used == set(variables["properties"])
    defaults = {key: value["default"] for key, value in variables["properties"].items() if "default" in value}
    jsonschema.Draft202012Validator(variables).validate(
        {key: value for key, value in defaults.items() if value is not None}
    )
    assert defaults["image"] == IMAGE
    assert all(known(key) for key in defaults["env"])
    assert defaults["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    if name == "kubernetes":
        pod = job["job_manifest"]["spec"]["template"]["spec"]
        assert {each["name"] for each in pod["volumes"]} == {
            each["name"] for each in pod["containers"][0]["volumeMounts"]
        }
        assert pod["restartPolicy"] == "Never" and job["job_manifest"]["spec"]["backoffLimit"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["docker", "kubernetes"])
def test_a_server_takes_the_pool_and_refuses_a_wrong_variable(served: Served, name: str) -> None:
    pool = {"name": f"team-{name}", "type": name, "base_job_template": POOLS[name]}
    taken = served.call("/work_pools/", pool)["base_job_template"]["variables"]["properties"]
    assert taken["image"]["default"] == IMAGE
    made = {
        "name": f"on-{name}", "flow_id": served.call("/flows/filter", {})[0]["id"], "work_pool_name": f"team-{name}",
        "entrypoint": "flows.pipeline.finetune",
    }  # fmt: skip
    with pytest.raises(Refused, match="image"):
        served.call("/deployments/", made | {"job_variables": {"image": 7}})
    served.call("/deployments/", made | {"job_variables": {"image": "mine:2"}})
    assert shlex.quote(name) == name
