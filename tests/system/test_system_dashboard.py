"""The dashboard in a real browser: it follows the cluster live, shows a migration, and text stays text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.common.by import By
from system_harness import HTTP_SECONDS, Scheduler, agent, job, running, wait_until

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    BROWSER is None or DRIVER is None, reason="there is no chromium with its driver (Debian: chromium-driver)"
)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    # Root has no sandbox, and containers have a small /dev/shm.
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path / 'browser'}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=str(DRIVER)))
    chrome.set_page_load_timeout(30)
    try:
        yield chrome
    finally:
        chrome.quit()


def _text(browser: webdriver.Chrome, part: str) -> str:
    return browser.find_element(By.ID, part).text


def _put(scheduler: Scheduler, config: dict[str, object]) -> None:
    path = f"/api/v1/jobs/{config['product']}/{config['environment']}/{config['job']}"
    reply = requests.put(scheduler.url + path, data=json.dumps(config), timeout=HTTP_SECONDS)
    assert reply.ok, reply.text


def test_the_dashboard_follows_the_cluster(browser: webdriver.Chrome, tmp_path: Path) -> None:
    with (
        agent(tmp_path / "a") as host,
        running(["serve", "--agent", host.address], tmp_path / "scheduler") as scheduler,
    ):
        browser.get(scheduler.url + "/")
        wait_until(lambda: host.address in _text(browser, "agents"), "the agent is shown")
        config = job("shown", 2, update={"min_healthy_time": "1s"})
        _put(scheduler, config)
        wait_until(lambda: _text(browser, "tasks").count("running") == 2, "both tasks run, without a reload")
        assert "shown" in _text(browser, "jobs")

        _put(scheduler, {**config, "env": {"CHANGED": "yes"}})
        wait_until(lambda: "→" in _text(browser, "jobs"), "the migration is shown")
        wait_until(lambda: "→" not in _text(browser, "jobs"), "and its end")

        url = f"{scheduler.url}/api/v1/agents/{host.address}/drain"
        assert requests.post(url, timeout=HTTP_SECONDS).ok
        wait_until(lambda: "being drained, 2 left" in _text(browser, "agents"), "the drain is shown")
        wait_until(lambda: "stays: no agent fits" in _text(browser, "agents"), "and why it does not go on")
        assert requests.delete(url, timeout=HTTP_SECONDS).ok
        wait_until(lambda: "drained" not in _text(browser, "agents"), "and its end")

        _put(scheduler, {**job("everywhere", constraints=["zone = a"]), "scale": "all"})
        wait_until(lambda: "no agent fits; nearest" in _text(browser, "jobs"), "why it is nowhere")

        name = "<i>slanted"
        body = json.dumps({"endpoint": "127.0.0.1:1"})
        requests.put(f"{scheduler.url}/api/v1/agents/{quote(name)}", data=body, timeout=HTTP_SECONDS)
        wait_until(lambda: name in _text(browser, "agents"), "what comes from the cluster is text")

        browser.find_element(By.ID, "filter").send_keys("no such task")
        wait_until(lambda: "running" not in _text(browser, "tasks"), "the filter")
        logged: Any = browser
        severe = [line for line in logged.get_log("browser") if line["level"] == "SEVERE"]
        assert not [line for line in severe if "favicon" not in line["message"]], severe


def test_the_pages_of_the_api_open(browser: webdriver.Chrome, tmp_path: Path) -> None:
    with running(["serve"], tmp_path / "scheduler") as scheduler:
        browser.get(scheduler.url + "/docs")
        assert "/api/v1/migrations" in browser.find_element(By.TAG_NAME, "table").text
        browser.get(scheduler.url + "/")
        wait_until(lambda: _text(browser, "link") not in ("", "connecting…"), "it says how it is linked")
