"""The configuration of the documentation: sphinx-build -W --keep-going -b html docs OUT."""

from __future__ import annotations

import sys
from pathlib import Path

from pygments.lexers.configs import ApacheConfLexer
from pygments.token import Comment
from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

from zeotwisted import __version__  # noqa: E402

project = "zeotwisted"
author = "The zeotwisted developers"
release = version = __version__
copyright = author

extensions = ["sphinx.ext.autodoc", "commands", "settings"]
exclude_patterns = ["_ext"]
default_role = "code"
nitpicky = False
smartquotes = False

html_theme = "furo"
html_title = f"zeotwisted {release}"
html_copy_source = False

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
# A docstring's names are those of its module, which other pages do not know.
add_module_names = False


class ConfigurationLexer(ApacheConfLexer):
    """Highlights ZConfig's files, which have directives with a % besides."""

    tokens = {
        **ApacheConfLexer.tokens,
        "root": [(r"%\w+.*$", Comment.Preproc), *ApacheConfLexer.tokens["root"]],
    }


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_lexer("apacheconf", ConfigurationLexer)
