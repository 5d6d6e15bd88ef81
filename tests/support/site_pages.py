"""What a browser sees of the site's pages, without one."""

from html.parser import HTMLParser

RESOURCES = {"script": "src", "link": "href", "img": "src"}


class Page(HTMLParser):
    """What a browser sees of a page: its text, its elements, where its links lead."""

    def __init__(self, path):
        super().__init__()
        self.path, self.elements, self.texts, self.inside = path, [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.inside.append(tag)

    def handle_endtag(self, tag):
        if tag in self.inside:
            del self.inside[len(self.inside) - 1 - self.inside[::-1].index(tag) :]

    def handle_data(self, data):
        if "script" not in self.inside:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join("".join(self.texts).split())

    def all(self, tag, name):
        return [attributes[name] for found, attributes in self.elements if found == tag and name in attributes]

    @property
    def ids(self):
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]


def pages(folder):
    return {path.relative_to(folder).as_posix(): Page(path) for path in sorted(folder.rglob("*.html"))}


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
