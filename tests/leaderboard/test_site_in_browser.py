"""The site in a real browser, from files: it sorts, filters, plots, compares, and stays on the machine."""

import pytest
from browser import find_chromium, nameless, open_chromium, watched_page
from denoised import denoising
from site_records import CLIPS, HOSTILE, alone, conference, hostile, run, with_pictures

from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.site.pages import write_site

expect = pytest.importorskip("playwright.sync_api").expect
CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install one, or name it in DITBENCH_CHROMIUM")
OTHER = HOSTILE.replace("alert", "prompt")
CONTROLS = {"button", "link", "combobox", "radio", "checkbox", "image", "region", "table", "navigation"}


@pytest.fixture(scope="module")
def browser():
    with open_chromium(CHROMIUM) as found:
        yield found


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return tmp_path_factory.mktemp("samples")


@pytest.fixture(scope="module")
def records(samples):
    return [*with_pictures(conference(), samples), hostile(), hostile(OTHER, seed=1)]


@pytest.fixture(scope="module")
def site(records, samples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    write_site(alone(records), folder, samples=samples)
    return folder


@pytest.fixture(scope="module")
def track(browser, site):
    """The page of a track, which these tests leave sorted and switched: plotly takes a second to load."""
    with watched_page(browser, color_scheme="light") as page:
        page.goto((site / "tracks/digits.html").as_uri())
        yield page


@pytest.fixture
def page(browser):
    with watched_page(browser) as page:
        yield page


@pytest.fixture(scope="module")
def phone(browser):
    options = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
    with watched_page(browser, **options) as page:
        yield page


def column(page, place):
    """The texts of a column of the first table."""
    cells = page.locator("table.sortable").first.locator(f"tbody tr > :nth-child({place})").all_inner_texts()
    return [cell.strip() for cell in cells]


def numbers(page, place):
    """The numbers that a column of the first table shows."""
    return [float(cell.partition(" ")[0].replace(",", "")) for cell in column(page, place)]


def head(page, start):
    """The head of the first table's column that begins so, and its place."""
    heads = page.locator("table.sortable").first.locator("thead th")
    place = next(i for i, text in enumerate(heads.all_inner_texts()) if text.startswith(start))
    return heads.nth(place), place + 1


def test_a_table_is_sorted_by_number(track):
    fid, place = head(track, "fid1k")
    fid.click()
    expect(fid).to_have_attribute("aria-sort", "ascending")
    assert numbers(track, place) == sorted(numbers(track, place))
    rate, place = head(track, "train img/s")  # of which more is better; some have three digits, some four
    rate.click()
    expect(rate).to_have_attribute("aria-sort", "descending")
    assert numbers(track, place) == sorted(numbers(track, place), reverse=True)


def test_rows_without_a_rank_come_last(track):
    rank, place = head(track, "rank")
    rank.click()
    expect(rank).to_have_attribute("aria-sort", "ascending")
    assert column(track, place)[0] == "1" and column(track, place)[-1] == "provisional"


def test_a_table_is_filtered(track):
    box = track.get_by_label("Filter rows").first
    box.fill("mdt:")
    assert column(track, 2) == ["mdt:nano"]
    box.fill("")
    assert len(column(track, 2)) == 7


def test_the_axes_of_a_plot_are_switched(track):
    figure = track.locator("figure.chart").first
    named = "Learning curves: fid1k/digits-cnn ↓ against training images: diffit:nano"
    track.get_by_role("img", name=named).first.wait_for()
    figure.get_by_label("training FLOPs").check()
    assert figure.locator(".xtitle").text_content() == "training FLOPs"
    figure.get_by_role("combobox", name="Show").select_option(label="is1k/digits-cnn ↑")
    assert figure.locator(".ytitle").text_content() == "is1k/digits-cnn ↑"
    assert track.get_by_role("img", name="is1k/digits-cnn ↑ against training FLOPs").count() == 1
    logarithmic = figure.get_by_role("checkbox", name="y", exact=True)
    assert logarithmic.is_disabled()  # some of these scores are negative
    figure.get_by_role("combobox", name="Show").select_option(label="fid1k/digits-cnn ↓")
    kinds = []
    for turn in (logarithmic.check, logarithmic.uncheck):
        turn()
        kinds.append(figure.locator(".plot").evaluate("plot => plot.layout.yaxis.type"))
    assert kinds == ["log", "linear"]


def test_everything_has_a_name(track):
    track.locator(".plot svg").first.wait_for()
    assert not nameless(track, {*CONTROLS, "searchbox"})
    assert track.get_by_role("main").count() == track.get_by_role("banner").count() == 1


def test_what_a_hostile_record_says_is_text_in_plots(track):
    figure = track.locator("section.board", has_text="prompt(1)").locator("figure.chart").last
    figure.scroll_into_view_if_needed()
    point = figure.locator(".scatterlayer .points path").first
    point.wait_for()
    point.hover(force=True)
    figure.locator(".hoverlayer .hovertext").wait_for()
    assert OTHER in figure.locator(".hoverlayer").text_content()
    assert not track.locator("img[src=x]").count()


def test_dark_is_remembered_and_reaches_the_plots(track, site):
    paper = "getComputedStyle(document.body).backgroundColor"
    title = track.locator(".xtitle").first
    light = track.evaluate(paper), title.evaluate("node => node.style.fill")
    track.get_by_role("button", name="Dark").click()
    dark = track.evaluate(paper), title.evaluate("node => node.style.fill")
    assert light[0] != dark[0] and light[1] != dark[1]
    other = track.context.new_page()
    other.goto((site / "rules.html").as_uri())
    assert other.evaluate(paper) == dark[0]
    assert other.get_by_role("button", name="Dark").get_attribute("aria-pressed") == "true"
    other.keyboard.press("Tab")
    assert other.evaluate("document.activeElement.textContent") == "Skip to the content"


def test_from_the_first_page_to_a_run_and_what_differs_from_another(page, site):
    page.goto((site / "index.html").as_uri())
    page.get_by_role("link", name="digits", exact=True).first.click()
    page.get_by_role("link", name="run dit:nano, seed 1, finished").first.click()
    assert "dit:nano" in page.get_by_role("heading", level=1).inner_text()
    page.locator("#fields summary").first.wait_for()
    assert page.locator("#fields summary").all_inner_texts()[:2] == ["Run", "Track"]
    page.get_by_role("img", name="Training loss: training loss against training images").locator("svg").first.wait_for()
    assert not nameless(page, CONTROLS)
    page.get_by_label("Compare with").select_option(label="uvit:nano, seed 2")
    page.get_by_text("most important first.").wait_for()
    assert "seed" in page.locator("#differences tbody th").all_inner_texts()
    names = page.locator("#differences tr", has_text="architecture.name").locator("td")
    assert names.all_inner_texts() == ["dit", "uvit"]
    page.get_by_label("Compare with").select_option("")
    assert page.locator("#differences").is_hidden()


def test_the_denoising_errors_of_two_runs_share_a_plot(page, tmp_path):
    one, other = (
        run(f"{name}:nano", 0, 1.0, denoising=denoising(scale)) for name, scale in (("dit", 1.0), ("uvit", 2.0))
    )
    without = run("mdt:nano", 0, 1.0)
    write_site(boards([one, other, without]), tmp_path, samples=None)
    page.goto((tmp_path / "runs" / f"{one.run_id}.html").as_uri())
    page.get_by_label("Compare with").select_option(other.run_id)
    plot = page.get_by_role("img", name="Denoising error of both: (1 + SNR) × squared error against")
    plot.locator(".legendtext").first.wait_for()
    assert plot.locator(".legendtext").all_text_contents() == ["dit:nano, seed 0", "uvit:nano, seed 0"]
    assert not nameless(page, CONTROLS)
    page.get_by_label("Compare with").select_option(without.run_id)
    page.get_by_text("most important first.").wait_for()
    assert not plot.count()


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_clips_are_held_still_for_whom_motion_is_unwanted_and_for_whoever_asks(browser, tmp_path, motion):
    records = with_pictures([run(f"{name}:nano", 0, 1.0, on=CLIPS) for name in ("dit", "uvit")], tmp_path / "samples")
    write_site(boards(records), tmp_path, samples=tmp_path / "samples")
    playing, held = {"clips that play"}, {"a clip in each row, frame by frame"}
    first, then = (playing, held) if motion == "no-preference" else (held, playing)
    with watched_page(browser, reduced_motion=motion, java_script_enabled=False) as page:
        for path in ("tracks/clips.html", f"runs/{records[0].run_id}.html"):
            page.goto((tmp_path / path).as_uri())
            assert _shown(page) == first
            page.get_by_label("let the clips play" if first == held else "hold the clips still").check()
            assert _shown(page) == then


def _shown(page):
    """What the words of the samples in sight end with."""
    words = [image.get_attribute("alt") for image in page.locator("img[alt^=Samples]").all() if image.is_visible()]
    return {text.rpartition(": ")[2] for text in words}


def test_what_a_hostile_record_says_is_text(page, site, records):
    first, second = records[-2:]
    page.goto((site / f"runs/{first.run_id}.html").as_uri())
    assert HOSTILE in page.title() and HOSTILE in page.get_by_role("heading", level=1).inner_text()
    page.get_by_label("Compare with").select_option(second.run_id)
    page.get_by_text("most important first.").wait_for()
    assert HOSTILE in page.locator("#fields").text_content()
    shown = page.locator("#differences tbody").inner_text()
    assert HOSTILE in shown and OTHER in shown
    assert not page.locator("img[src=x]").count()
    page.get_by_role("link", name=f"All of {first.architecture.name}").click()
    assert HOSTILE in page.locator("main").inner_text()
    page.goto((site / "index.html").as_uri())
    assert HOSTILE in page.locator("main").inner_text()


@pytest.mark.parametrize("name", ["index", "tracks/fashion32", "architectures/dit_ditbench-dit", "rules", "run"])
def test_a_phone_scrolls_down_alone(phone, site, records, name):
    name = f"runs/{records[0].run_id}" if name == "run" else name
    phone.goto((site / f"{name}.html").as_uri())
    assert phone.evaluate("document.documentElement.scrollWidth") == 390
