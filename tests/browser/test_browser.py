"""The report and the dashboard as people see them: opened in Chromium."""

from __future__ import annotations

import base64
import importlib.util
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from synthetic_study import synthetic_study

from nas.report.analysis import read_study
from nas.report.dashboard import annotate_study
from nas.report.page import write_report
from nas.space.space import SearchSpace
from nas.study.config import StudyConfig
from nas.study.storage.engine import sqlite_url

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed (apt: chromium)"),
    pytest.mark.skipif(not DRIVER, reason="chromedriver is not installed (apt: chromium-driver)"),
    pytest.mark.skipif(not importlib.util.find_spec("selenium"), reason="selenium is missing"),
]

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ROOT = Path(__file__).parent.parent.parent
SHOTS = os.environ.get("NAS_SCREENSHOTS")  # a folder that gets a picture of every page


@pytest.fixture(scope="module")
def config(tiny_config: StudyConfig) -> StudyConfig:
    space = SearchSpace.from_yaml(ROOT / "search_spaces/dyclotnet.yaml")
    return replace(tiny_config, space=space)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


def open_page(browser: Any, url: str, width: int) -> float:
    """Open a page at a width; the seconds until it was loaded."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 700},
    )
    browser.get_log("browser")
    start = time.monotonic()
    browser.get(url)
    took = time.monotonic() - start
    browser.execute_script("document.documentElement.style.scrollBehavior = 'auto'")
    return took


def wait_for(browser: Any, script: str, seconds: float = 20) -> Any:
    """Wait until JavaScript gives something true, and give it."""
    end = time.monotonic() + seconds
    while not (value := browser.execute_script(f"return {script}")):
        assert time.monotonic() < end, script
        time.sleep(0.1)
    return value


def errors(browser: Any) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def keep_picture(browser: Any, name: str) -> None:
    if SHOTS:
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        Path(SHOTS, f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


@pytest.mark.parametrize("width", [1280, 400])
def test_report(browser: Any, config: StudyConfig, tmp_path: Path, width: int) -> None:
    study = synthetic_study(config, 100)
    found = read_study(study, config)
    open_page(browser, write_report(study, config, tmp_path).as_uri(), width)
    browser.execute_script("show('front')")
    wait_for(browser, "document.getElementById('front').data")
    points = browser.execute_script(
        "return document.querySelectorAll('#front .scatterlayer .point').length"
    )
    shown = sum(len(found.of_state(state)) for state in ("finished", "stopped", "failed"))
    references = browser.execute_script(
        "return document.getElementById('front').data.filter(t => t.name.startsWith('Table 2'))"
        ".reduce((n, t) => n + t.x.length, 0)"
    )
    front = len(found.members)  # drawn at their estimates, and as measured
    assert points == shown + front + references + 1  # the knee has a star of its own
    browser.execute_script("Object.keys(PLOTS).forEach(show)")
    wait_for(browser, "document.querySelectorAll('.plot .main-svg').length >= "
                      "3 * Object.keys(PLOTS).length")  # fmt: skip
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width
    assert browser.execute_script(OVERFLOWING) == []
    keep_picture(browser, f"report-{width}")
    assert errors(browser) == []


OVERFLOWING = """
return [...document.querySelectorAll('.plot')].filter(plot => {
  const box = plot.getBoundingClientRect();
  return [...plot.querySelectorAll('text')].some(text => {
    const t = text.getBoundingClientRect();
    return t.width && (t.left < box.left - 1 || t.right > box.right + 1
                       || t.top < box.top - 1 || t.bottom > box.bottom + 1);
  });
}).map(plot => plot.id)
"""  # figures with a label that is cut off


def test_hovering_tells_the_architecture(browser: Any, config: StudyConfig, tmp_path: Path) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    study = synthetic_study(config, 60)
    found = read_study(study, config)
    open_page(browser, write_report(study, config, tmp_path).as_uri(), 1280)
    wait_for(browser, "document.getElementById('front').data")
    browser.execute_script(
        "document.getElementById('front').scrollIntoView({block: 'center', behavior: 'instant'})"
    )
    drag = browser.find_element(By.CSS_SELECTOR, "#front .nsewdrag")
    x, y = browser.execute_script(
        """
        const plot = document.getElementById('front'), layout = plot._fullLayout;
        const trace = plot.data.find(t => t.name === 'front'), last = trace.x.length - 1;
        return [layout.xaxis.d2p(trace.x[last]), layout.yaxis.d2p(trace.y[last])];
        """
    )
    box = drag.size
    ActionChains(browser).move_to_element_with_offset(
        drag, round(x - box["width"] / 2), round(y - box["height"] / 2)
    ).perform()
    wait_for(browser, "document.querySelectorAll('#front .hovertext').length")
    label = "".join(
        str(part.text) for part in browser.find_elements(By.CSS_SELECTOR, "#front .hovertext text")
    )
    last = found.front.iloc[-1]
    for words in (
        last["arch_id"],
        *str(last["arch"]).split(" | "),
        "FLOPs (multiply-adds)",
    ):
        assert words in label
    ActionChains(browser).click().perform()
    wait_for(browser, f"location.hash === '#arch-{last['arch_id']}'")
    assert errors(browser) == []


COLUMN = """
return [...document.querySelectorAll('#trials tbody tr')].map(row => row.cells[%d].innerText)
"""
SLIDE = """
const slider = document.getElementById(arguments[0]);
slider.value = arguments[1];
slider.dispatchEvent(new Event('input'));
"""
SETTLED = "new Promise(done => setTimeout(done, 200)).then(() => true)"


def column(browser: Any, position: int) -> list[str]:
    return list(browser.execute_script(COLUMN % position))


@pytest.fixture
def report(browser: Any, config: StudyConfig, tmp_path: Path) -> tuple[pd.DataFrame, Path]:
    """The trials of a report of 100 that is open in the browser, and its file."""
    study = synthetic_study(config, 100)
    study.set_user_attr("val_images", 300)
    path = write_report(study, config, tmp_path / "it's a study")
    open_page(browser, path.as_uri(), 1280)
    wait_for(browser, "document.getElementById('front').data")
    return read_study(study, config).trials, path


def test_the_table_sorts_and_turns_pages(browser: Any, report: tuple[pd.DataFrame, Path]) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.select import Select

    trials, _ = report
    front = trials[trials["on_front"]].sort_values("macs")
    assert column(browser, 1) == [  # the front, the cheapest first
        f"{row['arch_id']}" + ("knee" if row["knee"] else "") for _, row in front.iterrows()
    ]
    Select(browser.find_element(By.ID, "which")).select_by_visible_text("all trials")
    wait_for(browser, SETTLED)

    def sort(name: str) -> None:
        heads = browser.find_elements(By.CSS_SELECTOR, "#trials th button")
        next(head for head in heads if head.text.startswith(name)).click()

    for name, position, key in (
        ("accuracy", 4, "accuracy"), ("estimate", 5, "estimate"), ("parameters", 3, "params")
    ):  # fmt: skip
        shown = []
        sort(name)
        while True:
            shown += [int(number) for number in column(browser, 8)]
            button = browser.find_element(By.ID, "next")
            if not button.is_enabled():
                break
            button.click()
        assert len(column(browser, position)) <= 25
        assert sorted(shown) == sorted(trials["number"])
        values = trials.loc[shown, key]
        if key == "estimate":  # where there is none, the measurement
            values = values.fillna(trials.loc[shown, "accuracy"])
        values = values.fillna(-1)
        assert (values.is_monotonic_increasing if key == "params"
                else values.is_monotonic_decreasing)  # fmt: skip
    sort("parameters")  # the other way round
    assert int(column(browser, 8)[0]) == trials["params"].idxmax()
    assert errors(browser) == []


def test_sliders_filter_table_and_plot(browser: Any, report: tuple[pd.DataFrame, Path]) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.select import Select

    trials, _ = report
    Select(browser.find_element(By.ID, "which")).select_by_visible_text("trained to the end")
    for slider, value in (("least", 300), ("most", 600), ("accuracy", 600)):
        browser.execute_script(SLIDE, slider, value)
    wait_for(browser, SETTLED)
    low, high = trials["macs"].min(), trials["macs"].max()
    ends = [low * (high / low) ** (step / 1000) for step in (300, 600)]
    worst, best = trials["accuracy"].min(), trials["accuracy"].max()
    inside = trials[
        trials["macs"].between(*ends) & (trials["accuracy"] >= worst + 0.6 * (best - worst))
    ]
    finished = inside[inside["state"] == "finished"]
    assert 0 < len(finished) <= 25
    assert sorted(map(int, column(browser, 8))) == sorted(finished["number"])
    drawn = browser.execute_script(
        "return document.getElementById('front').data"
        ".filter(t => ['finished', 'front', 'stopped'].includes(t.name)).flatMap(t => t.customdata)"
    )
    assert sorted(drawn) == sorted(inside["number"])
    browser.execute_script(SLIDE, "least", 0)
    browser.execute_script(SLIDE, "most", 0)
    browser.execute_script(SLIDE, "accuracy", 0)
    wait_for(browser, SETTLED)
    assert set(browser.execute_script(COLUMN % 8)) <= {str(trials["macs"].idxmin())}
    assert errors(browser) == []


@pytest.mark.parametrize("width", [1280, 400])
def test_two_networks_stand_side_by_side(
    browser: Any, report: tuple[pd.DataFrame, Path], width: int
) -> None:
    trials, path = report
    open_page(browser, path.as_uri(), width)
    front = trials[trials["on_front"]].sort_values("macs")
    for position in (0, 2, 4):  # the first is given up for the third
        browser.execute_script(
            "document.querySelectorAll('#trials tbody input')[arguments[0]].click()", position
        )
    rows = browser.execute_script(
        "return [...document.querySelectorAll('#comparison tbody tr')].map(row =>"
        " [row.cells[0].innerText, row.cells[1].innerText, row.cells[2].innerText,"
        "  row.className, row.querySelectorAll('i').length])"
    )
    pair = [front.iloc[2], front.iloc[4]]
    archs = [row["arch"] for row in pair]
    stages = [row for row in rows if row[0].startswith("stage ")]
    assert len(stages) == max(len(arch.stages) for arch in archs)
    for i, (_, *texts, looks, blocks) in enumerate(stages):
        both = [arch.stages[i] for arch in archs]
        assert blocks == sum(stage.repeats for stage in both)
        assert (looks == "differs") == (both[0] != both[1])
        for text, stage in zip(texts, both, strict=True):
            assert f"{stage.repeats} × {stage.width} channels" in text
    accuracy = next(row for row in rows if row[0] == "accuracy")
    assert f"{100 * pair[0]['accuracy']:.2f} %" in accuracy[1]
    assert f"{100 * abs(pair[1]['accuracy'] - pair[0]['accuracy']):.2f} points" in accuracy[2]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    clipped = "[...document.querySelectorAll('.scroll')].filter(s => s.querySelector('#trials'))"
    assert (
        browser.execute_script(f"return {clipped}[0].scrollWidth - {clipped}[0].clientWidth") <= 0
    )
    keep_picture(browser, f"comparison-{width}")
    assert errors(browser) == []


@pytest.mark.parametrize("refused", ["", "clipboard", "everything"])
def test_a_command_is_copied(browser: Any, report: tuple[pd.DataFrame, Path], refused: str) -> None:
    from selenium.webdriver.common.by import By

    trials, path = report
    browser.execute_cdp_cmd(
        "Browser.setPermission",
        {"permission": {"name": "clipboard-write"}, "setting": "denied" if refused else "granted"},
    )
    browser.execute_script(
        "window.copied = [];"
        "document.addEventListener('copy', () => copied.push(String(getSelection())"
        " || document.activeElement.value));"
    )
    if refused:
        browser.execute_script(
            "navigator.clipboard.writeText = () => Promise.reject(new Error('refused'))"
        )
    if refused == "everything":
        browser.execute_script("document.execCommand = () => false")
    button = browser.find_element(By.CSS_SELECTOR, "#trials button.copy")
    command = button.get_attribute("title")
    words = ["nas", "retrain", str(path.with_name("front.json")), "--select"]
    assert shlex.split(command)[:-1] == words
    assert shlex.split(command)[-1] in set(trials[trials["on_front"]]["arch_id"])
    button.click()
    if refused == "everything":
        wait_for(browser, "document.querySelector('#trials textarea')")
        assert browser.execute_script("return document.activeElement.value") == command
        return
    wait_for(browser, "document.querySelector('#trials button.copy').textContent === 'copied'")
    if refused:
        assert browser.execute_script("return copied") == [command]


def test_the_page_of_a_running_search_reloads_and_keeps_the_place(
    browser: Any, config: StudyConfig, tmp_path: Path
) -> None:
    from selenium.webdriver.common.by import By

    def write(count: int, *, running: bool) -> Path:
        path = write_report(synthetic_study(config, count), config, tmp_path, running=running)
        path.write_text(path.read_text().replace("const RELOAD = 15;", "const RELOAD = 1;"))
        return path

    tile = "document.querySelector('.tiles dd').textContent"
    path = write(60, running=True)
    open_page(browser, path.as_uri(), 1280)
    before = browser.execute_script(f"return {tile}")
    wait_for(browser, "document.getElementById('front').data")
    browser.execute_script(SLIDE, "accuracy", 100)
    browser.execute_script("document.querySelector('details').open = true;"
                           "Plotly.restyle('front', {visible: 'legendonly'}, [0]);"
                           "window.scrollTo({top: 700, behavior: 'instant'})")  # fmt: skip
    write(80, running=True)
    wait_for(browser, f"{tile} !== '{before}'")
    wait_for(browser, "document.getElementById('front').data")
    assert abs(browser.execute_script("return window.scrollY") - 700) < 2
    assert browser.find_element(By.ID, "accuracy").get_attribute("value") == "100"
    assert browser.execute_script("return document.querySelector('details').open")
    hidden = "return document.getElementById('front').data.map(t => t.visible === 'legendonly')"
    assert browser.execute_script(hidden)[0]
    assert not any(browser.execute_script(hidden)[1:])
    write(90, running=False)
    wait_for(browser, "!document.getElementById('running')")
    browser.execute_script("window.kept = true")
    time.sleep(2.5)
    assert browser.execute_script("return window.kept")
    assert errors(browser) == []


@pytest.mark.slow
def test_a_thousand_trials_open_in_3_seconds(
    browser: Any, config: StudyConfig, tmp_path: Path
) -> None:
    path = write_report(synthetic_study(config, 1000), config, tmp_path)
    start = time.monotonic()
    open_page(browser, path.as_uri(), 1280)
    wait_for(browser, "document.querySelectorAll('#front .point').length > 900")
    took = time.monotonic() - start
    assert took < 3 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert errors(browser) == []


@pytest.mark.parametrize("kind", [{"trials": 0}, {"trials": 5, "failed": 1}, {"trials": 1}])
def test_reports_without_much_to_show(
    browser: Any, config: StudyConfig, tmp_path: Path, kind: dict[str, int]
) -> None:
    open_page(
        browser, write_report(synthetic_study(config, **kind), config, tmp_path).as_uri(), 400
    )
    browser.execute_script("Object.keys(PLOTS).forEach(show)")
    assert "The finding" in browser.page_source
    assert errors(browser) == []


@pytest.fixture
def dashboard(config: StudyConfig, tmp_path: Path) -> Iterator[tuple[str, optuna.Study]]:
    """The dashboard on an annotated study of 100 trials, and the study."""
    study = synthetic_study(config, 100, storage=tmp_path / "study.db")
    annotate_study(study, read_study(study, config))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "optuna-dashboard"), "--host", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--port", str(port), sqlite_url(tmp_path / "study.db")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{url}/dashboard/", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.1)
        yield url, study
    finally:
        process.kill()  # nothing that it holds is to be saved
        process.wait()


def test_dashboard(browser: Any, dashboard: tuple[str, optuna.Study], config: StudyConfig) -> None:
    url, study = dashboard
    found = read_study(study, config)
    open_page(browser, f"{url}/dashboard/studies/1", 1280)
    wait_for(browser, "document.body.innerText.includes('Best Trials')", 60)
    titles = "[...document.querySelectorAll('.gtitle')].map(t => t.textContent)"
    wait_for(browser, f"{titles}.includes('Which choices make the front')", 60)
    drawn = browser.execute_script(
        """
        const plot = [...document.querySelectorAll('.js-plotly-plot')].find(
          p => p.querySelector('.gtitle')?.textContent.startsWith('Accuracy over FLOPs'));
        return plot.data.filter(t => ['finished', 'front'].includes(t.name))
                        .reduce((n, t) => n + t.x.length, 0);
        """
    )
    assert drawn == len(found.finished)
    keep_picture(browser, "dashboard-study")
    open_page(browser, f"{url}/dashboard/studies/1/note", 1280)
    wait_for(browser, "document.body.innerText.includes('The finding')", 60)
    knee = int(found.front[found.front["knee"]]["number"].iloc[0])
    open_page(browser, f"{url}/dashboard/studies/1/trials?numbers={knee}", 1280)
    wait_for(browser, "document.body.innerText.includes('at the end of the last steep step')", 60)
    keep_picture(browser, "dashboard-trial")
    assert errors(browser) == []
