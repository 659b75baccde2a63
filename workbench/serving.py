"""How the app is started: under which addresses it answers, which folders it reaches, and who may write.

The command line writes it into the environment of the server's process, and the app reads it there. Sign-in itself is
Streamlit's: the section ``[auth]`` of ``.streamlit/secrets.toml``; beside it ``[workbench] editors = ["ada@example.org"]`` says
who may write.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from workbench.errors import ConfigError
from workbench.shapes import ShapeError, shaped

STUDIES = "WORKBENCH_STUDIES"
SETTINGS = "WORKBENCH_APP"
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True)
class Serving:
    """How the app is served.

    Attributes:
        addresses: Origins, such as ``https://x.example``, under which people reach the app besides the one it listens on.
        roots: The folders whose files the app may read and write; where it is empty, those of the studies and the current one.
        providers: Names of the providers that people sign in with; ``""`` is the only one, without a name. Empty: no sign-in.
        editors: Mail addresses, in lower case, of those who may write once they have signed in; the others may read.
    """

    addresses: Sequence[str] = ()
    roots: Sequence[str] = ()
    providers: Sequence[str] = ()
    editors: Sequence[str] = ()

    def environment(self, studies: Sequence[Path]) -> dict[str, str]:
        """The variables for the server's process."""
        return {STUDIES: os.pathsep.join(map(str, studies)), SETTINGS: json.dumps(asdict(self))}

    @classmethod
    def current(cls) -> Self:
        """The settings that this process was started with.

        Raises:
            ConfigError: The variable holds something else than :meth:`environment` writes.
        """
        try:
            return shaped(os.environ.get(SETTINGS, "{}"), cls)
        except ShapeError as error:
            raise ConfigError(f"The variable {SETTINGS} cannot be read: {error}. Leave it to `workbench app`.") from error


def served_folders() -> list[Path]:
    """The studies, and folders of studies, that the app was started with."""
    return [Path(p) for p in os.environ.get(STUDIES, "studies").split(os.pathsep) if p]


def roots() -> list[Path]:
    """The folders that the app reaches, with every link in them followed."""
    given = [Path(p) for p in Serving.current().roots] or [*served_folders(), Path.cwd()]
    return list(dict.fromkeys(p.resolve() for p in given))


def inside_roots(text: str) -> Path:
    """A path that somebody typed into the app, with every link in it followed.

    Raises:
        ConfigError: It is in none of the folders that the app reaches, or is no path.
    """
    known = roots()
    try:
        path = Path(text.strip()).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):
        raise ConfigError(f"'{text.strip()[:200]}' is not a path that can be read.") from None
    if not any(path.is_relative_to(root) for root in known):
        shown = ", ".join(map(str, known))
        raise ConfigError(
            f"The app reaches only files inside {shown}, and {path} is not: move it there, upload it, or start the app with"
            f" `workbench app --root FOLDER`."
        )
    return path


def address_of(text: str) -> str:
    """The origin of an address, as a browser writes it: ``https://x.example`` or ``http://x.example:8501``.

    Raises:
        ConfigError: It is no address of a web page.
    """
    try:
        parts = urlsplit(text.strip().lower())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in _DEFAULT_PORTS or parts.username is not None:
        raise ConfigError(f"'{text}' is not an address of the app: write it as people type it, such as https://x.example.")
    host = f"[{host}]" if ":" in host else host
    shown = "" if port is None else f":{port}"
    return f"{parts.scheme}://{host}{'' if shown == _DEFAULT_PORTS[parts.scheme] else shown}"


def read_secrets(places: Sequence[Path]) -> dict[str, Any]:
    """What Streamlit's files of secrets hold, those of later places over those of earlier ones.

    Args:
        places: Folders that may hold ``.streamlit/secrets.toml``.

    Raises:
        ConfigError: A file is not TOML; what it holds is not shown.
    """
    found: dict[str, Any] = {}
    for place in places:
        path = place / ".streamlit" / "secrets.toml"
        if path.is_file():
            try:
                found |= tomllib.loads(path.read_text(encoding="utf-8"))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError):
                raise ConfigError(f"{path} is not TOML that can be read, so nobody could sign in: correct it.") from None
    return found


def serving(secrets: dict[str, Any], addresses: Sequence[str], roots: Sequence[Path], editors: Sequence[str]) -> Serving:
    """How the app is served, from its secrets and the options that it is started with.

    Raises:
        ConfigError: The sections ``[auth]`` and ``[workbench]`` do not hold what they should, or an option is wrong.
    """
    auth, own = secrets.get("auth"), secrets.get("workbench", {})
    listed = own.get("editors", []) if isinstance(own, dict) else None
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise ConfigError('The section [workbench] of secrets.toml lists mail addresses: editors = ["ada@example.org"].')
    if auth is not None and not (isinstance(auth, dict) and auth.get("redirect_uri") and auth.get("cookie_secret")):
        raise ConfigError("The section [auth] of secrets.toml needs redirect_uri and cookie_secret; see Streamlit's st.login.")
    auth = auth or {}
    named = [name for name, value in auth.items() if isinstance(value, dict) and name != "client_kwargs"]
    known = [address_of(a) for a in [*addresses, *([auth["redirect_uri"]] if auth else [])]]
    missing = next((root for root in roots if not root.is_dir()), None)
    if missing is not None:
        raise ConfigError(f"The root {missing} is not a folder.")
    return Serving(
        addresses=list(dict.fromkeys(known)), roots=[str(root.resolve()) for root in roots],
        providers=(named or [""]) if auth else [], editors=[one.strip().lower() for one in [*listed, *editors]],
    )  # fmt: skip
