"""How the output of ranks is shown: each line with its rank, bars as bars, no more than one can read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from resmon.distributed.output import LINE_CHARACTERS, SHOWN_CHARACTERS, Output, harmless, last_lines


class Shown:
    """An output of two ranks, and what a terminal would show of it."""

    def __init__(self, folder: Path) -> None:
        self.text = ""
        self.paths = {rank: folder / f"rank-{rank}.log" for rank in (0, 1)}
        self.output = Output(self.paths, self.write)

    def write(self, text: str) -> None:
        self.text += text

    def says(self, text: str, rank: int = 0) -> None:
        with self.paths[rank].open("ab") as file:
            file.write(text.encode())

    @property
    def lines(self) -> list[str]:
        """Lines as a terminal leaves them: what follows a carriage return writes over what stood there."""
        lines = []
        for line in self.text.split("\n"):
            screen = ""
            for part in line.split("\r"):
                screen = part + screen[len(part) :]
            lines.append(screen.rstrip())
        return lines


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    made = Shown(tmp_path)
    yield made
    made.output.close()


def test_lines_have_their_rank_and_their_indentation(shown: Shown) -> None:
    shown.output.poll()
    shown.says("one\n  two\n\tthree\n")
    shown.says("other\n", rank=1)
    shown.output.poll()
    assert shown.lines == ["[rank 0] one", "[rank 0]   two", "[rank 0]     three", "[rank 1] other", ""]


def test_a_progress_bar_is_one_line(shown: Shown) -> None:
    for percent in range(0, 101, 10):
        shown.says(f"\r{percent} % {'#' * (percent // 10)}")
        shown.output.poll()
    shown.says("\rdone\n")
    shown.output.poll(final=True)
    assert shown.lines == ["[rank 0] done", ""]


def test_a_line_of_another_rank_goes_above_a_progress_bar(shown: Shown) -> None:
    shown.says("\r50 % of a long bar")
    shown.output.poll()
    shown.says("short\n", rank=1)
    shown.output.poll()
    assert shown.lines[:2] == ["[rank 1] short", "[rank 0] 50 % of a long bar"]


def test_a_line_without_an_end_is_shown_once_it_rests_and_at_the_end(shown: Shown) -> None:
    shown.says("waiting…")
    shown.output.poll()
    assert shown.text == ""
    shown.output.poll()
    assert shown.lines == ["[rank 0] waiting…"]
    shown.output.poll(final=True)
    assert shown.lines == ["[rank 0] waiting…", ""]


def test_no_terminal_obeys_what_a_rank_prints(shown: Shown) -> None:
    shown.says("\x1b[2Ja\x1b]52;c;aGk=\x07b\x9b31mc\u202ed\x00\x08e\n")
    with shown.paths[0].open("ab") as file:
        file.write(b"\xff\xfe bytes\n")
    shown.output.poll(final=True)
    assert shown.lines[0] == "[rank 0] abcde"
    assert "\x1b" not in shown.text
    assert "bytes" in shown.lines[1]


def test_a_flood_is_bounded_and_its_end_is_shown(shown: Shown) -> None:
    for i in range(200):
        shown.says("".join(f"{i}-{j} {'x' * 60}\n" for j in range(150)))
        shown.output.poll()
    shown.says("the last\n")
    shown.output.poll(final=True)
    assert len(shown.text) < SHOWN_CHARACTERS + 10_000
    assert any("so much was printed that the rest goes to the files" in line for line in shown.lines)
    assert shown.lines[-2] == "[rank 0] the last"


def test_one_long_line_is_cut(shown: Shown) -> None:
    shown.says("y" * 10_000 + "\n")
    shown.output.poll()
    assert len(shown.lines[0]) < LINE_CHARACTERS + 60
    assert shown.lines[0].endswith("… (+9,000 characters)")


def test_what_is_quoted_of_a_rank_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("\x1b[1mx\n" * 100_000)
    assert last_lines(path, 3) == "x\nx\nx"
    assert last_lines(tmp_path / "none") == ""
    assert len(harmless("z\n" * 10**6)) < 40_000
