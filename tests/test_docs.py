"""The front page in two languages, its pictures, and the documentation that `make docs` builds."""

import html
import json
import os
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from environments import ROOT

ENGLISH, JAPANESE = (ROOT / name for name in ("README.md", "README.ja.md"))


def code_blocks(page: Path) -> list[str]:
    """The text of all code blocks, fences and languages included."""
    return re.findall(r"^```.*?^```$", page.read_text("utf-8"), re.M | re.S)


def prose(page: Path) -> str:
    """The text without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)


def test_both_languages_have_the_same_headings_code_and_links():
    english, japanese = prose(ENGLISH), prose(JAPANESE)
    for what in (r"^#+ ", r"^\|", r"^!\["):  # headings with their levels, rows of tables, pictures
        assert re.findall(what, english, re.M) == re.findall(what, japanese, re.M), what
    assert code_blocks(ENGLISH) == code_blocks(JAPANESE)
    assert len(code_blocks(ENGLISH)) >= 4
    for what in (r"(?<!`)`[^`\n]+`(?!`)", r"\]\(([^)]+)\)", r"\d[\d,.]*\d|\d"):
        found = [sorted(re.findall(what, text)) for text in (english, japanese)]
        other = {"README.ja.md", "README.md"}  # each leads to the other
        first, second = ([one for one in words if one not in other] for words in found)
        assert first == second, what


def test_the_front_page_is_short():
    assert len(ENGLISH.read_text("utf-8").splitlines()) <= 135


@pytest.mark.parametrize("page", [ENGLISH, JAPANESE], ids=lambda page: page.name)
def test_links_of_the_front_page_lead_to_files(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")):
        if not link.startswith("https://"):
            assert (ROOT / link).is_file(), link


def test_the_figures_on_the_front_page_are_those_of_the_benchmarks():
    section = prose(ENGLISH).split("\n## Three figures\n")[1].split("\n## ")[0]
    measured = (ROOT / "docs" / "benchmark.md").read_text("utf-8")
    numbers = re.findall(r"\d[\d,.]*\d", section)
    assert len(numbers) >= 7
    assert [number for number in numbers if number not in measured] == []


def test_the_front_page_does_not_make_the_project_smaller_than_it_is(default_bake):
    told = re.search(r"\| some ([\d,]+), ([\d,]+) of them above the engine \|", prose(ENGLISH))
    files = [default_bake.path / name for name in default_bake.files()]
    above = [
        file
        for room in ("data", "model", "train")
        for file in (default_bake.path / "my_project" / room).rglob("*.py")
    ]
    for number, counted in zip(told.groups(), (files, above), strict=True):
        lines = sum(len(file.read_text("utf-8").splitlines()) for file in counted)
        assert int(number.replace(",", "")) == pytest.approx(lines, rel=0.05)


def test_the_tree_on_the_front_page_is_a_default_bake(default_bake):
    (tree,) = (block for block in code_blocks(ENGLISH) if "my_project/" in block and "├" in block)
    rows = [re.match(r"([│├└─ ]*)([\w./, ]+?)(?:  .*)?$", line) for line in tree.splitlines()[2:-1]]
    parents, shown = ["my_project"], {}
    for row in rows:
        depth = len(row[1]) // 4
        parents[depth:] = [row[2].rstrip("/")]
        folder = "/".join(parents[:depth][1:])
        names = [name.rstrip("/") for name in row[2].split(", ")]
        shown.setdefault(folder, set()).update(names)
    assert {"", "my_project"} <= set(shown)
    for folder, names in shown.items():
        there = {path.name for path in (default_bake.path / folder).iterdir()}
        hidden = {name for name in there if name.startswith((".", "__"))}
        assert names == there - hidden, folder


def picture_text(file: Path = ROOT / "docs" / "demo.svg") -> list[str]:
    """The lines that a picture of a terminal shows."""
    texts = re.findall(r"<text ([^>]*)>([^<]*)", file.read_text("utf-8"))
    lines: dict[str, str] = {}
    for attributes, text in texts:
        if row := re.search(r"#terminal-(line-\d+)\)", attributes):
            lines[row[1]] = lines.get(row[1], "") + html.unescape(text).replace("\xa0", " ")
    return [line.strip() for line in lines.values()]


def test_the_output_on_the_front_page_is_that_of_the_picture():
    (output,) = (
        block for block in code_blocks(ENGLISH) if block.startswith("```text\n$ make demo")
    )
    lines = [line.strip() for line in output.splitlines()[1:-1]]
    shown = picture_text()
    assert len(lines) >= 10
    assert [line for line in lines if line not in ["…", *shown]] == []


@pytest.fixture
def record():
    """scripts/record.py."""
    if os.name == "nt":
        pytest.skip("Windows has no such terminals")
    import record

    return record


def test_a_recording_keeps_the_last_drawing_of_a_line_and_its_colors(record, tmp_path):
    script, file = tmp_path / "draw.sh", tmp_path / "picture.svg"
    draw = r"printf ' 10%%\r 90%%\r100%%\n\033[32mgreen\033[0m < %s\n'"
    script.write_text(f"test -t 0 && test -t 1 || exit 1\n{draw} {ROOT}/demo\n")
    assert record.main([str(file), "sh", str(script)]) == 0
    assert picture_text(file) == [f"$ sh {script}", "100%", "green < ~/tf-train-template/demo"]
    assert re.search(r"<text[^>]*>green</text>", file.read_text("utf-8"))  # apart: in its color
    assert str(ROOT) not in file.read_text("utf-8")


def test_a_recording_leaves_out_the_middle_of_much(record, tmp_path):
    file = tmp_path / "picture.svg"
    assert record.main([str(file), "seq", "100"]) == 0
    shown = picture_text(file)
    assert len(shown) == 1 + record.LINES
    assert shown[18:21] == ["18", "… 65 lines …", "84"]
    assert shown[-1] == "100"


def test_a_recording_of_what_fails_leaves_the_old_one(record, tmp_path, capfd):
    file = tmp_path / "picture.svg"
    file.write_text("old")
    assert record.main([str(file), "sh", "-c", "exit 3"]) == 3
    assert file.read_text() == "old"
    assert "exited with 3" in capfd.readouterr().out


def test_the_picture_fetches_nothing():
    svg = (ROOT / "docs" / "demo.svg").read_text("utf-8")
    assert not re.search(r"url\([\"']?http|href=|@import|@font-face|<script", svg)


class Page(HTMLParser):
    """The addresses and the anchors of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = set()
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.anchors |= {attributes[key] for key in ("id", "name") if attributes.get(key)}
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        elif tag != "a":
            self.fetched += [attributes[key] for key in ("src", "href") if attributes.get(key)]


@pytest.fixture(scope="module")
def site() -> dict[str, Page]:
    """The documentation, built from nothing: page -> what is in it."""
    done = subprocess.run(["make", "docs"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    folder = ROOT / "site"
    return {file.relative_to(folder).as_posix(): Page(file) for file in folder.rglob("*.html")}


@pytest.mark.network
@pytest.mark.xdist_group("docs")  # built once, by one worker
class TestSite:
    def test_every_link_leads_to_a_page_and_to_an_anchor_in_it(self, site):
        folder = (ROOT / "site").resolve()
        for name, page in site.items():
            if name == "404.html":  # its links are those of a server's root
                continue
            for link in page.links:
                address = urlsplit(link)
                if address.scheme:
                    assert address.scheme in ("https", "mailto"), (name, link)
                    continue
                path = unquote(address.path)
                file = (folder / name).parent.joinpath(path).resolve() if path else folder / name
                if file.is_dir():
                    file /= "index.html"
                assert file.is_file(), (name, link)
                if address.fragment and file.suffix == ".html":
                    target = site[file.relative_to(folder).as_posix()]
                    assert unquote(address.fragment) in target.anchors, (name, link)

    def test_nothing_is_fetched_from_anybody(self, site):
        for name, page in site.items():
            foreign = [one for one in page.fetched if re.match(r"(https?:)?//", one)]
            assert foreign == [], name

    def test_the_manual_the_api_and_both_languages_can_be_searched(self, site):
        index = json.loads((ROOT / "site" / "search" / "search_index.json").read_text("utf-8"))
        found = {entry["location"]: entry["text"] for entry in index["docs"]}
        for page in ("index.html", "README.ja.html", "docs/runtimes.html", "manual/data.html"):
            assert page in found
        assert "records" in found["api/data.html#my_project.data.dataset.Dataset"]
        assert "api/train.html#my_project.train.trainer.SessionTrainer" in found

    def test_each_module_that_says_what_it_is_has_an_entry(self, site, baked):
        package = baked(examples="all", many_machines="yes").path / "my_project"
        anchors = set().union(*(page.anchors for page in site.values()))
        modules = [
            file.relative_to(package.parent).with_suffix("").as_posix().replace("/", ".")
            for file in package.rglob("*.py")
            if file.stem != "__init__" and file.read_text("utf-8").startswith('"""')
        ]
        assert len(modules) > 80
        assert set(modules) <= anchors
