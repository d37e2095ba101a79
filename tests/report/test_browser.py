"""The page of the real command in a real Chromium: quiet, alone, readable, light and dark."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.server import bare_environment
from tests.report.browser import DESKTOP, PHONE, Browser, chromium
from tests.report.ledgers import fill, others

RUNS = 60
_REPOSITORY = Path(__file__).parents[2]
EVIL = "<script>document.title='owned'</script>"
_SCHEMES = ("light", "dark")
_WIDTHS = (PHONE, DESKTOP)

# Every text with its colour and the colour behind it; SVG text is coloured by its fill.
_CONTRASTS = """
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = c => c.slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => { for (; e; e = e.parentElement) {
    const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; }
    return [255, 255, 255]; };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, text = walk.currentNode.data.trim();
    if (!text || !e.getClientRects().length || ['title', 'desc'].includes(e.tagName)) continue;
    const style = getComputedStyle(e);
    const ink = e instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(rgb(ink)), light(behind(e))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), text]);
  }
  return found;
"""
_CUT_OFF = """
  const found = [];
  for (const svg of document.querySelectorAll('figure svg')) {
    const box = svg.getBoundingClientRect();
    for (const text of svg.querySelectorAll('text')) {
      const b = text.getBoundingClientRect();
      if (b.left < box.left - 1 || b.right > box.right + 1 || b.top < box.top - 1
          || b.bottom > box.bottom + 1) found.push(svg.ariaLabel + ': ' + text.textContent);
    }
  }
  return found;
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of the real command, from a ledger of sixty nights and a model of an evil name."""
    folder = tmp_path_factory.mktemp("sixty")
    others(fill(folder / "deploy" / "data" / "ledger.db", RUNS), [EVIL])
    return _reported(folder)


@pytest.fixture(scope="module")
def bare_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a box on which nothing was done yet."""
    return _reported(tmp_path_factory.mktemp("bare"))


def _reported(folder: Path) -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "report", "-o", "page.html"],
        env=bare_environment(folder)
        | {"DEPLOY_HOME": str(folder / "deploy"), "PYTHONPATH": str(_REPOSITORY)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "page.html"


def test_the_page_asks_for_nothing_but_itself_and_complains_of_nothing(
    page: Path, browser: Browser
) -> None:
    browser.open(page)
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.requests() == [page.as_uri()]
    assert browser.complaints() == []


def test_even_a_page_that_wanted_to_could_not_reach_out(page: Path, browser: Browser) -> None:
    text, other = page.read_text("utf-8"), page.with_name("other.html")
    other.write_text(text.replace("<main>", "<main><img src='http://127.0.0.1:9/x.png'>"), "utf-8")
    browser.open(other)
    assert any("Content Security Policy" in said for said in browser.complaints())


def test_a_model_named_like_a_script_is_shown_and_not_run(page: Path, browser: Browser) -> None:
    browser.open(page)
    assert browser.run("return document.scripts.length") == 0
    assert browser.run("return document.title").startswith("deploy report")
    shown = browser.run("return document.querySelector('#others tbody th').innerText")
    assert shown == EVIL


def test_every_plot_has_its_data(page: Path, browser: Browser) -> None:
    browser.open(page)

    def marks(plot: str, of: str) -> int:
        return int(browser.run(f"return document.querySelectorAll('#{plot} .{of} use').length"))

    for name in ("decode", "prefill"):
        assert marks(f"history-{name}", "runs") == RUNS - 2  # two nights were noisy
        assert marks(f"history-{name}", "unsure") == 2
        assert marks(f"history-{name}", "regressed") == 2
        assert marks(f"history-{name}", "suspected") == 1
        assert browser.run(f"return !!document.querySelector('#history-{name} .change-1')")
    assert marks("history-ttft", "runs") == marks("history-load", "runs") == RUNS - 2
    assert marks("depth-decode", "medians") == marks("depth-prefill", "medians") == 4
    assert marks("users-rate", "aggregate") == marks("users-rate", "medians") == 4
    assert marks("users-wait", "queued") == 1
    assert marks("promises", "measured") == 6
    for use in ("weights", "kv_cache", "compute", "free"):
        assert browser.run(f"return document.querySelectorAll('#memory .{use}').length") == 2


def test_the_axes_of_plots_say_what_they_count(page: Path, browser: Browser) -> None:
    browser.open(page)
    texts = "return [...document.querySelectorAll('{} text')].map(t => t.textContent)"
    assert "Decode, tokens/s" in browser.run(texts.format("#history-decode"))
    assert "pinned #15" in browser.run(texts.format("#history-decode"))
    assert {"32", "256", "2048", "6144"} <= set(browser.run(texts.format("#depth-decode")))
    assert {"1", "2", "4", "8"} <= set(browser.run(texts.format("#users-rate")))
    assert "host memory, GiB" in browser.run(texts.format("#promises"))
    named = (
        "return [...document.querySelectorAll('svg')].every(s => s.ariaLabel && s.role == 'img')"
    )
    assert browser.run(named)


@pytest.mark.parametrize("width", _WIDTHS)
def test_the_page_is_never_wider_than_its_window_and_no_label_is_cut_off(
    page: Path, browser: Browser, width: int
) -> None:
    browser.open(page, width=width)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run("return innerWidth") == width
    assert browser.run(_CUT_OFF) == []
    lowest = "Math.min(...[...texts].map(t => t.getBoundingClientRect().height))"
    found = browser.run(f"const texts = document.querySelectorAll('figure text'); return {lowest}")
    assert found >= 8  # a line of text; smaller cannot be read


@pytest.mark.parametrize("width", _WIDTHS)
def test_an_empty_page_says_what_to_do_next(bare_page: Path, browser: Browser, width: int) -> None:
    browser.open(bare_page, width=width)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert "deploy auto" in browser.run("return document.querySelector('main p').innerText")
    assert browser.run("return document.querySelectorAll('svg').length") == 0
    assert browser.complaints() == []


@pytest.mark.parametrize("scheme", _SCHEMES)
def test_all_text_stands_out_from_its_ground(page: Path, browser: Browser, scheme: str) -> None:
    browser.open(page, scheme=scheme)
    found = browser.run(_CONTRASTS)
    assert len(found) > 500
    assert [(text, ratio) for ratio, text in found if ratio < 4.5] == []


def test_dark_changes_page_and_plots(page: Path, browser: Browser) -> None:
    colours = """
      const of = (e, what) => getComputedStyle(document.querySelector(e))[what];
      return [of('body', 'backgroundColor'), of('body', 'color'),
        of('#history-decode text', 'fill'), of('#history-decode .runs path', 'stroke'),
        of('#memory .weights path', 'fill')]
    """
    seen = []
    for scheme in _SCHEMES:
        browser.open(page, scheme=scheme)
        seen.append(browser.run(colours))
    assert all(light != dark for light, dark in zip(*seen, strict=True))
    assert seen[0][0] == "rgb(255, 255, 255)"
    assert seen[1][0] == "rgb(18, 22, 27)"
