"""A headless Chromium that looks at Dagster's UI as a person does: by what is written there.

Here: opening pages, waiting for texts and roles, clicking, keeping pictures. Not here: what should be seen.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1600, 1000
PATIENCE = 90  # seconds for what takes a moment on a busy machine; nothing waits longer than it must


class Browser:
    """One window on the UI at `address`."""

    def __init__(self, driver: webdriver.Chrome, address: str) -> None:
        self.driver = driver
        self._address = address

    def open(self, path: str) -> None:
        self.driver.get(self._address + path)

    @property
    def path(self) -> str:
        """Where the window is, below the UI's address."""
        return self.driver.current_url.removeprefix(self._address)

    def see(self, text: str, *, within: str = "*", patience: float = PATIENCE) -> WebElement:
        """The first visible element whose own words contain the text; AssertionError when none comes."""
        return self._wait(f"//{within}[text()[contains(., {_quoted(text)})]]", f"the text {text!r}", patience)

    def miss(self, text: str) -> None:
        """Wait until no visible element says the text any more."""
        self.until(lambda: text not in self.words(), f"the text {text!r} stayed on {self.path}")

    def until(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Wait until it is so; AssertionError when it never is. What is asked may just be replaced."""
        wait = WebDriverWait(self.driver, PATIENCE, 0.2, [StaleElementReferenceException])
        wait.until(lambda _: condition(), otherwise)

    def see_button(self, text: str, *, patience: float = PATIENCE) -> WebElement:
        """The first visible button that says the text and can be pressed."""
        return self._wait(
            f"//button[not(@disabled) and normalize-space(.)={_quoted(text)}]", f"a button {text!r}", patience
        )

    def see_link(self, text: str, *, patience: float = PATIENCE) -> WebElement:
        """The first visible link that says the text and nothing else."""
        return self._wait(f"//a[normalize-space(.)={_quoted(text)}]", f"a link {text!r}", patience)

    def see_picture(self, alt: str) -> tuple[int, int]:
        """Width and height of the picture as decoded by the browser: 0, 0 when it could not be."""
        image = self._wait(f"//img[@alt={_quoted(alt)}]", f"a picture {alt!r}", PATIENCE)
        found = self.driver.execute_script(
            "return arguments[0].decode().then(() => [arguments[0].naturalWidth, arguments[0].naturalHeight],"
            " () => [0, 0])",
            image,
        )
        return found[0], found[1]

    def press(self, text: str) -> None:
        self.see_button(text).click()

    def click(self, text: str) -> None:
        """Click what says the text, whatever it is."""
        self.see(text).click()

    def show(self, text: str) -> None:
        """Scroll until what says the text is at the window's upper edge."""
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'start'})", self.see(text))

    def settle(self) -> None:
        """Wait until two pictures in a row are the same, or the page has had its time: figures count seconds."""
        last = b""
        for _ in range(10):
            time.sleep(0.5)
            now = self.driver.get_screenshot_as_png()
            if now == last:
                return
            last = now

    def follow(self, text: str) -> None:
        """Open what a link leads to; it may be on its way across the window, or out of it again."""
        self.driver.get(str(self.see_link(text).get_attribute("href")))

    def count(self, text: str) -> int:
        """How many visible elements say the text and nothing else."""
        found = self.driver.find_elements(By.XPATH, f"//*[not(*) and normalize-space(.)={_quoted(text)}]")
        return sum(element.is_displayed() for element in found)

    def words(self) -> str:
        """All that is written on the page."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def picture(self, file: Path) -> None:
        """Keep what the window shows."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(file))

    def _wait(self, xpath: str, what: str, patience: float) -> WebElement:
        def shown(driver: webdriver.Chrome) -> WebElement | None:
            try:
                return next((e for e in driver.find_elements(By.XPATH, xpath) if e.is_displayed()), None)
            except StaleElementReferenceException:
                return None

        wait = WebDriverWait(self.driver, patience, poll_frequency=0.2)
        return wait.until(shown, f"{what} did not appear on {self.path} within {patience:g} s")


@contextmanager
def browser(address: str) -> Iterator[Browser]:
    """A browser of our own, closed at the end."""
    options = Options()
    options.binary_location = next(filter(None, map(shutil.which, PROGRAMS)))
    for argument in (
        "--headless=new", f"--window-size={WIDTH},{HEIGHT}", "--hide-scrollbars", "--disable-gpu",
        "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--force-device-scale-factor=1", *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ):  # fmt: skip
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        _fit(driver)
        yield Browser(driver, address)
    finally:
        driver.quit()


def _fit(driver: webdriver.Chrome) -> None:
    """Of a headless window a part is lost to a frame that nobody sees."""
    inner = driver.execute_script("return [window.innerWidth, window.innerHeight]")
    driver.set_window_size(2 * WIDTH - inner[0], 2 * HEIGHT - inner[1])


def _quoted(text: str) -> str:
    """An XPath literal; it has no escapes."""
    return f'"{text}"' if '"' not in text else f"'{text}'"
