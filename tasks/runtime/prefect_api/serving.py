"""Register this project on a Prefect server: a work pool, deployments and automations."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tasks.config.errors import ConfigError, MachineError
from tasks.config.sections.secrets import without_credentials
from tasks.runtime.prefect_api import server
from tasks.runtime.prefect_api.api_server import QUIET

DEPLOYMENTS = Path(__file__).parents[3] / "deployments"
POOL = "finetune"


def address(port: int) -> str:
    """Return the URL of the API to serve on: the configured one, else the persistent local server, started if needed.

    Raises:
        MachineError: it does not answer, or the port is taken.
    """
    if url := server.configured():
        if why := server.silence(url.rstrip("/"), seconds=10.0):
            raise MachineError(
                f"PREFECT_API_URL: {without_credentials(url)} does not answer ({why}); start that "
                "server, or unset it to start one here"
            )
        return url.rstrip("/")
    return str(server.start(port)["url"])


def register(url: str, folder: Path = DEPLOYMENTS) -> list[str]:
    """Create or update the pool, deployments and automations of `folder` on the server; return their names.

    Raises:
        ConfigError: `folder` does not exist, or Prefect rejects its content.
    """
    file = folder / "prefect.yaml"
    if not file.is_file():
        raise ConfigError(f"--deployments: {file} does not exist; give the folder `deployments` of the repository")
    environment = environment_for(url)
    os.environ.update(environment)  # Prefect reads it on import
    pool = asyncio.run(_pool())
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--prefect-file", str(file), "--all"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PWD": str(Path.cwd())})
    if done.returncode:
        raise ConfigError(f"{file}: Prefect rejects it:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    entrypoints = {each["name"]: each["entrypoint"] for each in yaml.safe_load(file.read_text())["deployments"]}
    asyncio.run(_forbid_unknown_parameters(entrypoints))
    automations = yaml.safe_load((folder / "automations.yaml").read_text())["automations"]
    return [
        pool,
        *(f"deployment {name}" for name in entrypoints),
        *(asyncio.run(_automation(each)) for each in automations),
    ]


def environment_for(url: str) -> dict[str, str]:
    """Return the environment variables of a process that uses the API at `url`."""
    return {"PREFECT_API_URL": url, "DO_NOT_TRACK": QUIET["DO_NOT_TRACK"]}


async def _pool() -> str:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    async with get_client() as client:
        try:
            await client.read_work_pool(POOL)
        except ObjectNotFound:
            template = ProcessWorker.get_default_base_job_template()
            await client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
    return f"work pool {POOL}"


async def _forbid_unknown_parameters(entrypoints: Mapping[str, str]) -> None:
    """Make the server reject unknown parameters: Prefect's schemas allow them at the top level.

    Args:
        entrypoints: of our deployments by name; deployments of other flows may have the same names.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentUpdate
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName

    async with get_client() as client:
        named = DeploymentFilter(name=DeploymentFilterName(any_=list(entrypoints)))
        for each in await client.read_deployments(deployment_filter=named):
            if each.entrypoint != entrypoints[each.name]:
                continue
            schema = {**(each.parameter_openapi_schema or {}), "additionalProperties": False}
            await client.update_deployment(each.id, DeploymentUpdate(parameter_openapi_schema=schema))


async def _automation(wanted: Mapping[str, Any]) -> str:
    from prefect.client.orchestration import get_client
    from prefect.events.schemas.automations import AutomationCore

    automation = AutomationCore.model_validate(wanted)
    async with get_client() as client:
        there = await client.read_automations_by_name(automation.name)
        if there:
            await client.update_automation(there[0].id, automation)
        else:
            await client.create_automation(automation)
    return f"automation {automation.name}"
