"""Chromium in a pod, without a screen, in front of the gateway; each step leaves a screenshot."""

from __future__ import annotations

import base64
import hashlib
import secrets
import socket
import ssl
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jubilant
import yaml
from browsers import PORT, namespace_of
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from reach import Reach
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import ActionChains, ChromeOptions, Remote
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

IMAGE = "docker.io/selenium/standalone-chromium:4.48.0-20260905"
WEBDRIVER = 4444
SECONDS = 120.0
_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # a pod has no rights to make one
    "--disable-dev-shm-usage",  # a pod's /dev/shm has 64 MiB
    "--disable-gpu",
    "--window-size=1280,860",
)


class Window:
    """A person's browser.

    Attributes:
        driver: what is asked where the methods here do not do.
    """

    def __init__(self, driver: Remote, url: str, folder: Path):
        """Takes a session.

        Args:
            driver: the session.
            url: the gateway's.
            folder: where screenshots go.
        """
        self.driver, self._url, self._folder = driver, url, folder

    def open(self, path: str) -> None:
        """Types a path of the gateway's into the address bar."""
        self.driver.get(self._url + path)

    def path(self) -> str:
        """The path of the page that is shown."""
        return urllib.parse.urlsplit(self.driver.current_url).path

    def text(self) -> str:
        """What can be read on the page."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def until(self, what: Callable[[], Any], seconds: float = SECONDS) -> Any:
        """What it gives, once that is something; a page that changes meanwhile does not count.

        Raises:
            TimeoutException: it was nothing for that long; says what the page shows.
        """
        wait = WebDriverWait(
            self.driver, seconds, poll_frequency=0.1, ignored_exceptions=(WebDriverException,)
        )
        try:
            return wait.until(lambda _: what())
        except WebDriverException as error:
            self.shot("failed")
            error.msg = f"{error.msg or 'not in time'}: {self.driver.current_url}: {self.text()}"
            raise

    def see(self, text: str, seconds: float = SECONDS) -> None:
        """Waits for a text on the page."""
        self.until(lambda: text in self.text(), seconds)

    def find(self, css: str, text: str = "", seconds: float = SECONDS) -> WebElement:
        """The first element that is shown and has the text, once there is one."""

        def found() -> WebElement | None:
            every = self.driver.find_elements(By.CSS_SELECTOR, css)
            return next((e for e in every if e.is_displayed() and text in e.text), None)

        return self.until(found, seconds)

    def click(self, css: str, text: str = "") -> None:
        """Clicks on it, once it is there."""

        def clicked() -> bool:
            self.find(css, text).click()
            return True

        self.until(clicked)

    def fill(self, css: str, text: str) -> None:
        """Types into a field, in place of what is there."""
        field = self.find(css)
        field.clear()
        field.send_keys(text)

    def type(self, text: str, *chord: str) -> None:
        """Types where the cursor is; then presses keys together."""
        keys = ActionChains(self.driver).send_keys(text)
        for each in chord[:-1]:
            keys = keys.key_down(each)
        keys = keys.send_keys(*chord[-1:])
        for each in chord[:-1]:
            keys = keys.key_up(each)
        keys.perform()

    def agree(self) -> None:
        """Says yes to the question that the page asks."""
        self.until(lambda: self.driver.switch_to.alert).accept()

    def to_new_tab(self) -> None:
        """Goes to the tab that the last click opened."""
        self.until(lambda: len(self.driver.window_handles) > 1)
        self.driver.switch_to.window(self.driver.window_handles[-1])

    def close_tab(self) -> None:
        """Closes the tab, and goes back to the first."""
        self.driver.close()
        self.driver.switch_to.window(self.driver.window_handles[0])

    def shot(self, name: str) -> None:
        """Keeps what the window shows, as NAME.png."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(self._folder / f"{name}.png"))


@contextmanager
def chromium(juju: jubilant.Juju, reach: Reach, folder: Path) -> Iterator[Callable[[], Window]]:
    """Makes windows of a Chromium in a pod, which reach the gateway by the name that people use.

    Args:
        juju: the model with the gateway.
        reach: the cluster.
        folder: where screenshots go.
    """
    shown = juju.run("gateway/0", "get-ca").results
    model, name = namespace_of(juju), f"chromium-{secrets.token_hex(3)}"
    place = urllib.parse.urlsplit(shown["url"])
    with reach.forward(model, "gateway", PORT) as url:
        fingerprint = _fingerprint(url, place.hostname or "", shown["ca"])
    rule = f"MAP {place.hostname}:{place.port or 443} gateway.{model}.svc.cluster.local:{PORT}"
    options = ChromeOptions()
    for each in _ARGUMENTS:
        options.add_argument(each)
    options.add_argument(f"--host-resolver-rules={rule}")
    # this certificate and no other one, which the CA was checked for just now
    options.add_argument(f"--ignore-certificate-errors-spki-list={fingerprint}")
    reach.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(_objects(name)))
    windows: list[Window] = []
    try:
        reach.kubectl(
            "-n", name, "wait", "pod/chromium", "--for=condition=Ready", "--timeout=600s"
        )
        with reach.forward(name, "chromium", WEBDRIVER) as driver:

            def make() -> Window:
                windows.append(Window(Remote(driver, options=options), shown["url"], folder))
                return windows[-1]

            yield make
            for window in windows:
                window.driver.quit()
    finally:
        reach.kubectl("delete", f"namespace/{name}", "--timeout=300s")


def _fingerprint(url: str, host: str, ca: str) -> str:
    """The base64 SHA-256 of the public key of the gateway's certificate, which the CA signed."""
    place = urllib.parse.urlsplit(url)
    context = ssl.create_default_context(cadata=ca)
    with (
        socket.create_connection((place.hostname, place.port or 0), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        given = secured.getpeercert(binary_form=True)
    assert given, f"{host} shows no certificate"
    key = x509.load_der_x509_certificate(given).public_key()
    known = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(known).digest()).decode()


def _objects(name: str) -> list[dict[str, Any]]:
    """A namespace with the pod and its Service."""
    labels = {"app": "chromium"}
    # upstream's server has one session at a time otherwise
    sessions = {"SE_NODE_OVERRIDE_MAX_SESSIONS": "true", "SE_NODE_MAX_SESSIONS": "4"}
    container = {
        "name": "chromium",
        "image": IMAGE,
        "env": [{"name": key, "value": value} for key, value in sessions.items()],
        "readinessProbe": {"httpGet": {"path": "/status", "port": WEBDRIVER}, "periodSeconds": 1},
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
        {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "chromium", "namespace": name, "labels": labels},
            "spec": {"containers": [container], "automountServiceAccountToken": False},
        },
        {
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "chromium", "namespace": name},
            "spec": {"selector": labels, "ports": [{"port": WEBDRIVER}]},
        },
    ]  # fmt: skip
