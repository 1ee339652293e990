"""Give what is documented under a short name the place of its full name, too, and the other way.

Pages of source link back to the documentation by one name for each module; what is documented as
``paper_unet.UNet`` must be found as ``paper_unet.model.UNet``.
"""

from __future__ import annotations

from pkgutil import resolve_name

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx


def add_places(app: Sphinx, document: nodes.document) -> None:
    """Add the places of one page."""
    taken = {name for node in document.findall(nodes.Element) for name in node.get("ids", ())}
    for signature in document.findall(addnodes.desc_signature):
        module, name = signature.get("module"), signature.get("fullname")
        if not module or not name:
            continue
        home = _home(module, name)
        for place in (f"{home}.{name}", f"{app.config.project}.{name}"):
            if place not in taken:
                signature["ids"].append(place)
                taken.add(place)


def _home(module: str, name: str) -> str:
    """Return the module in which something is defined."""
    try:
        return str(getattr(resolve_name(f"{module}:{name}"), "__module__", module))
    except AttributeError:  # declared with a type, and given a value by those that inherit it
        return module


def setup(app: Sphinx) -> dict[str, bool]:
    """Register it."""
    app.connect("doctree-read", add_places)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
