"""Sphinx configuration; what is made while the site is built is in `_ext`."""

import sys
from pathlib import Path

from paper_unet import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "paper_unet"
author = copyright = "The paper_unet developers"
release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinxarg.ext",
    "mathml",  # _ext, like those below
    "result_pages",
    "house_picture",
    "settings_table",
    "source_anchors",
]
exclude_patterns = ["_build", "_ext", "tutorials/README.txt"]

html_theme = "furo"
html_title = "paper_unet"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["tables.js"]
html_math_renderer = "mathml"

myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say more: shapes, ranges, units
napoleon_google_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 80

sphinx_gallery_conf = {
    "examples_dirs": ["tutorials"],  # the scripts
    "gallery_dirs": ["learn"],  # the pages made of them
    "filename_pattern": r"/\d_",  # all are run
    "ignore_pattern": r"__init__\.py",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 3600,  # that of a machine that does other work, too, says little
    "capture_repr": (),  # what is printed, and not what a line returns
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "reset_modules": (),
}
