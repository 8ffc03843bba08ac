"""Checks of the table of ranks; ``check.py`` runs them."""

from __future__ import annotations

from checks import ROOT, check, mount
from playwright.sync_api import Page


def cells(page: Page, rank: str) -> list[str]:
    """What the row of a rank says, from its second cell on."""
    table = page.get_by_role("table").filter(has=page.get_by_role("columnheader", name="Rank", exact=True))
    row = table.get_by_role("row").filter(has=page.get_by_role("rowheader", name=rank))
    return [" ".join(text.split()) for text in row.get_by_role("cell").all_inner_texts()]


@check
def ranks_are_a_table(page: Page) -> None:
    """Ranks are a table with row headers; who is slow, silent or dead is told in words and without a number."""
    mount(page, "straggler")
    page.wait_for_timeout(700)
    assert "Rank 5 computes 1.53× the median; the other 7 wait 32" in page.evaluate(f"{ROOT}.textContent")
    slow = cells(page, "5")
    assert slow[0] == "node-b · 1", slow
    assert slow[4:6] == ["7.30", "68.2"], "memory of its processes, then what is held for it on its GPU"
    headings = page.get_by_role("columnheader")
    assert "GPU, of 80 GiB" in headings.all_inner_texts(), headings.all_inner_texts()
    held = page.locator(".rm-rank-gpu-memory[data-tip]").nth(1).get_attribute("data-tip") or ""
    assert " ".join(held.split()) == "allocated 61.0 GiB", held
    assert "straggler, compute 89 per cent, communication 10, wait 1" in slow[-1], slow
    shown = page.evaluate(
        "[...document.querySelectorAll('.rm-median')].map((e) => Math.round(e.getBoundingClientRect().x))"
    )
    assert len(shown) == 8
    assert len(set(shown)) == 1, "the median is one line through all bars"
    mount(page, "ended")
    page.wait_for_timeout(700)
    assert cells(page, "1")[1:7] == ["–"] * 6, cells(page, "1")
    assert cells(page, "1")[-1] == "last seen 7 s ago"
    assert cells(page, "3")[-1] == "killed by SIGKILL (out of memory: 15.1 GiB)"


@check
def many_ranks_are_bands(page: Page) -> None:
    """From 17 ranks their spread and the three worst are shown, expanded all of them."""
    mount(page, "sixtyFour")
    page.wait_for_timeout(700)
    numbers = page.locator(".rm-rank-table").get_by_role("rowheader")
    assert numbers.all_inner_texts() == ["12", "41", "50"]
    assert page.get_by_role("group", name="wait, of a step: median 33 %").count() == 1
    page.evaluate("""() => {
        const h = window.harness, ranks = h.ranks(64);
        for (const r of ranks) r.compute_s = 0.2;
        for (const i of [41, 50, 60]) ranks[i].compute_s = 0.3;
        window.others = setInterval(() => {
            model.message({k: 'now', ranks: h.facts(ranks)}, h.packed(ranks));
        }, 250);
    }""")
    page.wait_for_timeout(6500)
    page.evaluate("clearInterval(window.others)")
    assert numbers.all_inner_texts() == ["41", "50", "60"], "others stand out"
    page.click(".rm-expand")
    page.wait_for_timeout(300)
    assert numbers.count() == 64


@check
def ranks_speak(page: Page) -> None:
    """The live region tells of a straggler and of a rank that failed, once each."""
    mount(page, "ranks4")
    page.wait_for_timeout(700)
    said = "document.querySelector('.rm-live').textContent"
    assert "rank" not in page.evaluate(said)
    page.evaluate("""() => {
        const h = window.harness, ranks = h.ranks(4);
        ranks[2].state = 'failed';
        const told = {...h.facts(ranks), straggler: {rank: 1, factor: 1.5, others: 2, wait: 0.3, cause: ''}};
        model.message({k: 'row', ranks: told}, h.row(model.state._schema, h.NOW + 1), h.packed(ranks));
    }""")
    page.wait_for_timeout(700)
    assert page.evaluate(said) == "rank 2 failed. straggler: rank 1 computes 1.50 times the median", page.evaluate(said)


@check
def rows_of_ranks_open_by_keyboard(page: Page) -> None:
    """Below 640 px what has no room is on opening a row, with the keyboard too."""
    mount(page, "straggler", width=245)
    page.wait_for_timeout(700)
    button = page.get_by_role("button", name="rank 5, more")
    box = button.bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) >= 24, box
    memory = page.locator(".rm-rank").filter(has=button).locator(".rm-rank-gpu-memory")
    assert not memory.is_visible()
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    assert memory.inner_text().split() == ["GPU", "GiB", "68.2"]
    button.focus()
    page.evaluate("""() => {
        const h = window.harness, ranks = h.ranks(8);
        ranks[5].state = 'failed';
        ranks[5].outcome = 'killed by SIGKILL';
        model.message({k: 'ranks', ranks: h.facts(ranks, {revision: 2})}, h.packed(ranks));
    }""")
    page.wait_for_timeout(700)
    assert button.get_attribute("aria-expanded") == "true", "a rank that ends leaves its row open"
    assert page.evaluate("document.activeElement.textContent") == "5", "and the focus where it was"
    assert "killed by SIGKILL" in cells(page, "5")[-1]
    mount(page, "straggler", width=900)
    page.wait_for_timeout(300)
    assert page.get_by_role("button", name="rank 5, more").count() == 0


@check
def ranks_go_with_their_cell(page: Page) -> None:
    """The table stands until another cell begins."""
    mount(page, "finished")
    page.wait_for_timeout(700)
    assert page.locator(".rm-rank-table").is_visible()
    page.evaluate("""() => {
        const t0 = window.harness.NOW + 1;
        const cell = {id: 19, number: 19, title: 'next', t0, t1: null, state: 'running', error: null, items_unit: null};
        model.message({k: 'cell', cell});
    }""")
    page.wait_for_timeout(700)
    assert not page.locator(".rm-rank-table").is_visible()
    assert page.evaluate(f"{ROOT}.dataset.density") == "full"


@check
def names_of_ranks_stay_text(page: Page) -> None:
    """Names of hosts and devices, and what ended a rank, never become markup."""
    mount(page, "hostileRanks")
    page.wait_for_timeout(700)
    assert page.evaluate("document.querySelectorAll('.resmon img').length") == 0
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.querySelectorAll('.rm-rank-table')[0].textContent.split('<img src=x').length") >= 4
