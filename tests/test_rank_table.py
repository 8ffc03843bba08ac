"""The table of ranks in text and in HTML: every number, the three that stand out of many, nothing from outside."""

from __future__ import annotations

import re

from resmon.ranks import RankUse
from resmon.results import Measurement
from resmon.units import GIB
from resmon.views import rank_table, summary, text
from tests.measurements import HOSTILE, measurement
from tests.played_ranks import use, uses
from tests.test_summary import page


def words(text_: str) -> str:
    return re.sub(r"\s+", " ", text_)


def test_a_rank_has_a_row_with_the_share_of_a_step_as_three_numbers() -> None:
    said = words(text.measurement_text(measurement(ranks=uses(2))))
    assert "2 ranks, all done" in said
    assert "Rank Node · GPU Steps step/s items/s Mean util Peak memory Mean W Compute Comm Wait" in said
    assert "1 node-a · 1 1 200 2.41 617 99 % 68.1 GiB 468 58 % 9 % 33 %" in said
    html = summary.mimebundle(measurement(ranks=uses(2)))["text/html"]
    assert html.count('aria-label="Ranks"') == 1
    assert html.count('<th scope="row"') == 1 + 2, "the host and two ranks"
    assert html.index("Energy and use by device") < html.index("Ranks") < html.index("data:image/png")


def test_who_held_the_others_up_is_said_and_marked() -> None:
    ranks = uses(8, slow=5)
    sentence = rank_table.sentence(ranks)
    assert sentence == (
        "8 ranks on 2 nodes, all done. ⚠ Rank 5 computed 1.53 times as much of a step as the median; "
        "the others waited 33\u202f% of it"
    )
    assert "; the other waited 33" in rank_table.sentence(uses(2, slow=1))
    marked = [str(row[0]) for row in rank_table.rank_table(ranks)[1]]
    assert marked == ["0", "1", "2", "3", "4", "5 ⚠", "6", "7"]
    assert "⚠" not in rank_table.sentence(uses(8)), "ranks that are alike have no straggler"
    few_steps = tuple(use(i, steps=3, compute_fraction=0.4 + i / 4) for i in range(2))
    assert "⚠" not in rank_table.sentence(few_steps), "three steps are too few to say so"


def test_how_ranks_ended_is_told() -> None:
    ranks = (use(0), use(1, outcome="failed: ValueError: loss is nan"), use(2, outcome="killed by SIGKILL"), use(3))
    sentence = rank_table.sentence(ranks)
    assert sentence.startswith("4 ranks, 2 done, rank 1 failed: ValueError: loss is nan, rank 2 killed by SIGKILL")
    assert "killed by SIGKILL" in str(rank_table.ranks_report(ranks))
    all_failed = tuple(use(i, outcome="failed: x") for i in range(5))
    assert (
        rank_table.sentence(all_failed)
        == "5 ranks on 2 nodes, 0 done, rank 0 failed: x, rank 1 failed: x, rank 2 failed: x and 2 more"
    )


def test_many_ranks_are_a_distribution_and_the_three_worst() -> None:
    ranks = list(uses(64, slow=41))
    ranks[12] = use(12, outcome="failed: ValueError: loss is nan", steps_per_s=1.5)
    ranks[50] = use(50, outcome="", samples=0, steps_per_s=None, compute_fraction=None, power_mean_w=None)
    columns, rows = rank_table.rank_table(ranks)
    assert [str(row[0]) for row in rows] == ["least", "median", "greatest", "12", "41 ⚠", "50"]
    rate = [column.title for column in columns].index("step/s")
    assert [row[rate] for row in rows] == ["1.50", "2.41", "2.41", "1.50", "2.41", "–"]
    assert len(rank_table.rank_table(uses(16))[1]) == 16
    assert len(rank_table.rank_table(uses(17))[1]) == 6


def test_what_no_rank_knows_has_no_column() -> None:
    unknown = dict.fromkeys(("power_mean_w", "items_per_s", "communication_fraction", "compute_fraction"))
    columns, _ = rank_table.rank_table([use(i, device="CPU", host="here", **unknown) for i in range(2)])
    titles = [column.title for column in columns]
    assert titles == ["Rank", "Node", "Steps", "step/s", "Mean util", "Peak memory", "Wait"]


def test_ranks_on_gpus_have_the_memory_of_their_processes_and_of_their_gpus() -> None:
    held: dict[str, object] = {"memory_peak_bytes": 7.1 * GIB, "allocator_peak_bytes": 61.0 * GIB}
    ranks = [use(0, **held, allocator_reserved_peak_bytes=68.2 * GIB), use(1, **held)]
    columns, rows = rank_table.rank_table(ranks)
    titles = [column.title for column in columns]
    peaks = [titles.index(title) for title in ("Peak memory", "Peak GPU allocated", "Peak GPU reserved")]
    assert [words(str(rows[0][i])) for i in peaks] == ["7.10 GiB", "61.0 GiB", "68.2 GiB"]
    assert str(rows[1][peaks[2]]) == "–"


def test_runs_in_one_cell_have_a_table_each() -> None:
    m = measurement(ranks=(*uses(2), *uses(3), *uses(1)))
    assert [len(run) for run in rank_table.runs_of(m.ranks)] == [2, 3, 1]
    assert summary.mimebundle(m)["text/html"].count('aria-label="Ranks"') == 3
    assert "1 rank, done" in text.measurement_text(m)


def test_names_and_outcomes_are_harmless() -> None:
    ranks = (use(0), use(1, host=HOSTILE, device=HOSTILE, outcome=HOSTILE))
    found = page(measurement(ranks=ranks))
    assert [value for value in found.all("src") if not value.startswith("data:")] == []
    assert "onerror" not in [name for name, _ in found.attributes]
    assert "<img src=x onerror=alert(1)>" in found.text
    assert "\x1b" not in text.measurement_text(measurement(ranks=ranks))


def test_a_measurement_with_ranks_comes_back_from_its_dict() -> None:
    m = measurement(ranks=uses(3, slow=1))
    back = Measurement.from_dict(m.to_dict())
    assert back == m
    assert summary.mimebundle(back) == summary.mimebundle(m)


def test_no_rank_is_no_table() -> None:
    assert "rank" not in text.measurement_text(measurement())
    assert str(rank_table.ranks_report(())) == "no rank was heard of"


def test_ranks_of_whom_no_sample_arrived_are_said_to_be_so() -> None:
    short = tuple(RankUse(rank=rank, host="node", outcome="done") for rank in range(2))
    said = words(text.measurement_text(measurement(ranks=short)))
    assert "2 ranks, all done; no samples arrived: the run was too short" in said
