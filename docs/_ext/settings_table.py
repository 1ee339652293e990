"""The fields of a configuration as a list, from what stands beside them in the source.

``{settings} paper_unet.training.config:TrainConfig`` is the directive.
"""

from __future__ import annotations

from dataclasses import MISSING
from pkgutil import resolve_name

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from paper_unet.settings import Option, options


class Settings(SphinxDirective):
    """One entry for each field: name, default, help."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the list."""
        found = options(resolve_name(self.arguments[0]))
        entries = [_entry(option) for option in found]
        return [nodes.definition_list("", *entries, classes=["settings"])]


def _entry(option: Option) -> nodes.definition_list_item:
    term = nodes.term("", "", nodes.literal("", option.name))
    if option.default is not MISSING:
        term += [nodes.Text(" = "), nodes.literal("", repr(option.default))]
    text = (option.help or "").replace("`", "")
    if option.choices is not None:
        text += f" ({', '.join(str(choice) for choice in option.choices.table())})"
    return nodes.definition_list_item("", term, nodes.definition("", nodes.paragraph("", text)))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("settings", Settings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
