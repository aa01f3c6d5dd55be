"""The page in a real Chromium, which is not shown."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import Any

import pytest
import transaction
from twisted.logger import Logger

import zeotwisted
from tests.clientstorage.support import wait_until

from .browser import browser, missing
from .support import Web, web
from .test_page import EVIL, labelled, numbers

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@pytest.fixture
def site() -> Iterator[Web]:
    with web() as found:
        yield found


@pytest.fixture(scope="module")
def wide() -> Iterator[Any]:
    with browser() as driver:
        yield driver


def open_page(driver: Any, site: Web) -> None:
    driver.get("about:blank")
    # What it said of the last test's page, whose server has stopped.
    driver.get_log("browser")
    host, port = site.address
    driver.get(f"http://{host}:{port}/")


def text(driver: Any, selector: str) -> str:
    found: str = driver.find_element("css selector", selector).text
    return found


def complaints(driver: Any) -> list[Any]:
    """Return what the browser has to say against the page, such as of its policy."""
    found: list[Any] = driver.get_log("browser")
    return found


def commit(site: Web, times: int) -> None:
    db = zeotwisted.DB(site.served.address)
    connection = db.open()
    for number in range(times):
        connection.root()["x"] = number
        transaction.commit()
    connection.close()
    db.close()


def test_it_updates_by_itself(wide: Any, site: Web) -> None:
    open_page(wide, site)
    wide.execute_script("window.same = true")
    commits = '[data-table="storages"] td[data-label="Commits"]'
    assert text(wide, commits) == "0"
    assert "No client" in text(wide, '[data-nothing="clients"]')
    client = labelled(site, EVIL)
    wait_until("it is shown", lambda: EVIL in text(wide, "body"))
    assert text(wide, '[data-table="clients"] td[data-label="Label"]') == EVIL
    assert not wide.find_element("css selector", '[data-nothing="clients"]').is_displayed()
    commit(site, 3)
    wait_until("they are counted", lambda: text(wide, commits) == "4")
    Logger("test").warn("the disk is {how}", how=EVIL)
    wait_until("it warns", lambda: f"the disk is {EVIL}" in text(wide, '[data-table="warnings"]'))
    client.close()
    wait_until("it has gone", lambda: "No client" in text(wide, '[data-nothing="clients"]'))
    assert wide.execute_script("return window.same"), "it was not loaded again"
    assert complaints(wide) == []


def test_plots_move(wide: Any, site: Web) -> None:
    open_page(wide, site)

    def points() -> list[str]:
        lines = wide.find_elements("css selector", '[data-plot="loads"] polyline')
        return [line.get_attribute("points") for line in lines]

    def lowest() -> float:
        """Return how high the curve of commits is; a small number is high up."""
        lines = wide.find_elements("css selector", '[data-plot="commits"] polyline')
        pairs = " ".join(line.get_attribute("points") for line in lines).split()
        return min((float(pair.split(",")[1]) for pair in pairs), default=80.0)

    before = wait_until("there is a curve", points)
    wait_until("it moves", lambda: points() != before)
    commit(site, 40)
    wait_until("commits are seen", lambda: lowest() < 70)
    figure = wide.find_element("css selector", '[data-plot="commits"] svg')
    assert figure.size["width"] > 100 and figure.size["height"] > 50
    assert complaints(wide) == []


def test_a_lost_connection_is_said_and_found_again(wide: Any, site: Web) -> None:
    open_page(wide, site)
    wait_until("it watches", lambda: len(site.http.stream))
    assert text(wide, "#live") == ""
    site.served.ask(site.http.stream.close)
    wait_until("it says so", lambda: "Not connected" in text(wide, "#live"))
    wait_until("it watches again", lambda: len(site.http.stream))
    wait_until("it says no more", lambda: text(wide, "#live") == "")
    # The browser itself says that it has lost the connection.
    assert all("events" in line["message"] for line in complaints(wide))


def test_who_leaves_watches_no_more(wide: Any, site: Web) -> None:
    open_page(wide, site)
    wait_until("it watches", lambda: len(site.http.stream))
    wide.get("about:blank")
    wait_until("it has gone", lambda: not len(site.http.stream))


def test_it_asks_before_it_disconnects(wide: Any, site: Web) -> None:
    client, other = labelled(site, "shop"), labelled(site, "other")
    open_page(wide, site)
    link = wide.find_element("css selector", '[aria-label="Disconnect shop…"]')
    link.click()
    assert "Disconnect this client?" in text(wide, "h1") and "shop" in text(wide, "main")
    wide.find_element("link text", "Cancel").click()
    wait_until("it is back", lambda: "Clients" in text(wide, "body"))
    assert set(numbers(site)) == {"shop", "other"}
    wide.find_element("css selector", '[aria-label="Disconnect shop…"]').click()
    wide.find_element("css selector", "button").click()
    assert client.is_dropped()
    wait_until("it is not shown", lambda: "shop" not in text(wide, '[data-table="clients"]'))
    assert "other" in text(wide, '[data-table="clients"]')
    assert complaints(wide) == []
    client.close()
    other.close()


def test_with_the_keyboard_only(wide: Any, site: Web) -> None:
    from selenium.webdriver.common.keys import Keys

    client = labelled(site, "shop")
    open_page(wide, site)
    wide.switch_to.active_element.send_keys(Keys.TAB)
    assert wide.switch_to.active_element.text == "Skip to the figures"
    assert wide.switch_to.active_element.rect["x"] >= 0, "it is seen when it has the focus"
    wide.switch_to.active_element.send_keys(Keys.TAB)
    link = wide.switch_to.active_element
    assert link.get_attribute("aria-label") == "Disconnect shop…"
    # The focus stays while the page changes.
    commit(site, 1)
    commits = '[data-table="storages"] td[data-label="Commits"]'
    wait_until("it changes", lambda: text(wide, commits) == "2")
    assert wide.switch_to.active_element == link
    link.send_keys(Keys.ENTER)
    wait_until("it asks", lambda: "Disconnect this client?" in text(wide, "h1"))
    wide.switch_to.active_element.send_keys(Keys.TAB)
    assert wide.switch_to.active_element.text == "Disconnect"
    wide.switch_to.active_element.send_keys(Keys.ENTER)
    assert client.is_dropped()
    client.close()


def test_on_a_phone(site: Web) -> None:
    client = labelled(site, "a-long-label-of-a-client" * 3)
    with browser(360, 740) as driver:
        open_page(driver, site)
        wait_until("it watches", lambda: len(site.http.stream))
        wide = driver.execute_script("return document.documentElement.scrollWidth")
        assert wide <= 360, "nobody has to scroll to the side"
        cell = driver.find_element("css selector", 'td[data-label="Address"]')
        content = driver.execute_script(
            "return getComputedStyle(arguments[0], '::before').content", cell
        )
        assert content == '"Address"', "each value has its name beside it"
        assert driver.get_log("browser") == []
    client.close()


def test_without_scripts(site: Web) -> None:
    client = labelled(site, "shop")
    with browser(scripts=False) as driver:
        open_page(driver, site)
        assert "shop" in text(driver, '[data-table="clients"]')
        assert text(driver, "noscript a") == "Load later ones"
        assert not len(site.http.stream)
        driver.find_element("css selector", '[aria-label="Disconnect shop…"]').click()
        driver.find_element("css selector", "button").click()
        assert client.is_dropped()
    client.close()


#: Returns the lowest contrast of a text and what is behind it (WCAG wants 4.5), and the text.
_CONTRAST = """
const parse = (color) => color.match(/[\\d.]+/g).map(Number);
const light = (color) => {
  const [r, g, b] = parse(color).map((x) => x / 255)
    .map((x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const color = getComputedStyle(node).backgroundColor;
    if ((parse(color)[3] ?? 1) > 0) { return color; }
  }
  return "rgb(255, 255, 255)";
};
let worst = [99, ""];
for (const node of document.querySelectorAll("body *")) {
  const own = [...node.childNodes].some((each) => each.nodeType === 3 && each.data.trim());
  if (!own || !node.checkVisibility()) { continue; }
  const pair = [light(getComputedStyle(node).color), light(behind(node))].sort((a, b) => b - a);
  const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
  if (contrast < worst[0]) { worst = [contrast, node.textContent]; }
}
return worst;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(wide: Any, site: Web, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    wide.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    client = labelled(site, "shop")
    (served,) = site.served.server.served.values()
    for problem in ("", "the disk is broken"):
        served.unusable = problem
        open_page(wide, site)
        contrast, where = wide.execute_script(_CONTRAST)
        assert contrast >= 4.5, where
    wide.find_element("css selector", '[aria-label="Disconnect shop…"]').click()
    contrast, where = wide.execute_script(_CONTRAST)
    assert contrast >= 4.5, where
    served.unusable = ""
    client.close()


#: Counts the points of a picture that have the color of curves.
_BLUE = """
const [data, done] = arguments;
const image = new Image();
image.onload = () => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const points = context.getImageData(0, 0, image.width, image.height).data;
  let found = 0;
  for (let i = 0; i < points.length; i += 4) {
    found += points[i] < 60 && points[i + 1] > 80 && points[i + 1] < 130 && points[i + 2] > 140;
  }
  done(found);
};
image.src = `data:image/png;base64,${data}`;
"""


#: The points of a curve, as ``x,y`` with spaces between them.
_POINTS = """
return document.querySelector('[data-plot="commits"] polyline')?.getAttribute("points") ?? ""
"""


def test_a_screenshot_has_the_curves(site: Web) -> None:
    """What is drawn is seen, and not only in the document."""
    with browser(1000, 900) as driver:
        feature = {"name": "prefers-color-scheme", "value": "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        open_page(driver, site)
        end = time.monotonic() + 60
        # There is a point for each second.
        while len(driver.execute_script(_POINTS).split()) < 6:
            assert time.monotonic() < end, driver.execute_script(_POINTS)
            commit(site, 20)
        line = driver.find_element("css selector", '[data-plot="commits"] polyline')
        assert line.rect["width"] > 0 and line.rect["height"] > 10
        picture = driver.find_element("css selector", '[data-plot="commits"]').screenshot_as_png
        # Our own page may not load such a picture.
        driver.get("about:blank")
        found = driver.execute_async_script(_BLUE, base64.b64encode(picture).decode())
        assert found > 20
