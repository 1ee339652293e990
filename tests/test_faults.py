"""docs/faults.md: every fault has a row, and every row names tests that are there."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "faults.md"
TABLES = re.findall(
    r"^\|.*\| tests? \|\n\|[-|]+\|\n((?:\|.*\|\n)+)", PAGE.read_text(), re.MULTILINE
)
ROWS = [
    (row.split("|", 2)[1].strip(), row.rsplit("|", 2)[1])
    for table in TABLES
    for row in table.splitlines()
]
"""What stands first and last in each row: its number or the case, and the tests."""

NAMED = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE.read_text())


def test_no_fault_is_left_out() -> None:
    numbers = [first for first, _ in ROWS if re.fullmatch(r"[A-Z]?\d+", first)]
    assert [int(number) for number in numbers if number.isdecimal()] == list(range(1, 37))
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize(("number", "named"), ROWS, ids=lambda value: value[:40])
def test_the_tests_of_a_row_are_there(number: str, named: str) -> None:
    tests = re.findall(r"`([\w/]+\.py)::(\w+)`", named)
    assert tests
    assert len(tests) == named.count("::")
    for file, name in tests:
        tree = ast.parse((TESTS / file).read_text())
        found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert name in found, f"row {number}: {file} has no {name}"


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)))
def test_every_test_that_is_named_is_there(file: str, name: str) -> None:
    tree = ast.parse((TESTS / file).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
