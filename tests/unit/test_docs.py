"""What the documents name exists: files, headings, make targets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = {
    *(".venv", ".git", "dist", "build", "__pycache__", ".hypothesis"),
    *(".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache"),
}
LINK = re.compile(r"(?:\]\(|\bsrc=\")([^)\s\"]+)[)\"]")
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
TARGET = re.compile(r"(?:^|`)make ([a-z][a-z-]*)", re.MULTILINE)

# Written so that this file does not match itself.
PLACES_OF_ONE_MACHINE = re.compile(r"/wor[k]/\w|\.\./share[d]|\.librar[y]\b")
REGISTRY_HOSTS = re.compile(r"pypi\.or[g]|pythonhoste[d]|npmj[s]|deb\.debia[n]|crates\.i[o]", re.IGNORECASE)


def files(suffix: str) -> list[Path]:
    """Every file of ours, without walking into the environment."""
    found: list[Path] = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in NOT_OURS]
        found += [Path(folder, name) for name in names if name.endswith(suffix) and name not in NOT_OURS]
    return sorted(found)


def ours(path: Path) -> str:
    return str(path.relative_to(ROOT))


DOCUMENTS = [ours(path) for path in files(".md")]


def anchors(document: Path) -> set[str]:
    headings = HEADING.findall(FENCED.sub("", document.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_somewhere(here: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (here.parent / path).resolve() if path else here
    if not target.is_relative_to(ROOT) or not target.exists():
        return False
    return not anchor or target.suffix != ".md" or anchor in anchors(target)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_leads_somewhere(document: str) -> None:
    here = ROOT / document
    links = LINK.findall(FENCED.sub("", here.read_text()))
    broken = [link for link in links if not re.match(r"[a-z]+:", link) and not leads_somewhere(here, link)]
    assert not broken


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_that_is_named_exists(document: str) -> None:
    listed = subprocess.run(["make", "-C", ROOT, "help"], capture_output=True, text=True, check=True).stdout
    targets = {line.split()[0] for line in listed.splitlines() if line.strip()}
    assert set(TARGET.findall((ROOT / document).read_text())) <= targets


def test_no_file_names_a_place_outside_the_clone_or_a_registry() -> None:
    found = []
    for path in files(""):
        content = path.read_bytes()
        if b"\0" in content[:4096]:
            continue
        text = content.decode(errors="replace")
        if PLACES_OF_ONE_MACHINE.search(text) or REGISTRY_HOSTS.search(text):
            found.append(ours(path))
    assert not found


def test_the_documents_that_a_project_needs_are_there() -> None:
    needed = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/architecture.md"}
    assert needed <= set(DOCUMENTS)
    assert all((ROOT / document).stat().st_size > 200 for document in DOCUMENTS)


def test_the_system_calls_that_the_document_lists_are_those_that_are_answered() -> None:
    from backends.emulated.linux.calls import TABLE
    from backends.emulated.linux.numbers import NAMES

    section = (ROOT / "docs/emulator.md").read_text().partition("System calls that are answered")[2]
    listed = section.split("```")[1].split()
    assert listed == sorted(NAMES[number] for number in TABLE)


def shown_sessions(document: str) -> list[tuple[str, str]]:
    """(command, output) of the document's examples: fenced blocks that begin with a prompt."""
    blocks = re.findall(r"^```\n\$ (.+)\n((?:.*\n)*?)```$", (ROOT / document).read_text(), re.MULTILINE)
    return [(command, output) for command, output in blocks if "hwbp-tui" in command]


@pytest.mark.slow
@pytest.mark.parametrize(("command", "output"), shown_sessions("README.md"))
def test_the_readmes_examples_print_what_is_shown(command: str, output: str) -> None:
    command = command.replace(".venv/bin/hwbp-tui", f"{sys.executable} -m tui.cli")
    done = subprocess.run(
        ["sh", "-c", f"{command} 2>&1"], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )

    def without_summary(text: str) -> list[str]:
        """The summary's seconds differ from run to run, and so does how far the machine ran past a limit."""
        return [line.rstrip() for line in text.splitlines() if not re.match(r"\d+ hits, \d+ lost, ", line)]

    assert without_summary(done.stdout) == without_summary(output)


def test_every_word_of_the_owners_is_in_their_document_with_its_example() -> None:
    from tui.session.commands.kernel import COMMANDS

    text = (ROOT / "docs/owners.md").read_text().replace("\\|", "|")
    for command in COMMANDS:
        assert f"`{command.grammar}`" in text
        example = " ".join(command.help.split()).partition("Example: ")[2]
        assert example
        assert f"`{example}`" in text


def test_every_row_of_the_suites_names_tests_that_exist() -> None:
    text = (ROOT / "docs/suites.md").read_text()
    named = set(re.findall(r"`((?:unit|machine|live)/\w+\.py)::(\w+)`", text))
    assert len(named) > 60
    for path, name in named:
        assert re.search(rf"def {name}\(", (ROOT / "tests" / path).read_text()), f"{path}::{name}"
    programs = set(re.findall(r"\(([A-Z_]+)\)", text))
    from tests.machine import perf_programs

    assert programs <= set(perf_programs.__all__)


def test_every_scene_is_in_the_document() -> None:
    from tui.session.demos import DEMOS

    text = (ROOT / "docs/owners.md").read_text()
    assert all(f"| `{demo.name}` | {demo.title} |" in text for demo in DEMOS)
