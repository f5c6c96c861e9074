"""The page in a real browser: headless Chromium, driven by selenium."""

import json
import math
import shutil
from dataclasses import replace
from urllib.parse import urlsplit

import polars as pl
import pytest

from sweep.report.compare import compare, write_comparison
from sweep.report.page import _write as write_cards
from sweep.report.page import write_page, write_report
from sweep.report.view import view
from sweep.store.read import open_store
from sweep.store.schema import TABLES
from sweep.store.write import StoreWriter

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

FLAGS = (
    *(
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
    ),
    *("disable-component-update", "disable-sync", "force-device-scale-factor=1", "window-size=1300,1000"),
)
FRONT = "front-conditional_coherence-log_likelihood"
PLACE = f"""
const plot = document.getElementById("{FRONT}"), [trial] = arguments;
plot.scrollIntoView({{block: "center", behavior: "instant"}});
const trace = plot.data.find(t => (t.customdata || []).includes(trial)), at = trace.customdata.indexOf(trial);
const box = plot.getBoundingClientRect(), {{xaxis, yaxis}} = plot._fullLayout;
return [box.left + xaxis._offset + xaxis.d2p(trace.x[at]), box.top + yaxis._offset + yaxis.d2p(trace.y[at])];
"""
DRAWN = """
return [...document.querySelectorAll("figure[role=img]")].every(figure => figure.querySelector(".main-svg"));
"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """Give a browser for the module; skip where there is none."""
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (binary and driver):
        pytest.skip("chromium and chromedriver (Debian: chromium, chromium-driver) are not installed")
    options = Options()
    options.binary_location = binary
    for flag in (*FLAGS, f"user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options=options, service=Service(driver)) as found:
        yield found


@pytest.fixture(scope="module")
def pages(made_up_sweep, tmp_path_factory):
    """Give the pages of a report, of a watched sweep and of a comparison."""
    folder, store = tmp_path_factory.mktemp("pages"), open_store(made_up_sweep)
    return {
        "report": write_report(store, folder / "report"),
        "watched": write_page(store, folder / "watched", refresh=2),
        "comparison": write_comparison(compare(store, store), folder / "comparison"),
        "kinds": write_cards(all_kinds(view(store)), folder / "kinds", None, ""),
    }


def all_kinds(seen):
    """Return a view whose knee has eight samples of a vector, of counts, of a curve and of a text."""
    long = tuple(map(str, range(1, 101)))
    contents = {
        "m0": {"values": tuple(math.sin(i) for i in range(80)), "features": tuple("abcdefghij")},
        "m1": {"values": tuple(range(80)), "features": tuple(f"a long name of gene {i}" for i in range(10))},
        "m2": {"values": tuple(math.cos(i / 9) for i in range(800)), "features": long},
    }
    text = {"texts": ("some words of a text that is longer than a line " * 3,) * 8}
    rows = [
        {"trial_id": "t02", "target": name, "labels": labels, "kind": kind, "source_mask": mask, **content}
        for kind, mask, labels in (
            ("input", 0, [3] * 8),
            ("conditional", 5, [3] * 7 + [4]),
            ("joint", 0, [1] * 8),
        )
        for name, content in {**contents, "m3": text}.items()
    ]
    schema = pl.Schema(TABLES["samples"])
    trade = seen.tradeoff
    names = replace(trade.manifest, modalities=("m0", "m1", "m2", "m3"))
    samples = pl.DataFrame(rows, schema={name: schema[name] for name in (*rows[0], "texts", "png")})
    return replace(seen, samples=samples, tradeoff=replace(trade, manifest=names))


@pytest.fixture
def browse(chromium, pages):
    """Return a function that opens a page in the browser, at a width and in a colour scheme."""

    def browse(page="report", width=1300, scheme="light", trial=""):
        chromium.get("about:blank")
        chromium.get_log("browser"), chromium.get_log("performance")
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        wanted = [{"name": "prefers-color-scheme", "value": scheme}]
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})
        chromium.get(pages[page].as_uri() + trial)
        until(chromium, DRAWN)
        return chromium

    return browse


def until(browser, script):
    """Wait until a script gives something true, and return it."""
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(browser, 20, poll_frequency=0.05).until(lambda b: b.execute_script(script))


def point_at(browser, trial, *, click=False):
    """Move the mouse to a config's point in the figure of the front, and click it if asked to."""
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    x, y = browser.execute_script(PLACE, trial)
    actions = ActionBuilder(browser, duration=20)
    # Over the point, and then onto it: the figure listens to movements.
    actions.pointer_action.move_to_location(round(x) - 3, round(y) - 3).pause(0.1)
    actions.pointer_action.move_to_location(round(x), round(y)).pause(0.1)
    if click:
        actions.pointer_action.click()
    actions.perform()


def shown(browser):
    """Return the ids of the details that are to be seen."""
    script = "return [...document.querySelectorAll('article[id]')].filter(a => !a.hidden).map(a => a.id)"
    return browser.execute_script(script)


@pytest.mark.parametrize("page", ["report", "watched", "comparison", "kinds"])
def test_pages_open_in_silence_and_alone(browse, page):
    """The console has no message, every request is for the file itself, and all figures are drawn."""
    browser = browse(page)
    assert until(browser, "return document.querySelector('figure[role=img] .main-svg .trace')")
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert sent
    assert {urlsplit(url).scheme for url in sent} <= {"file", "data", "blob"}
    assert {urlsplit(url).path.rpartition("/")[2] for url in sent if url.startswith("file")} == {
        "report.html"
    }


def test_pointing_at_a_config_shows_its_hyperparameters(browse):
    """The label beside the point has the trial, its pick, both objectives and all settings."""
    browser = browse()
    point_at(browser, "t02")
    text = until(browser, f"return document.querySelector('#{FRONT} .hoverlayer').textContent")
    for part in (
        "t02",
        "(knee)",
        "conditional coherence 0.72",
        "log likelihood -1512",
        "beta 2.5",
        "latent dim 64",
        "expert all",
    ):
        assert part in text


def test_a_click_shows_a_config_in_detail(browse):
    """Settings, heat map and learning curve of the config; of a pick its pictures; one config at a time."""
    browser = browse()
    assert shown(browser) == []
    point_at(browser, "t05", click=True)
    article = browser.find_element("id", until(browser, "return 'detail-t05'"))
    assert shown(browser) == ["detail-t05"]
    assert "beta\n1.5\nlatent dim\n16\nprior expert\nnone\nseeds\n1" in article.text
    assert len(article.find_elements("css selector", ".heat tbody tr")) == 7
    assert "m0+m1 (0.95) (0.95) 0.42" in " ".join(article.text.split())
    assert "Training ELBO from -2150 after epoch 1 to -1200 nats per sample after epoch 20" in article.text
    assert not article.find_elements("css selector", "img")
    point_at(browser, "t02", click=True)
    assert shown(browser) == ["detail-t02"]
    pictures = browser.find_elements("css selector", "#detail-t02 img")
    assert len(pictures) == 3 + 7 * 3
    assert all(p.is_displayed() for p in pictures)
    assert browser.find_element("id", "announcement").get_attribute("textContent") == "Shown below: t02, knee"
    ring = browser.execute_script(
        f"const d = document.getElementById('{FRONT}').data.at(-1); return [d.x, d.y]"
    )
    assert ring == [[0.72], [-1512.0]]
    assert browser.get_log("browser") == []


def test_a_config_without_details_is_shown_as_far_as_the_figure_knows_it(browse):
    """On the page of a sweep of thousands a click shows objectives and settings, and says what is missing."""
    browser = browse()
    browser.execute_script("document.getElementById('detail-t05').remove()")
    point_at(browser, "t05", click=True)
    assert shown(browser) == ["detail-other"]
    text = browser.find_element("id", "detail-other").text
    assert text.startswith("t05\nt05\nconditional coherence 0.40")
    assert "beta 1.5" in text
    assert "the tables hold all" in text
    assert browser.find_element("id", "chosen").get_attribute("value") == ""


def test_the_keyboard_alone_reaches_the_details(browse):
    """Tab leads to the list, which has a label; an arrow chooses; what is shown is announced."""
    from selenium.webdriver.common.keys import Keys

    browser = browse()
    for _ in range(5):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        if browser.switch_to.active_element.get_attribute("id") == "chosen":
            break
    chooser = browser.switch_to.active_element
    assert chooser.accessible_name == "A config in detail"
    chooser.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert shown(browser) == ["detail-t01"]
    assert browser.find_element("id", "announcement").get_attribute("role") == "status"
    assert browser.find_element("id", "announcement").get_attribute("textContent") == "Shown below: t01"


def test_an_address_names_a_config(browse):
    """A link to report.html#t02 opens with that config; one to another name opens as ever."""
    assert shown(browse(trial="#t02")) == ["detail-t02"]
    assert shown(browse(trial="#t99")) == []


def in_sight(browser, name):
    """Return whether the top of an element is within the window."""
    top = f"document.getElementById('{name}').getBoundingClientRect().top"
    return browser.execute_script(f"return {top} >= 0 && {top} < innerHeight")


def test_a_click_brings_the_config_into_sight_and_into_the_address(browse):
    """The details are far below a low window's figure; the address opens with them, in sight, again."""
    browser = browse()
    point_at(browser, "t05", click=True)
    assert browser.current_url.endswith("report.html#t05")
    assert in_sight(browser, "detail-t05")
    browser = browse(trial="#t04")
    until(browser, "return document.readyState === 'complete'")
    assert shown(browser) == ["detail-t04"]
    assert in_sight(browser, "detail-t04")
    browser.execute_script("scrollTo(0, 0); location.hash = '#t01'")  # a link that is followed later
    until(browser, "return !document.getElementById('detail-t01').hidden")
    assert shown(browser) == ["detail-t01"]
    assert in_sight(browser, "detail-t01")
    assert browser.get_log("browser") == []


def configs(browser):
    """Return the trials in the table of configs that are to be seen, in order."""
    rows = "[...document.querySelectorAll('#configs tbody tr')].filter(row => !row.hidden)"
    return browser.execute_script(f"return {rows}.map(row => row.cells[1].textContent)")


def test_the_keyboard_sorts_and_filters_configs(browse):
    """Headers are buttons, whose column says how it is sorted, the best first; words filter the rows."""
    from selenium.webdriver.common.keys import Keys

    browser = browse()
    assert configs(browser) == ["t04", "t03", "t02", "t01", "t00", "t06", "t05"]
    heads = {h.get_attribute("textContent"): h for h in browser.find_elements("css selector", "#configs th")}
    buttons = {name: h.find_elements("css selector", "button") for name, h in heads.items()}
    assert [name for name, found in buttons.items() if not found] == ["compare"]
    for name, key, way, order in (
        ("log likelihood\N{NO-BREAK SPACE}↑", Keys.ENTER, "descending", "t00 t01 t02 t05 t03 t06 t04"),
        ("beta", Keys.ENTER, "ascending", "t00 t01 t05 t02 t06 t03 t04"),
        ("beta", Keys.SPACE, "descending", "t04 t03 t06 t02 t05 t01 t00"),
        ("place", Keys.ENTER, "ascending", "t03 t01 t04 t00 t02 t06 t05"),  # empty ones stay last
        ("place", Keys.ENTER, "descending", "t02 t00 t04 t03 t01 t06 t05"),
    ):
        buttons[name][0].send_keys(key)
        assert configs(browser) == order.split()
        assert {
            n: h.get_attribute("aria-sort") for n, h in heads.items() if h.get_attribute("aria-sort")
        } == {n: way for n in heads if n.startswith(name)}
    field = browser.find_element("id", "filter")
    assert field.accessible_name == "Filter"
    field.send_keys("full Front")
    assert configs(browser) == ["t00", "t03", "t01"]
    assert browser.find_element("css selector", "#configs [role=status]").text == "3 of 7"
    browser.find_element("link text", "t03").send_keys(Keys.ENTER)
    assert shown(browser) == ["detail-t03"]
    assert in_sight(browser, "detail-t03")
    assert browser.switch_to.active_element.get_attribute("id") == "detail-t03"
    assert browser.current_url.endswith("#t03")
    assert browser.get_log("browser") == []


def test_two_configs_side_by_side(browse):
    """Two boxes show two configs with what differs in bold; a third one takes the place of the first."""
    from selenium.webdriver.common.keys import Keys

    browser = browse()
    boxes = {
        b.get_attribute("value"): b for b in browser.find_elements("css selector", "#configs [type=checkbox]")
    }
    assert boxes["t02"].accessible_name == "compare t02"
    boxes["t05"].send_keys(Keys.SPACE)
    assert browser.find_elements("css selector", ".pair article") == []
    boxes["t02"].send_keys(Keys.SPACE)
    left, right = browser.find_elements("css selector", ".pair article")
    assert left.rect["y"] == right.rect["y"]
    assert left.rect["x"] + left.rect["width"] <= right.rect["x"]
    assert [a.find_element("css selector", "h3").text for a in (left, right)] == ["t05", "t02, knee"]
    assert len(right.find_elements("css selector", "img")) == 3 + 7 * 3
    boxes["t06"].send_keys(Keys.SPACE)
    assert [name for name, box in boxes.items() if box.is_selected()] == ["t02", "t06"]
    left, right = browser.find_elements("css selector", ".pair article")
    same = [d.text for d in left.find_elements("css selector", "dd:not(.differs)")]
    assert same == ["all"]  # the prior expert of t02 and t06
    assert shown(browser) == []
    boxes["t06"].send_keys(Keys.SPACE)
    assert browser.find_elements("css selector", ".pair article") == []
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("page", ["report", "comparison"])
def test_a_phone_scrolls_downwards_only(browse, page):
    """At 390 pixels nothing stands out to the right, with a config in detail either."""
    browser = browse(page, width=390, trial="#t02")
    browser.execute_script("document.body.style.overflowX = 'visible'")
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390


TEXTS = """
const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT), found = [];
while (walker.nextNode()) {
  const text = walker.currentNode.data.trim(), element = walker.currentNode.parentElement;
  if (!text || !element.checkVisibility() || element.closest("option, style, script, noscript")) continue;
  const look = getComputedStyle(element), backs = [];
  for (let up = element; up; up = up.parentElement) backs.push(getComputedStyle(up).backgroundColor);
  found.push([text, element.closest("svg.main-svg") ? look.fill : look.color, backs]);
}
return found;
"""
TICKS = """
return [...document.querySelectorAll(".xaxislayer-above, .yaxislayer-above")].flatMap(layer => {
  const boxes = [...layer.querySelectorAll("text")].map(text => text.getBoundingClientRect());
  const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  return boxes.flatMap((a, at) => boxes.slice(at + 1).filter(b => meet(a, b)).map(() => layer.textContent));
});
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [420, 1200, 1920])
@pytest.mark.parametrize("page", ["report", "kinds"])
def test_at_every_width_in_both_schemes(browse, page, width, scheme):
    """With a config in detail and two compared: no overflow, no tick on another, readable text, silence."""
    browser = browse(page, width=width, scheme=scheme, trial="#t02")
    for box in browser.find_elements("css selector", "#configs [type=checkbox]")[:2]:
        browser.execute_script("arguments[0].click()", box)
    browser.execute_script("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    browser.execute_script("document.body.style.overflowX = 'visible'")
    wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert browser.execute_script(f"return {wide}")
    assert browser.execute_script(TICKS) == []
    texts = browser.execute_script(TEXTS)
    assert len(texts) > 500
    assert [t for t, colour, backs in texts if contrast(numbers(colour), filled(backs)) < 4.5] == []
    assert browser.get_log("browser") == []


def filled(backs):
    """Return the colour that backgrounds, from the innermost to the page's, make together."""
    whole = [255.0, 255.0, 255.0]
    for red, green, blue, *alpha in map(numbers, reversed(backs)):
        share = alpha[0] if alpha else 1.0
        whole = [share * c + (1 - share) * w for c, w in zip((red, green, blue), whole, strict=True)]
    return whole


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_light_and_dark(browse, scheme, dark):
    """The page follows the reader's theme; text, figures and heat map keep a contrast of 4.5 (WCAG 2, AA)."""
    browser = browse(scheme=scheme, trial="#t02")
    colours = browser.execute_script("""
        const of = (where, what) => getComputedStyle(document.querySelector(where))[what];
        return [of("body", "backgroundColor"), of("body", "color"), of(".note", "color"),
                of(".js-plotly-plot .xtick text", "fill"),
                of("#detail-t02 .heat tbody td", "backgroundColor")];
    """)
    paper, *inks, cell = [numbers(colour) for colour in colours]
    assert (luminance(paper) < 0.2) == dark
    assert min(contrast(ink, paper) for ink in inks) > 4.5
    *hue, alpha = cell
    filled = [alpha * c + (1 - alpha) * p for c, p in zip(hue, paper, strict=True)]
    assert contrast(inks[0], filled) > 4.5


def numbers(colour):
    """Return the numbers of a colour such as rgb(1, 2, 3)."""
    return [float(n) for n in colour[colour.index("(") + 1 : -1].replace("/", " ").replace(",", " ").split()]


def luminance(colour):
    """Return the relative luminance of WCAG 2."""
    parts = [c / 255 for c in colour[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """Return the contrast of two colours, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_a_watched_page_loads_itself_anew_in_place(browse, pages, made_up_sweep, tmp_path):
    """The reader sees the new file at the same place with the same config; not while filtering configs."""
    browser = browse("watched", trial="#t02")
    shutil.copytree(made_up_sweep, tmp_path / "sweep")
    writer, store = StoreWriter(tmp_path / "sweep"), open_store(tmp_path / "sweep")
    writer.write_manifest(replace(store.manifest, name="renamed"))
    until(browser, "if (document.readyState === 'complete') scrollTo(0, 1200); return scrollY === 1200")
    write_page(open_store(tmp_path / "sweep"), pages["watched"].parent, refresh=2)
    new = "document.readyState === 'complete' && document.querySelector('h1').textContent === 'renamed'"
    until(browser, f"return {new} && scrollY === 1200")
    assert shown(browser) == ["detail-t02"]
    assert browser.get_log("browser") == []
    browser.find_element("id", "filter").send_keys("front")
    browser.execute_script("window.kept = true")
    until(browser, f"return performance.now() > {browser.execute_script('return performance.now()') + 2500}")
    assert browser.execute_script("return window.kept")
