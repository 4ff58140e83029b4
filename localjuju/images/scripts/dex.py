"""Stand-in for dex 2.45: an OpenID Connect issuer with local users, on the library Authlib.

dex serve CONFIG reads dex's own configuration file. It has the code flow with PKCE for static
clients, a login form, discovery, keys, userinfo, health and metrics. It refuses what dex refuses:
a file that is missing or no YAML, an unknown storage, a client without id or redirect address, a
hash that is not bcrypt's. Connectors to other issuers are named and do not work. Keys
and codes are in memory: a restart ends pending logins, and each unit has keys of its own.
"""

import html
import os
import secrets
import sys
import threading
import time
import urllib.request

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # TLS ends at the gateway, as with dex

import bcrypt
import yaml
from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import ClientMixin, grants
from authlib.oauth2.rfc6750 import BearerTokenValidator
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import UserInfo
from authlib.oidc.core.grants import OpenIDCode
from flask import Flask, jsonify, redirect, request
from joserfc.jwk import RSAKey
from werkzeug.serving import make_server

STORAGES = {"kubernetes", "memory", "sqlite3", "postgres", "mysql", "etcd"}
UNITS = {"h": 3600, "m": 60, "s": 1}


def refuse(text):
    """Ends the program as dex does."""
    sys.exit(f"failed to initialize server: {text}")


def asks_for_approval(config, asked):
    """Whether dex asks after the password if the client may have the login."""
    skips = (config.get("oauth2") or {}).get("skipApprovalScreen")
    return not skips or asked.get("approval_prompt") == "force"


class Client(ClientMixin):
    """A static client."""

    def __init__(self, spec):
        self.spec = spec
        if not spec.get("id") or not (spec.get("redirectURIs") or spec.get("public")):
            refuse(f"invalid config: client {spec.get('name') or spec.get('id')!r} is incomplete")

    def get_client_id(self):
        return self.spec["id"]

    def get_default_redirect_uri(self):
        return None

    def get_allowed_scope(self, scope):
        known = {"openid", "email", "profile", "groups", "offline_access", "federated:id"}
        return " ".join(each for each in (scope or "").split() if each in known)

    def check_redirect_uri(self, redirect_uri):
        return redirect_uri in (self.spec.get("redirectURIs") or [])

    def check_client_secret(self, client_secret):
        return secrets.compare_digest(str(self.spec.get("secret", "")), client_secret)

    def check_endpoint_auth_method(self, method, endpoint):
        return method in ("client_secret_basic", "client_secret_post")

    def check_response_type(self, response_type):
        return response_type == "code"

    def check_grant_type(self, grant_type):
        return grant_type == "authorization_code"


class Code:
    """An authorization code that was given out."""

    def __init__(self, code, asked, user):
        self.code, self.user = code, user
        self.client_id = asked.client.get_client_id()
        self.redirect_uri = asked.payload.redirect_uri
        self.scope = asked.payload.scope
        self.nonce = asked.payload.data.get("nonce")
        self.code_challenge = asked.payload.data.get("code_challenge")
        self.code_challenge_method = asked.payload.data.get("code_challenge_method")
        self.auth_time = int(time.time())

    def get_redirect_uri(self):
        return self.redirect_uri

    def get_scope(self):
        return self.scope

    def get_nonce(self):
        return self.nonce

    def get_auth_time(self):
        return self.auth_time

    def get_acr(self):
        return None

    def get_amr(self):
        return None


class Token:
    """An access token that was given out."""

    def __init__(self, token, user, client):
        self.user, self.client = user, client
        self.scope = token.get("scope", "")
        self.ends = time.time() + token["expires_in"]

    def get_scope(self):
        return self.scope

    def is_expired(self):
        return time.time() > self.ends

    def is_revoked(self):
        return False


def seconds(text):
    """A duration such as 24h or 1h30m."""
    total, number = 0, ""
    for each in str(text):
        if each in UNITS:
            total, number = total + int(number) * UNITS[each], ""
        else:
            number += each
    return total or 24 * 3600


def load(file):
    """The configuration; ends the program where dex would."""
    try:
        with open(file) as opened:
            config = yaml.safe_load(opened)
    except (OSError, yaml.YAMLError) as error:
        sys.exit(f"error parse config file {file}: {' '.join(str(error).split())}")
    if not isinstance(config, dict) or not config.get("issuer"):
        refuse("invalid config: no issuer specified in config file")
    if (config.get("storage") or {}).get("type") not in STORAGES:
        refuse("invalid config: no storage supplied in config file")
    if not (config.get("web") or {}).get("http"):
        refuse("invalid config: must supply a HTTP/HTTPS  address to listen on")
    for user in config.get("staticPasswords") or []:
        if not str(user.get("hash", "")).startswith(("$2a$", "$2b$", "$2y$")):
            refuse(f"invalid config: malformed bcrypt hash of {user.get('email')}")
    return config


def open_connectors(config):
    """Asks each oidc connector's issuer, as dex does at its start; ends the program like it."""
    goes_on = os.environ.get("DEX_CONTINUE_ON_CONNECTOR_FAILURE", "").lower() in ("1", "t", "true")
    for each in config.get("connectors") or []:
        if each.get("type") != "oidc":
            continue
        try:
            issuer = each["config"]["issuer"].rstrip("/")
            urllib.request.urlopen(f"{issuer}/.well-known/openid-configuration", timeout=5)
        except (OSError, ValueError, KeyError) as error:
            said = f"failed to open connector {each.get('id')}: failed to get provider: {error}"
            if not goes_on:
                sys.exit(f"failed to initialize server: server: {said}")
            print(f"server: {said}", file=sys.stderr, flush=True)


APPROVAL = """<!DOCTYPE html><title>dex (stand-in)</title><h2>Grant Access</h2>
<form method="post"><input type="hidden" name="req" value="{code}">
<button name="approval" value="approve">Grant Access</button></form>"""
CHOICE = """<!DOCTYPE html><title>dex (stand-in)</title><h1>Log in</h1>
<p><a href="{own}">Log in with Email</a></p>{others}"""
PAGE = """<!doctype html><meta charset="utf-8"><title>Log in</title>
<style>body{{font:16px sans-serif;max-width:22em;margin:10vh auto}}
input,button{{font:inherit;width:100%;padding:.5em;margin:.3em 0;box-sizing:border-box}}
.error{{color:#b00020}}small{{color:#666}}</style>
<h1>Log in</h1>{message}<form method="post">
<label>Email Address<input name="login" id="login" type="text" required autofocus></label>
<label>Password<input name="password" id="password" type="password" required></label>
<button id="submit-login" type="submit">Login</button></form>
<p><small>stand-in for dex</small></p>"""


def application(config):
    """The web application of a configuration."""
    app = Flask("dex")
    issuer = config["issuer"].rstrip("/")
    prefix = "/" + issuer.split("://", 1)[1].partition("/")[2]
    key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)
    clients = {each["id"]: Client(each) for each in config.get("staticClients") or []}
    users = {each["email"].lower(): each for each in config.get("staticPasswords") or []}
    codes, tokens = {}, {}
    lifetime = seconds((config.get("expiry") or {}).get("idTokens", "24h"))

    class CodeGrant(grants.AuthorizationCodeGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")

        def save_authorization_code(self, code, asked):
            codes[code] = Code(code, asked, asked.user)

        def query_authorization_code(self, code, client):
            found = codes.get(code)
            late = found and time.time() > found.auth_time + 1800
            return (
                found if found and found.client_id == client.get_client_id() and not late else None
            )

        def delete_authorization_code(self, authorization_code):
            codes.pop(authorization_code.code, None)

        def authenticate_user(self, authorization_code):
            return authorization_code.user

    class Identity(OpenIDCode):
        def exists_nonce(self, nonce, asked):
            return False

        def resolve_client_private_key(self, client):
            return key

        def get_client_algorithm(self, client):
            return "RS256"

        def get_encode_header(self, client):
            return {"alg": "RS256", "kid": key.kid}

        def get_client_claims(self, client):
            ends = int(time.time()) + lifetime
            return {"iss": issuer, "aud": [client.get_client_id()], "exp": ends}

        def generate_user_info(self, user, scope):
            return claims(user)

    def claims(user):
        return UserInfo(
            sub=user.get("userID") or user["email"],
            email=user["email"],
            email_verified=True,
            name=user.get("username") or user["email"],
            groups=user.get("groups") or [],
        )

    def save(token, asked):
        tokens[token["access_token"]] = Token(token, asked.user, asked.client)

    server = AuthorizationServer(app, query_client=clients.get, save_token=save)
    server.register_grant(
        CodeGrant, [Identity(require_nonce=False), CodeChallenge(required=False)]
    )
    app.config["OAUTH2_TOKEN_EXPIRES_IN"] = {"authorization_code": lifetime}

    class Bearer(BearerTokenValidator):
        def authenticate_token(self, token_string):
            return tokens.get(token_string)

    protect = ResourceProtector()
    protect.register_token_validator(Bearer())

    @app.get(f"{prefix}/.well-known/openid-configuration")
    def discovery():
        return jsonify(
            issuer=issuer,
            authorization_endpoint=f"{issuer}/auth",
            token_endpoint=f"{issuer}/token",
            jwks_uri=f"{issuer}/keys",
            userinfo_endpoint=f"{issuer}/userinfo",
            response_types_supported=["code"],
            grant_types_supported=["authorization_code"],
            subject_types_supported=["public"],
            id_token_signing_alg_values_supported=["RS256"],
            code_challenge_methods_supported=["S256", "plain"],
            scopes_supported=["openid", "email", "groups", "profile", "offline_access"],
            token_endpoint_auth_methods_supported=["client_secret_basic", "client_secret_post"],
            claims_supported=[
                "iss",
                "sub",
                "aud",
                "iat",
                "exp",
                "email",
                "email_verified",
                "name",
            ],
        )

    @app.get(f"{prefix}/keys")
    def keys():
        return jsonify(keys=[key.as_dict(private=False)])

    approvals = {}

    @app.get(f"{prefix}/auth")
    def auth():
        own = f"{prefix}/auth/local/login?{request.query_string.decode()}"
        others = "".join(
            f"<p>{html.escape(str(each.get('name')))}: not in this stand-in</p>"
            for each in config.get("connectors") or []
        )
        return CHOICE.format(own=html.escape(own), others=others) if others else redirect(own)

    @app.route(f"{prefix}/auth/local/login", methods=["GET", "POST"])
    def login():
        try:
            grant = server.get_consent_grant(end_user=None)
        except OAuth2Error as error:
            return f"Bad Request: {html.escape(str(error.description or error.error))}", 400
        message, status = "", 200
        if approved := approvals.pop(request.form.get("req"), None):
            return server.create_authorization_response(grant=grant, grant_user=approved)
        if request.method == "POST":
            user = users.get(request.form.get("login", "").lower())
            given = request.form.get("password", "").encode()[:72]
            # the same time for a name that is not known
            known = (user or {"hash": "$2b$10$" + "." * 53})["hash"].encode()
            if bcrypt.checkpw(given, known) and user:
                if asks_for_approval(config, request.args):
                    approvals[code := secrets.token_urlsafe(16)] = user
                    return APPROVAL.format(code=code), 200
                return server.create_authorization_response(grant=grant, grant_user=user)
            message = '<p class="error" id="login-error">Invalid Email Address and password.</p>'
            status = 401
        return PAGE.format(message=message), status

    @app.post(f"{prefix}/token")
    def token():
        return server.create_token_response()

    @app.get(f"{prefix}/userinfo")
    @protect("openid")
    def userinfo():
        from authlib.integrations.flask_oauth2 import current_token

        return jsonify(claims(current_token.user))

    @app.get(f"{prefix}/healthz")
    def healthz():
        return "Health check passed"

    return app


def telemetry():
    """What probes and Prometheus ask for."""
    app = Flask("telemetry")
    app.add_url_rule("/healthz/live", "live", lambda: "ok")
    app.add_url_rule("/healthz/ready", "ready", lambda: "ok")
    app.add_url_rule("/metrics", "metrics", lambda: "")
    return app


def listen(address, app):
    """Serves an application in a thread of its own."""
    host, _, port = address.rpartition(":")
    server = make_server(host or "0.0.0.0", int(port), app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main():
    """dex serve CONFIG."""
    if len(sys.argv) != 3 or sys.argv[1] != "serve":
        sys.exit("usage: dex serve [flags] [config file]")
    config = load(sys.argv[2])
    open_connectors(config)
    listen(config["web"]["http"], application(config))
    address = (config.get("telemetry") or {}).get("http")
    if address:
        listen(address, telemetry())
    print("stand-in for dex: listening on", config["web"]["http"], flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
