"""What goes with a release says the same everywhere, and is whole."""

import importlib.util
import json
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import paper_unet

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_stands_in_one_place() -> None:
    assert "version" in PROJECT["dynamic"] and "version" not in PROJECT
    for name in ("pyproject.toml", "CITATION.cff", ".zenodo.json", "docs/conf.py"):
        assert paper_unet.__version__ not in text(name), name


def test_citation_and_archive_agree_with_the_package() -> None:
    citation, archive = text("CITATION.cff"), json.loads(text(".zenodo.json"))
    listed = re.search(r"^keywords:\n((?:  - .*\n)+)", citation, re.MULTILINE)
    assert listed is not None
    assert re.findall("- (.*)", listed[1]) == archive["keywords"] == PROJECT["keywords"]
    assert f"license: {PROJECT['license']}" in citation
    assert archive["license"] == PROJECT["license"]
    for doi in ("10.1007/978-3-319-24574-4_28", "arXiv:1505.04597"):
        assert doi in citation
        assert doi in [one["identifier"] for one in archive["related_identifiers"]]
    assert PROJECT["authors"][0]["name"] in citation
    assert archive["creators"] == PROJECT["authors"]


def test_every_dependency_has_its_licence() -> None:
    found = importlib.util.spec_from_file_location("licences", ROOT / ".ci" / "licences.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    rows = re.findall(r"^\| ([\w.-]+) \| (.*?) \| (.*) \|$", text("docs/licences.md"), re.MULTILINE)
    listed = {name: use for name, use, _ in rows if name != "package"}
    assert listed == module.needed()
    assert {"torch", "shtab"} <= listed.keys()
    assert not [name for name, _, said in rows if said.startswith("not ")]


def test_the_changelog_has_the_common_form() -> None:
    heads = re.findall(r"^## (.*)$", text("CHANGELOG.md"), re.MULTILINE)
    assert heads[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", head) for head in heads[1:])
    common = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    every = set()
    for version in re.split(r"^## ", text("CHANGELOG.md"), flags=re.MULTILINE)[1:]:
        kinds = re.findall(r"^### (.*)\n\n- ", version, re.MULTILINE)
        assert kinds == [kind for kind in common if kind in kinds], "in order, none twice"
        assert version.count("\n### ") == len(kinds), "none empty"
        every |= {*kinds}
    assert {"Added", "Changed", "Fixed"} <= every


def test_headings_of_markdown_have_room() -> None:
    """A heading right behind a table is a row of it to some readers."""
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        code, before = False, ""
        for line in path.read_text(encoding="utf-8").splitlines():
            code ^= line.lstrip().startswith("```")
            assert code or before == "" or not re.match(r"#{1,6} ", line), (path.name, line)
            before = line


def test_ci_runs_what_the_package_says_it_runs_on() -> None:
    workflow = text(".github/workflows/ci.yml")
    versions = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if ":: 3." in line]
    assert f"python: {json.dumps(versions)}" in workflow
    assert "bash .ci/run" in workflow
    assert (ROOT / ".ci" / "run").is_file()


def test_the_oldest_versions_that_are_tried_are_those_that_are_asked_for() -> None:
    pins = re.findall(r"^([\w.-]+)==(\S+)$", text(".ci/oldest.txt"), re.MULTILINE)
    oldest = {canonicalize_name(name): Version(version) for name, version in pins}
    extras = PROJECT["optional-dependencies"]
    whole = Requirement(extras["test"][0])
    asked = [*PROJECT["dependencies"], *extras["test"][1:]]
    asked += [line for extra in whole.extras for line in extras[extra]]
    lowest = {
        canonicalize_name(one.name): Version(part.version)
        for one in map(Requirement, asked)
        for part in one.specifier
        if part.operator == ">="
    }
    assert len(lowest) == len(asked) > 30
    assert lowest.pop("torch") > Version("2")  # in .ci/constraints.txt
    assert {name: oldest.get(name) for name in lowest} == lowest
    assert "torch" not in oldest


def test_reports_of_faults_ask_for_the_version() -> None:
    assert "`paper-unet --version`" in text(".github/ISSUE_TEMPLATE/fault.yml")


def test_what_is_tried_with_the_oldest_is_there() -> None:
    files = re.findall(r"tests/[\w/]+\.py", text(".ci/oldest"))
    assert len(files) > 12
    assert not [name for name in files if not (ROOT / name).is_file()]
