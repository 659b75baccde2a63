"""Tests for analyses, those of this project and those of others: whatever can be asked of every method is asked here.

In the tests of a package that offers an analysis:

    from workbench.testing import check_analysis

    def test_my_analysis(tmp_path):
        check_analysis("my_analysis", tmp_path)
"""

from workbench.testing.conformance import CHECKS, Conformance, check_analysis
from workbench.testing.worlds import WORLDS, World, write_world

__all__ = ["CHECKS", "WORLDS", "Conformance", "World", "check_analysis", "write_world"]
