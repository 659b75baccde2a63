"""Commands that open something for a person: the demo and the app."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from workbench.cli.console import console, say
from workbench.errors import ConfigError, StudyError
from workbench.memory import parse_size
from workbench.serving import read_secrets, serving

LOCAL = {"localhost", "127.0.0.1", "::1"}


def app(
    studies: Annotated[list[Path] | None, typer.Argument(help="Study folders, or folders of studies.")] = None,
    port: Annotated[int, typer.Option(help="Port on this machine.", min=1, max=65535)] = 8501,
    address: Annotated[
        str, typer.Option(help="Address to listen on; other than localhost needs Streamlit's sign-in.")
    ] = "localhost",
    url: Annotated[
        list[str] | None, typer.Option(help="Address under which people reach it, such as https://x.example; any number.")
    ] = None,
    root: Annotated[
        list[Path] | None,
        typer.Option(help="Folder that its import and export reach; any number. [default: of the studies, and this one]"),
    ] = None,
    editor: Annotated[
        list[str] | None, typer.Option(help="Mail address of somebody who may write after sign-in, any number; others read.")
    ] = None,
    max_upload: Annotated[str, typer.Option(help="Largest file that may be uploaded.")] = "200MB",
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = False,
) -> None:
    """Serve the app on this machine."""
    folders = [p.resolve() for p in studies or [Path("studies")]]
    for folder in folders:
        if not folder.is_dir():
            raise StudyError(f"{folder} is not a folder; make a study first, for instance with `workbench demo --no-serve`.")
    settings = serving(read_secrets([Path.home(), Path.cwd()]), url or [], root or [], editor or [])
    if address not in LOCAL and not settings.providers:
        raise ConfigError(
            f"The app has no sign-in configured, so it is served on localhost only and not on {address}. Configure Streamlit's"
            " [auth] section in .streamlit/secrets.toml first."
        )
    if settings.providers and find_spec("authlib") is None:
        raise ConfigError("Sign-in needs Authlib: run `pip install 'streamlit[auth]'`.")
    spec = find_spec("app")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("The app is not installed; run `pip install concept-workbench` again.")
    main = Path(next(iter(spec.submodule_search_locations))) / "main.py"
    megabytes = max(1, parse_size(max_upload) // 10**6)
    command = [
        sys.executable, "-m", "streamlit", "run", str(main), "--server.address", address, "--server.port", str(port),
        "--server.headless", "false" if browser else "true", "--browser.gatherUsageStats", "false",
        "--server.fileWatcherType", "none", "--client.toolbarMode", "viewer", "--client.showErrorDetails", "none",
        "--server.maxUploadSize", str(megabytes),
    ]  # fmt: skip
    # A study from elsewhere may name a model of the hub: one that is here already is loaded, and nobody is asked for another.
    quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "1")}
    environment = os.environ | settings.environment(folders) | quiet
    _require_free(address, port)
    say(f"Serving {', '.join(f.name for f in folders)} at http://{address}:{port} (Ctrl-C stops it)")
    console.file.flush()
    if os.name == "posix":
        # The server takes this process's place: what ends the command ends the server, and a demo's memory is free again.
        os.execve(sys.executable, command, environment)
    raise typer.Exit(subprocess.run(command, env=environment, check=False).returncode)


def _require_free(address: str, port: int) -> None:
    """See that nothing else listens there."""
    family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(place)
        except OSError as error:
            raise ConfigError(
                f"Nothing can be served at {address}, port {port}: {error.strerror}. Give another `--port`."
            ) from error


def demo(
    study: Annotated[Path, typer.Option(help="Where the study is made.")] = Path("studies/topics"),
    report: Annotated[Path, typer.Option(help="The report to write.")] = Path("report.html"),
    serve: Annotated[bool, typer.Option(help="Serve the app afterwards.")] = True,
    port: Annotated[int, typer.Option(help="Port of the app.", min=1, max=65535)] = 8501,
) -> None:
    """Run the main job on bundled data: capture, four analyses, the trial, a report, the app with two studies."""
    from workbench.cli.demo import STEER, open_steer, run_demo

    steer = study.parent / STEER
    open_steer(steer, report.with_stem(f"{report.stem}-{STEER}"))
    run_demo(study, report)
    if serve:
        app([study, steer], port=port, address="localhost", max_upload="200MB", browser=False)


def add_to(root: typer.Typer) -> None:
    """Register the commands."""
    root.command()(app)
    root.command()(demo)
