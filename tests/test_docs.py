"""What the README and the docs say: their code runs, their links lead somewhere, the names they mention exist."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path
from typing import get_args
from urllib.parse import unquote

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from PIL import Image

import resmon
from resmon.facts import SensorState
from resmon.options import CELL_OPTIONS, WORDS

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
OF_PYTHON = [page for page in PAGES if page.name != "wire.md"]  # its dotted names are columns of a message
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r'\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"')


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    return [code for word, code in BLOCK.findall(page.read_text("utf-8")) if word == language]


def anchors(page: Path) -> set[str]:
    """The ids that a site gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
def test_the_python_of_a_page_runs_from_top_to_bottom(page: Path, shell: InteractiveShell) -> None:
    try:
        for code in blocks(page, "python"):
            with capture_output() as said:
                result = shell.run_cell(code, store_history=True)
            assert result.success, f"{code}\n{said.stdout}{said.stderr}"
    finally:
        resmon.get_monitor().stop()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for pair in LINK.findall(BLOCK.sub("", page.read_text("utf-8"))):
        target, _, anchor = unquote("".join(pair)).partition("#")
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        place = page if not target else page.parent / target
        if not place.exists() or (anchor and anchor not in anchors(place)):
            broken.append("".join(pair))
    assert broken == []


@pytest.mark.parametrize("page", OF_PYTHON, ids=name)
def test_the_public_names_that_a_page_mentions_exist(page: Path) -> None:
    missing = []
    for dotted in set(re.findall(r"\bresmon((?:\.[a-zA-Z_]\w*)+)", page.read_text("utf-8"))):
        found: object = resmon
        for part in dotted[1:].split("."):
            if part in {"md", "py"}:
                break
            found = getattr(found, part, None) or _submodule(found, part)
            if found is None:
                missing.append(f"resmon{dotted}")
                break
    assert missing == []


def _submodule(of: object, part: str) -> object:
    try:
        return importlib.import_module(f"{getattr(of, '__name__', '')}.{part}")
    except ImportError:
        return None


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_words_of_the_magics_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    assert {word for word in re.findall(r"`%resmon (\w+)", text) if word not in WORDS} == set()
    options = {option for line in re.findall(r"%%resmon[^`\n]*", text) for option in re.findall(r"-[-\w]+", line)}
    assert options <= set(CELL_OPTIONS)


def test_the_readme_names_every_word_of_the_contract() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert [word for word in WORDS if not re.search(rf"`(%resmon )?{word}\b", text)] == []
    assert [option for option in CELL_OPTIONS if option not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_make_targets_that_a_page_names_exist(page: Path) -> None:
    written = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"(?:^|`)make (\w+)", page.read_text("utf-8"), re.MULTILINE):
        assert re.search(rf"^{target}:", written, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_environment_variables_are_ones_that_are_read(page: Path) -> None:
    sources = [p for folder in ("resmon", "scripts", "tests") for p in (ROOT / folder).rglob("*.py")]
    read = "\n".join(p.read_text("utf-8") for p in sources if p != Path(__file__))
    assert [v for v in set(re.findall(r"\bRESMON_[A-Z_]+", page.read_text("utf-8"))) if v not in read] == []


def test_troubleshooting_explains_every_state_of_a_sensor() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    assert [state for state in get_args(SensorState) if f"| {state} |" not in text] == []


def test_pictures_of_the_readme_are_there_in_both_themes() -> None:
    for theme, light in (("light", True), ("dark", False)):
        with Image.open(ROOT / "docs" / "images" / f"panel-{theme}.png") as picture:
            assert picture.width >= 1200
            red, green, blue = picture.convert("RGB").resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
        assert ((red + green + blue) / 3 > 128) is light


def test_extras_that_the_readme_installs_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    named = re.findall(r"\.\[(\w+)\]", (ROOT / "README.md").read_text("utf-8"))
    assert named
    assert set(named) <= set(extras)


def test_the_changelog_has_the_version() -> None:
    assert re.search(rf"\b{re.escape(resmon.__version__)}\b", (ROOT / "CHANGELOG.md").read_text("utf-8"))
