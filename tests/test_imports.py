"""Imports point one way: from the app to the engine, and down the ladder of rooms inside it; `import workbench` is quick."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "workbench": {"workbench"},
    "probes": {"probes", "workbench"},
    "analyses": {"analyses", "probes", "workbench"},
    "app": {"app", "analyses", "probes", "workbench"},
}
OURS = {"workbench", "probes", "analyses", "app", "tests", "benchmarks", "examples", "data"}
HEAVY = {"torch", "transformers", "transformer_lens", "sae_lens", "streamlit", "pandas", "plotly", "sklearn", "duckdb"}
# From the ground up: a room, or a file at the top of workbench, imports only from those before it, in functions as well.
LADDER = (
    "errors numbers frames seeds sites progress metrics registry kinds",
    "paths memory shapes processes writing conversations parquet serving",
    "plots views measurements",
    "datasets statistics information concepts",
    "edits models engines",
    "activations",
    "store",
    "naming embedding profiles tokens labelling recipes readout search",
    "analysis",
    "recording runner",
    "evidence head_edits repeating",
    "reports",
    "study opening",
    "jobs testing cli",
)  # fmt: skip
# What a study hands out, runs and concepts, has its study as an attribute: these are named below for the type checker alone.
NAMED_ONLY = {"workbench.study", "workbench.evidence.compare"}
MOST_IN_A_CIRCLE = 3


def rungs() -> list[str]:
    return [room for line in LADDER for room in line.split()]


def modules(package: str) -> dict[str, Path]:
    """The files of a package by their dotted names."""
    found = {}
    for path in (ROOT / package).rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def statements(path: Path, typing: bool = True) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports of a file, those in functions too; those for the type checker alone only when ``typing``."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = [one for one in node.body if typing and getattr(one, "module", None) not in NAMED_ONLY]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.module and not node.level):
            yield node


def imported_modules(path: Path, known: dict[str, Path], typing: bool = True) -> set[str]:
    """Those of the known modules that a file imports."""
    found: set[str] = set()
    for node in statements(path, typing):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (below & set(known)) or {str(node.module)}
    return found & set(known)


def imported(path: Path) -> set[str]:
    return {alias.name.split(".")[0] for node in statements(path) for alias in node.names if isinstance(node, ast.Import)} | {
        str(node.module).split(".")[0] for node in statements(path) if isinstance(node, ast.ImportFrom)
    }


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules of which each imports each other, by way of others or not (Tarjan, 1972)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in number:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], number[other])
        if low[name] == number[name]:
            place = stack.index(name)
            found.append(set(stack[place:]))
            del stack[place:]

    for name in sorted(graph):
        if name not in number:
            visit(name)
    return [group for group in found if len(group) > 1]


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_imports_point_from_the_app_to_the_engine(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        wrong = (imported(path) & OURS) - MAY_IMPORT[package]
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


def test_every_room_stands_on_the_ladder_once() -> None:
    there = {path.stem for path in (ROOT / "workbench").glob("*.py")} | {
        path.parent.name for path in (ROOT / "workbench").glob("*/__init__.py")
    }
    assert sorted(rungs()) == sorted(there - {"__init__"})
    for line in LADDER:
        print(line)


def test_rooms_import_from_below() -> None:
    known, order = modules("workbench"), rungs()
    wrong = []
    for name, path in known.items():
        if name == "workbench":
            continue
        room = order.index(name.split(".")[1])
        above = [
            other for other in imported_modules(path, known) if other != "workbench" and order.index(other.split(".")[1]) > room
        ]
        wrong += [f"{name} imports {other}" for other in sorted(above)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_few_files_import_each_other(package: str) -> None:
    known = modules(package)
    graph = {name: imported_modules(path, known, typing=False) - {name} for name, path in known.items()}
    large = [sorted(group) for group in circles(graph) if len(group) > MOST_IN_A_CIRCLE]
    assert not large, large


def test_importing_the_workbench_imports_nothing_heavy() -> None:
    code = "import sys, workbench; print(' '.join(m for m in sys.modules if '.' not in m))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not HEAVY & set(out.split())


def test_no_pickle_is_read_or_written() -> None:
    for package in MAY_IMPORT:
        for path in (ROOT / package).rglob("*.py"):
            assert not imported(path) & {"pickle", "dill", "joblib", "cloudpickle", "shelve"}, path
            assert "allow_pickle=True" not in path.read_text(), path
            assert "weights_only=False" not in path.read_text(), path
