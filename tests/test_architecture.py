"""What may import what, and how much a reader must read: counted, in the sources and in a bake."""

import ast
import re
import statistics
from pathlib import Path

import pytest

from environments import ROOT, SOURCE

PACKAGE = SOURCE / "{{cookiecutter.project_slug}}"

# All that the engine knows of what lies above it, and the most lines that each has.
CONTRACTS = {
    "data/dataset.py": 140,
    "model/model.py": 110,
    "train/trainer.py": 170,
    "train/hooks/every.py": 110,
}

# The most that a project with the default answers has. Lower them when something becomes simpler.
LIMITS = {
    "files": 186,
    "lines": 16545,
    "lines of the package": 13220,
    "lines above the engine": 1700,
    "lines of the commands": 289,
    "files of data, model and train": 25,
    "files of conf": 17,
    "lines of tests": 466,
    "lines to read": 800,
}


def imports(package: Path) -> dict[str, set[str]]:
    """File -> the files of the package that it imports, wherever in it the import stands."""
    files = {file.relative_to(package).as_posix() for file in package.rglob("*.py")}
    return {
        file: {
            target
            for node in ast.walk(ast.parse((package / file).read_text("utf-8")))
            if isinstance(node, ast.ImportFrom) and node.level
            for target in _targets(file, node, files)
        }
        for file in files
    }


def _targets(file: str, node: ast.ImportFrom, files: set[str]) -> list[str]:
    """What `from ..a.b import c, d` imports: the files of c and d, or else that of a.b."""
    base = file.split("/")[: -node.level] + (node.module or "").split(".") * bool(node.module)
    targets = []
    for name in node.names:
        candidates = [[*base, name.name], base]
        paths = [
            "/".join(path) + ending
            for path in candidates
            for ending in (".py", "/__init__.py")
            if path or ending != ".py"
        ]
        found = [path.lstrip("/") for path in paths if path.lstrip("/") in files]
        targets.append(found[0] if found else f"{file}: {'.'.join([*base, name.name])} is missing")
    return targets


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of files of which each imports, by way of others, each other one."""

    def reached(start: str) -> set[str]:
        seen, waiting = set(), [start]
        while waiting:
            for target in graph.get(waiting.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    waiting.append(target)
        return seen

    reach = {file: reached(file) for file in graph}
    groups = {
        tuple(sorted(other for other in reach[file] if file in reach.get(other, ())))
        for file in graph
    }
    return sorted(map(list, groups - {()}))


def lines(file: Path) -> int:
    return len(file.read_text("utf-8").splitlines())


def reading_path(project: Path) -> list[Path]:
    """The files that docs/your_own.md names under `What to read`."""
    page = (project / "docs/your_own.md").read_text("utf-8")
    listed = re.search(r"## What to read\n.*?:(.*?)\n\n", page, re.S)[1]
    return [project / "my_project" / name for name in re.findall(r"`([\w/]+\.py)`", listed)]


def figures(project: Path) -> dict[str, int]:
    """What LIMITS limits, counted in a default bake."""
    package = project / "my_project"
    above = [file for part in ("data", "model", "train") for file in (package / part).rglob("*.py")]
    counts = {
        "files": [file for file in project.rglob("*") if file.is_file()],
        "lines": [file for file in project.rglob("*") if file.is_file()],
        "lines of the package": list(package.rglob("*.py")),
        "lines above the engine": above,
        "lines of the commands": list(package.glob("*.py")),
        "files of data, model and train": above,
        "files of conf": list((package / "conf").rglob("*.yaml")),
        "lines of tests": list((project / "tests").iterdir()),
        "lines to read": reading_path(project),
    }
    return {
        name: sum(map(lines, files)) if name.startswith("lines") else len(files)
        for name, files in counts.items()
    }


@pytest.fixture(scope="module")
def counted(default_bake):
    return figures(default_bake.path)


def test_no_files_import_each_other_in_a_circle():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c"]]
    graph = imports(PACKAGE)
    assert len(graph["train/trainer.py"]) > 3
    assert circles(graph) == []


def test_the_engine_imports_only_the_contracts_from_above():
    for file, targets in imports(PACKAGE).items():
        above = {target for target in targets if not target.startswith("engine/")}
        if file.startswith("engine/"):
            assert above <= CONTRACTS.keys(), file


def test_nothing_but_its_launcher_knows_of_the_cluster():
    for file, targets in imports(PACKAGE).items():
        if not file.startswith("engine/cluster/") and file != "launch.py":
            assert not [target for target in targets if target.startswith("engine/cluster")], file


@pytest.mark.parametrize("answers", [{}, {"examples": "all", "many_machines": "yes"}])
def test_each_import_finds_its_file_in_a_bake(baked, answers):
    package = baked(**answers).path / "my_project"
    graph = imports(package)
    assert set().union(*graph.values()) <= graph.keys()


def test_packages_that_only_hold_files_are_empty():
    for file in [*PACKAGE.glob("engine/**/__init__.py"), *PACKAGE.glob("train/**/__init__.py")]:
        assert file.read_text("utf-8") == "", file


def test_no_private_part_of_hydra_is_used():
    for file in PACKAGE.rglob("*.py"):
        assert "hydra._internal" not in file.read_text("utf-8"), file


@pytest.mark.parametrize("answer", ["no", "yes"])
def test_the_engine_names_its_rooms(baked, answer):
    engine = baked(many_machines=answer).path / "my_project" / "engine"
    readme = (engine / "README.md").read_text("utf-8")
    rooms = {f"{path.parent.name}/" for path in engine.glob("*/__init__.py")}
    assert set(re.findall(r"^\| `(\w+/)` \| .+ \|$", readme, re.M)) == rooms
    for file in engine.glob("*.py"):
        assert file.name == "__init__.py" or f"`{file.name}`" in readme
    for contract in CONTRACTS:
        assert f"`{contract}`" in readme


@pytest.mark.parametrize("contract", CONTRACTS)
def test_a_contract_is_short(contract):
    assert lines(PACKAGE / contract) <= CONTRACTS[contract]


@pytest.mark.parametrize("name", LIMITS)
def test_a_default_bake_is_small(counted, name):
    assert counted[name] <= LIMITS[name]


def test_each_file_is_short():
    counts = {file: lines(file) for file in PACKAGE.rglob("*.py")}
    assert max(counts.values()) <= 250, max(counts, key=counts.get)
    # Without those that are empty, which would make any file look short.
    assert statistics.median(count for count in counts.values() if count) <= 106


def test_the_reading_path_holds_the_contracts(default_bake):
    files = reading_path(default_bake.path)
    assert len(files) >= 6
    assert {"dataset.py", "model.py", "trainer.py"} < {file.name for file in files}


# Page -> what it says, with the numbers in the order of the names.
CLAIMS = {
    SOURCE / "docs/your_own.md": {r"Less than (\d+) lines, in this order": ["lines to read"]},
    ROOT / "CONTRIBUTING.md": {
        r"stay under ([\d,]+) lines in (\d+) files": [
            "lines above the engine",
            "files of data, model and train",
        ],
    },
    ROOT / "docs/design_decisions.md": {r"44 files are (\d+)": ["files of conf"]},
}


@pytest.mark.parametrize("page", CLAIMS, ids=lambda page: page.name)
def test_what_a_page_says_about_sizes_is_true(counted, page):
    text = page.read_text("utf-8")
    for claim, names in CLAIMS[page].items():
        found = re.search(claim, text)
        assert found, claim
        for number, name in zip(found.groups(), names, strict=True):
            assert counted[name] <= int(number.replace(",", "")), name


def private_interfaces() -> set[str]:
    """What the package uses of TensorFlow that has no public name."""
    trees = [ast.parse(file.read_text("utf-8")) for file in PACKAGE.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    own |= {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "cls")
    }
    public = {"_exit", "_replace"}  # of os, of named tuples
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    used |= {node.id for node in nodes if isinstance(node, ast.Name)}
    overridden = {name for name in own - used if re.fullmatch("_[a-z].*[^_]", name)}
    return overridden | {
        *(
            node.attr
            for node in nodes
            if isinstance(node, ast.Attribute) and re.fullmatch("_[a-z].*[^_]", node.attr)
        ),
        *(
            node.module
            for node in nodes
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("tensorflow.python")
        ),
    } - {*own, *public}


def test_the_private_interfaces_of_tensorflow_are_those_that_are_listed():
    page = (ROOT / "docs/design_decisions.md").read_text("utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \|.*\| `(engine_tests/\w+\.py)` \|$", page, re.M)
    assert {name.rpartition(".")[2] for name, _ in rows} == private_interfaces()
    for name, test in rows:
        assert (ROOT / test).is_file(), name
