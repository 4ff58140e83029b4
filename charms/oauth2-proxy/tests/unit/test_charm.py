"""OAuth2 Proxy: its configuration, its secrets, the end of sessions."""

from __future__ import annotations

import base64
import dataclasses
import re

import pytest
from ops import testing

CONFIG = "/tmp/oauth2-proxy.cfg"


def config(charm, out):
    return dict(re.findall(r"^(\w+) = (.+)$", charm.file(out, CONFIG), re.MULTILINE))


def key(out):
    (found,) = [each for each in out.secrets if each.label == "cookie"]
    return (found.latest_content or found.tracked_content)["cookie-secret"]


def test_it_answers_the_gateway_and_proxies_nothing(charm):
    auth = testing.Relation("auth", remote_app_name="gateway")
    out = charm.settled(auth)
    assert charm.service(out).command == f"/bin/oauth2-proxy --config={CONFIG}"
    found = config(charm, out)
    assert found["upstreams"] == '["static://202"]'
    assert found["reverse_proxy"] == found["set_xauthrequest"] == "true"
    assert charm.published(out, "auth")["port"] == "4180"


def test_it_knows_the_issuer_by_the_relation_and_asks_for_no_discovery(charm):
    out = charm.settled()
    found = config(charm, out)
    assert found["oidc_issuer_url"] == '"http://dex.shop:5556/dex"'
    assert found["skip_oidc_discovery"] == "true"
    assert found["login_url"] == '"/dex/auth"'
    assert found["redeem_url"] == '"http://dex.shop:5556/dex/token"'
    assert found["oidc_jwks_url"] == '"http://dex.shop:5556/dex/keys"'
    assert charm.published(out, "oidc")["redirect-uris"] == '["/oauth2/callback"]'


def test_a_login_leads_to_no_other_site_and_its_cookie_is_for_no_script(charm):
    found = config(charm, charm.settled())
    assert "whitelist_domains" not in found
    assert found["redirect_url"] == '"/oauth2/callback"'
    assert found["relative_redirect_url"] == "true"
    assert found["code_challenge_method"] == '"S256"'
    assert found["cookie_secure"] == found["cookie_httponly"] == "true"
    assert found["cookie_samesite"] == '"lax"'
    assert found["approval_prompt"] == '"auto"'  # else dex asks once more after the password
    assert found["cookie_csrf_per_request"] == "true"


def test_secrets_are_in_the_environment_only(charm):
    out = charm.settled()
    environment = charm.environment(out)
    assert environment["OAUTH2_PROXY_CLIENT_ID"] == "oauth2-proxy-1"
    assert environment["OAUTH2_PROXY_CLIENT_SECRET"] == "open-sesame-client"
    assert environment["OAUTH2_PROXY_COOKIE_SECRET"] == key(out)
    assert len(base64.urlsafe_b64decode(key(out) + "=")) == 32
    assert key(out) not in charm.file(out, CONFIG)


def test_sessions_last_as_long_as_the_options_say(charm):
    given = {"session-lifetime": "8h", "session-refresh": "30m", "email-domains": "a.org, b.org"}
    found = config(charm, charm.settled(config=given))
    assert found["cookie_expire"] == '"8h"'
    assert found["cookie_refresh"] == '"30m"'
    assert "offline_access" in found["scope"]
    assert found["email_domains"] == '["a.org", "b.org"]'
    without = config(charm, charm.settled())
    assert without["cookie_refresh"] == '"0s"'
    assert "offline_access" not in without["scope"]


def test_ending_sessions_makes_a_new_key_that_the_other_units_hear_of(charm):
    before = charm.settled()
    context = charm.context()
    after = context.run(context.on.action("end-sessions"), before)
    assert context.action_results == {"sessions": "ended"}
    assert key(after) != key(before)
    assert charm.environment(after)["OAUTH2_PROXY_COOKIE_SECRET"] == key(after)

    def told(state):
        return state.get_relations("peers")[0].local_app_data["cookie"]

    assert told(after) != told(before)
    assert key(after) not in told(after)


def test_sessions_are_ended_on_the_leader(charm):
    out = dataclasses.replace(charm.settled(), leader=False)
    with pytest.raises(testing.ActionFailed, match="run this on the leader"):
        charm.act("end-sessions", out)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"session-lifetime": "a day"}, "config session-lifetime=a day: must match"),
        ({"session-refresh": "1"}, "config session-refresh=1: must match"),
        (
            {"session-lifetime": "1h", "session-refresh": "90m"},
            "config session-refresh=90m: must be less than session-lifetime=1h",
        ),
        ({"email-domains": 'x"'}, 'config email-domains=x": must match'),
    ],
)
def test_a_wrong_option_blocks_and_says_why(charm, given, message):
    out = charm.settled(config=given)
    assert out.unit_status.name == "blocked"
    assert out.unit_status.message.startswith(message)
