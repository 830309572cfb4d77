"""Check that the workers of a Ray or Dask cluster can reach what a sweep needs: the Prefect API, and its folder."""

import ipaddress
import os
import socket
from urllib.parse import urlsplit

import psutil

from tasks.config import ConfigError, SweepConfig
from tasks.config.errors import MachineError


def api_url() -> str | None:
    """Return the URL of the Prefect API that this process uses."""
    from prefect.settings import PREFECT_API_URL

    return PREFECT_API_URL.value()


def check_api(sweep: SweepConfig, url: str | None) -> None:
    """Refuse a cluster on other machines whose workers cannot reach the Prefect API.

    Args:
        url: of the API that this run uses; None if Prefect would start one in this process.

    Raises:
        ConfigError: the workers cannot reach the API.
    """
    host = _host(sweep.address or "")
    if not host or _is_here(host) or (url and not _is_loopback(urlsplit(url).hostname or "")):
        return
    raise ConfigError(
        f"sweep.address: workers of {sweep.address} cannot reach this run's Prefect API ({url or 'in this process'}), "
        "only this machine can; start a server that all machines reach (prefect server start --host 0.0.0.0) and set "
        "PREFECT_API_URL to its address, such as http://this-machine:4200/api"
    )


def enter_folder(folder: str) -> None:
    """Change to the folder in which a sweep was started, to which relative paths of a config refer.

    Raises:
        MachineError: this machine has no such folder.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        raise MachineError(
            f"{folder}, the folder in which the sweep was started, cannot be used on {socket.gethostname()} "
            f"({error.strerror}); start the sweep in a folder that every worker has"
        ) from error


def _host(address: str) -> str:
    """Return the host of `tcp://host:8786`, `ray://host:10001` or `host:6379`; empty for words such as `auto`."""
    if "://" not in address and ":" not in address:
        return ""
    return urlsplit(address if "://" in address else f"//{address}").hostname or ""


def _is_loopback(host: str) -> bool:
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return found.is_loopback or found.is_unspecified


def _is_here(host: str) -> bool:
    """Whether a host is this machine, by one of its addresses or its name."""
    ours = {each.address for addresses in psutil.net_if_addrs().values() for each in addresses}
    return _is_loopback(host) or host in ours or host == socket.gethostname().lower()
