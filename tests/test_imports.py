"""Imports point one way, and `import workbench` is quick."""

import ast
import subprocess
import sys
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


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_imports_point_from_the_app_to_the_engine(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        wrong = (imported(path) & OURS) - MAY_IMPORT[package]
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


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
