"""Browsers without a screen, in front of the gateway."""

from __future__ import annotations

import html.parser
import ssl
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2
import jubilant
from reach import Reach

PORT = 8443
NewClient = Callable[[], httpx2.Client]


class Fields(html.parser.HTMLParser):
    """The names of a page's fields, and where its links lead."""

    def __init__(self, page: str):
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "input":
            self.names.add(dict(attrs).get("name") or "")
        elif tag == "a":
            self.links.append(dict(attrs).get("href") or "")


def is_login(answer: httpx2.Response) -> bool:
    """Whether it is the form to log in with; 401 after a wrong password."""
    return answer.status_code in (200, 401) and {"login", "password"} <= Fields(answer.text).names


def login(client: httpx2.Client, name: str, password: str, path: str) -> httpx2.Response:
    """Opens a page, fills in the form that it leads to, and says what that leads to.

    Where there are several ways to log in, it takes dex's own.
    """
    form = client.get(path)
    own = [link for link in Fields(form.text).links if "/dex/auth/local" in link]
    if own and not is_login(form):
        form = client.get(own[0])
    assert is_login(form), (form.url, form.status_code, form.text)
    return client.post(form.url, data={"login": name, "password": password})


def namespace_of(juju: jubilant.Juju) -> str:
    """The model's namespace."""
    return (juju.model or "").rpartition(":")[2]


@contextmanager
def browsers(juju: jubilant.Juju, reach: Reach) -> Iterator[NewClient]:
    """Makes browsers, which trust only the gateway's CA."""
    shown = juju.run("gateway/0", "get-ca").results
    place = urllib.parse.urlsplit(shown["url"])
    context = ssl.create_default_context(cadata=shown["ca"])

    def named(request: httpx2.Request) -> None:
        # as if DNS led here: the certificate has to be that of the name
        request.extensions["sni_hostname"] = place.hostname
        request.headers["Host"] = place.netloc

    with reach.forward(namespace_of(juju), "gateway", PORT) as url:
        clients: list[httpx2.Client] = []

        def make() -> httpx2.Client:
            clients.append(
                httpx2.Client(
                    base_url=url.replace("http://", "https://"),
                    verify=context,
                    timeout=60,
                    follow_redirects=True,
                    headers={"Accept": "text/html"},
                    event_hooks={"request": [named]},
                )
            )
            return clients[-1]

        yield make
        for client in clients:
            client.close()


def settle(juju: jubilant.Juju, timeout: float = 900) -> None:
    """Waits until nothing is left to be done."""
    juju.wait(
        lambda status: jubilant.all_active(status) and jubilant.all_agents_idle(status),
        error=jubilant.any_error,
        timeout=timeout,
    )
