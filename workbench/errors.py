"""Errors that a person can act on.

Every error that the workbench raises on purpose is a :class:`WorkbenchError`. Its text is one sentence that
says what is wrong and what to do. The command line prints that sentence and exits with the class's code; a
notebook shows it as any exception.
"""

from __future__ import annotations

import difflib
import errno
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Error numbers for a file that cannot grow: disk full, quota exceeded, or file too large."""


class WorkbenchError(Exception):
    """Something the user can mend. ``exit_code`` is what the command line exits with.

    Its text is one line of visible characters, whatever names and messages from elsewhere stand in it.
    """

    exit_code = 2

    def __init__(self, *args: Any) -> None:
        super().__init__(*(one_line(arg) if isinstance(arg, str) else arg for arg in args))

    def __reduce__(self) -> Any:
        # Errors of worker processes are rebuilt from their message alone; most constructors take other arguments.
        return _again, (type(self), self.args, self.__dict__)


def one_line(text: str, most: int = 2000) -> str:
    """A text as one line of visible characters; of a long one its beginning and its end."""
    text = "".join(c if c.isprintable() else "·" for c in text.replace("\n", " "))
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 :]}"


def _again(kind: type[WorkbenchError], args: tuple[Any, ...], state: dict[str, Any]) -> WorkbenchError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class WorkbenchWarning(UserWarning):
    """Something that was done in another way than asked, or left out, in one sentence. The command line prints it as a note."""


class UnknownNameError(WorkbenchError, KeyError):
    """A name that is not known, with the names that are."""

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "") -> None:
        choices = sorted(set(map(str, known)))
        close = difflib.get_close_matches(name, choices, n=3, cutoff=0.5)
        text = f"There is no {what} called {_quote(name)}."
        if close:
            text += f" Did you mean {' or '.join(_quote(c) for c in close)}?"
        elif choices:
            shown = ", ".join(choices[:12]) + (", …" if len(choices) > 12 else "")
            text += f" Known: {shown}."
        super().__init__(f"{text} {hint}".strip())

    def __str__(self) -> str:
        # KeyError would show the repr of the message.
        return str(self.args[0])


class DataError(WorkbenchError, ValueError):
    """A data set, a label or a file that cannot be used as it is."""


class ConfigError(WorkbenchError, ValueError):
    """An option with a value that cannot be used."""


class StudyError(WorkbenchError):
    """A study that is missing, damaged, or made with something else."""


class NotInstalledError(StudyError):
    """Something in a study was made by a package that is not installed here. It is whole, and is left as it is."""


class LeftOutError(StudyError):
    """What was left out of a study on purpose, when it was packed: nothing is damaged."""


class NotTrustedError(StudyError):
    """A study that this user has not made or opened before, and that needs a yes first.

    Attributes:
        study: Its folder.
        places: The databases and file systems that it names, which would be contacted.
        side_files: The side files of its catalog, from which SQLite would change it.
    """

    def __init__(self, study: str, places: Iterable[str] = (), side_files: Iterable[str] = ()) -> None:
        self.study, self.places, self.side_files = study, tuple(places), tuple(side_files)
        reasons = [f"it would contact {place}" for place in self.places]
        if self.side_files:
            reasons.append(f"its catalog was not closed ({', '.join(self.side_files)}), and a stranger's could do harm")
        super().__init__(
            f"You have not opened {study} before, and {'; '.join(reasons)}. If you trust it, say so once: `workbench --trust show"
            f" {study}`, or trust=True in Python. Or make a study of your own of it: `workbench unpack {study} NEW`."
        )


class DiskFullError(WorkbenchError, OSError):
    """No room is left for what was being written; what was there before is whole."""

    exit_code = 3


class ClusterError(WorkbenchError):
    """A cluster that cannot be reached, or whose workers keep dying."""


class MissingExtraError(WorkbenchError, ImportError):
    """An optional package is needed for this."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}: run `pip install 'concept-workbench[{extra}]'`.")


def _quote(name: str) -> str:
    shown = name if len(name) <= 60 else name[:57] + "…"
    return f"'{shown}'"


def disk_is_full(error: DBAPIError) -> bool:
    """Whether a database had no room for what it was given."""
    if hasattr(error.orig, "sqlstate"):
        return getattr(error.orig, "sqlstate", None) == "53100"
    return "full" in str(error.orig) or _not_written(error)


def _not_written(error: DBAPIError) -> bool:
    """Whether the system did not let SQLite write, for another reason than a full disk: a limit of the process, most of all."""
    refused = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_TRUNCATE)
    return getattr(error.orig, "sqlite_errorcode", None) in refused


def full_disk_number(error: BaseException) -> int:
    """The error number if a file could not grow, or 0 for another error."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None:
        # Rust libraries have the number in their message only, and NumPy only says how much was written.
        match = re.search(r"\(os error (\d+)\)$", str(error))
        number = int(match[1]) if match else errno.ENOSPC if re.fullmatch(r"\d+ requested and \d+ written", str(error)) else 0
    return number if number in NO_ROOM else 0


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn 'no space left on device', from the system or from the database, and 'may not be written' into one clear sentence."""
    from sqlalchemy.exc import OperationalError

    try:
        yield
    except WorkbenchError:
        raise
    except OperationalError as error:
        if not disk_is_full(error):
            raise
        raise _disk_full(what, longer=_not_written(error)) from error
    except Exception as error:
        if number := full_disk_number(error):
            raise _disk_full(what, longer=number == errno.EFBIG) from error
        if isinstance(error, OSError) and error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
            raise StudyError(f"{error.filename or what} may not be written: {what} was left as it was.") from error
        raise


def _disk_full(what: str, longer: bool) -> DiskFullError:
    again = "run the same command again; nothing that was there before is lost."
    if longer:
        why = "This process may write no longer files, or the disk did not take what was written"
        return DiskFullError(f"{why}: {what} could not be written. See `ulimit -f`, and {again}")
    return DiskFullError(f"The disk is full: {what} could not be written. Free some space and {again}")
