"""Write docs/licences.md: the licences of what pyproject.toml asks for, as their metadata say them.

``python .ci/licences.py`` in an environment with ``pip install ".[dev,interop,benchmark]"``.
"""

import re
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAD = """\
# Licences of the dependencies

Made by `python .ci/licences.py` from the metadata of the packages. None is part of this one.

| package | needed for | licence |
|---|---|---|
"""


def needed() -> dict[str, str]:
    """Return what each package that is asked for is needed for: always, or an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"always": project["dependencies"], **project["optional-dependencies"]}
    found: dict[str, list[str]] = {}
    for group, requirements in groups.items():
        for requirement in requirements:
            match = re.match(r"[\w.-]+", requirement)
            if match and match[0] != project["name"]:
                found.setdefault(match[0], []).append(group)
    return {name: ", ".join(found[name]) for name in sorted(found, key=str.lower)}


def licence(package: Distribution) -> str:
    """Return what the metadata say: the expression, the classifiers, the text, or its file."""
    data = package.metadata
    if data.get("License-Expression"):
        return str(data["License-Expression"])
    kinds = [line for line in data.get_all("Classifier") or [] if line.startswith("License ::")]
    if kinds:
        return ", ".join(line.rpartition(" :: ")[2] for line in kinds)
    text = str(data.get("License") or "").strip()
    for name in data.get_all("License-File") or []:
        text = text or (package.read_text(f"licenses/{name}") or "").strip()
    return text.splitlines()[0][:80] if text else "not said"


def row(name: str, use: str, earlier: dict[str, str]) -> str:
    """Return a line of the table; of a package that is not installed, the one there was."""
    try:
        said = licence(distribution(name))
    except PackageNotFoundError:
        said = earlier.get(name, "not installed when this was made")
    return f"| {name} | {use} | {said} |"


def main() -> None:
    """Write the file."""
    path = ROOT / "docs/licences.md"
    text = path.read_text() if path.exists() else ""
    earlier = {row[0]: row[1] for row in re.findall(r"^\| ([\w.-]+) \| .* \| (.*) \|$", text, re.M)}
    lines = [row(name, use, earlier) for name, use in needed().items()]
    path.write_text(HEAD + "\n".join(lines) + "\n")
    print(f"wrote {path.name}: {len(lines)} packages")


if __name__ == "__main__":
    main()
