"""Find dead links in a built site: files and places within pages that are not there.

python .ci/links.py FOLDER

Links to other sites are not followed. Every link, picture, script and style that leads to this one
must lead somewhere; so must every ``#place``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LINKS = {"a": "href", "link": "href", "img": "src", "script": "src", "object": "data"}


class Page(HTMLParser):
    """Collects the links of a page and the places that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what the tag links to and is called."""
        given = dict(attrs)
        if (target := given.get(LINKS.get(tag, ""))) is not None:
            self.links.append(target)
        self.places.update(name for name in (given.get("id"), given.get("name")) if name)


def dead_links(site: Path) -> Iterator[str]:
    """Give a line for each link of a site that leads nowhere."""
    site = site.resolve()
    pages = {path: Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            base = site if parts.path.startswith("/") else path.parent
            target = path
            if parts.path:
                target = (base / unquote(parts.path).lstrip("/")).resolve()
            if target.is_dir():
                target /= "index.html"
            where = f"{path.relative_to(site)}: {link}"
            if not target.is_file():
                yield f"{where}: there is no such file"
            elif parts.fragment and target in pages:
                place = unquote(parts.fragment)
                if place not in pages[target].places:
                    yield f"{where}: the page has no such place"


def main() -> None:
    """Print the dead links, and fail if there is one."""
    site = Path(sys.argv[1])
    if not any(site.rglob("*.html")):
        sys.exit(f"{site}: has no pages")
    found = list(dead_links(site))
    print("\n".join(found) or "no dead links")
    if found:
        sys.exit(f"{len(found)} dead links")


if __name__ == "__main__":
    main()
