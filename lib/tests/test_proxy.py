"""The variables of a proxy, as programs in pods read them."""

from __future__ import annotations

import pytest

from charmed_mlops import Blocked, proxy

MODEL = {
    "JUJU_CHARM_HTTP_PROXY": "http://model:3128",
    "JUJU_CHARM_HTTPS_PROXY": "http://model:3129",
    "JUJU_CHARM_NO_PROXY": "127.0.0.1,localhost,::1,10.0.0.0/8",
    "KUBERNETES_SERVICE_HOST": "10.152.183.1",
}


def test_there_are_none_without_a_proxy():
    assert proxy.variables(environ={"JUJU_CHARM_NO_PROXY": "127.0.0.1"}) == {}


def test_the_model_s_proxy_is_used():
    found = proxy.variables(environ=MODEL)
    assert found["HTTP_PROXY"] == found["http_proxy"] == "http://model:3128"
    assert found["HTTPS_PROXY"] == found["https_proxy"] == "http://model:3129"


def test_what_is_inside_the_cluster_needs_no_proxy():
    found = proxy.variables(environ=MODEL)["NO_PROXY"].split(",")
    assert found == [
        "127.0.0.1", "localhost", "::1", "10.0.0.0/8", ".svc", ".svc.cluster.local",
        ".cluster.local", "10.152.183.1",
    ]  # fmt: skip


def test_the_charm_s_own_option_comes_first():
    assert proxy.variables(http="http://own:1", environ=MODEL)["HTTP_PROXY"] == "http://own:1"


@pytest.mark.parametrize(
    ("config", "environ", "where"),
    [
        ({"https": "http://a:pw@own:1"}, {}, "config https-proxy"),
        ({}, {"JUJU_CHARM_HTTP_PROXY": "http://a:pw@m:1"}, "model-config juju-http-proxy"),
    ],
)
def test_a_proxy_with_a_password_is_refused_without_showing_it(config, environ, where):
    with pytest.raises(Blocked, match=f"^{where}: give a proxy that asks for no password$"):
        proxy.variables(**config, environ=environ)
