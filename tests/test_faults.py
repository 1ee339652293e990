"""docs/faults.md: every fault has a row, and every row names tests that are there."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "faults.md"
ROWS = re.findall(r"^\| ([A-Z]?\d+) \|.*\|(.*)\|$", PAGE.read_text(), re.MULTILINE)
CASES = re.findall(
    r"^\| (?![A-Z]?\d+ \||# \||case \|)([^|]+) \|.*\|(.*)\|$", PAGE.read_text(), re.MULTILINE
)


CASES = re.findall(
    r"^\| (?!\d+ \|)(.*?) \|.*\|(.*`[\w/]+\.py::.*)\|$", PAGE.read_text(), re.MULTILINE
)


def test_no_fault_is_left_out() -> None:
    numbers = [number for number, _ in ROWS]
    assert [int(number) for number in numbers if number.isdecimal()] == list(range(1, 37))
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize(("number", "named"), ROWS + CASES, ids=lambda value: value[:40])
def test_the_tests_of_a_row_are_there(number: str, named: str) -> None:
    tests = re.findall(r"`([\w/]+\.py)::(\w+)`", named)
    assert tests
    assert len(tests) == named.count("::")
    for file, name in tests:
        tree = ast.parse((TESTS / file).read_text())
        found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert name in found, f"row {number}: {file} has no {name}"
