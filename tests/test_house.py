"""What holds for the project as a whole: direction of imports, what serving loads, the server's settings."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
FLOORS = ("model", "utils", "pages", "app")  # from the lowest up
SERVING = ("films", "quality", "samples", "evaluation", "calibration", "registry", "inference")
HEAVY = {"tensorflow", "keras", "openvino"}


def source_files() -> list[Path]:
    folders = (PROJECT / floor for floor in FLOORS if floor != "app")
    return [path for folder in folders for path in sorted(folder.rglob("*.py"))] + [PROJECT / "app.py"]


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            yield node.module


def when_loaded(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that run when the module is loaded: none in functions, none for type checkers."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(PROJECT)))
def test_imports_run_down_the_floors(path: Path) -> None:
    own = path.relative_to(PROJECT).parts[0].removesuffix(".py")
    higher = set(FLOORS[FLOORS.index(own) + 1 :])
    names = set(imported(ast.parse(path.read_text(encoding="utf-8"))))
    if path == PROJECT / "model" / "__main__.py":
        names.discard("utils.settings")  # the command line's one door upwards
    upwards = {name for name in names if name.split(".")[0] in higher | {"tests"}}
    assert not upwards, f"{path.name} imports from a higher floor: {sorted(upwards)}"
    if own == "model":
        assert not [name for name in names if name.split(".")[0] == "streamlit"]


@pytest.mark.parametrize("name", SERVING)
def test_serving_loads_no_framework(name: str) -> None:
    tree = ast.parse((PROJECT / "model" / f"{name}.py").read_text(encoding="utf-8"))
    loaded = {module.split(".")[0] for statement in when_loaded(tree) for module in imported(statement)}
    assert not loaded & HEAVY, "import it inside the function that needs it"


def test_the_server_is_private_by_default() -> None:
    config = tomllib.loads((PROJECT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    assert config["server"]["address"] == "127.0.0.1"
    assert config["server"]["enableXsrfProtection"] is True
    assert config["server"]["enableCORS"] is True
    assert config["server"]["enableStaticServing"] is False
    assert config["browser"]["gatherUsageStats"] is False
    assert config["client"]["showErrorDetails"] == "none"
    assert config["client"]["toolbarMode"] == "minimal"


def test_streamlit_knows_every_option() -> None:
    from streamlit import config as streamlit_config

    known = set(streamlit_config.get_config_options())
    config = tomllib.loads((PROJECT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))

    def options(table: dict[str, object], prefix: str) -> Iterator[str]:
        for name, value in table.items():
            if isinstance(value, dict):
                yield from options(value, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}"

    assert not set(options(config, "")) - known


def test_the_image_takes_all_that_the_app_is_made_of() -> None:
    copied = {
        part
        for line in (PROJECT / "Dockerfile").read_text(encoding="utf-8").splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for part in line.split()[1:-1]
    }
    assert {"app.py", "pages", "utils", "model", ".streamlit", "requirements.txt"} <= copied
    let_in = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{part}" for part in copied} <= set(let_in)


def test_every_browser_test_is_marked() -> None:
    files = sorted((PROJECT / "tests" / "browser").glob("test_*.py"))
    unmarked = [
        path.name
        for path in files
        if "pytestmark = pytest.mark.browser" not in path.read_text(encoding="utf-8")
    ]
    assert files and not unmarked
