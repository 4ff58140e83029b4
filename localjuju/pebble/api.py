"""The HTTP API: requests in, answers in Pebble's envelope out."""

from __future__ import annotations

import asyncio
import contextlib
import http
import json
import re
import secrets
import socket
import struct
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import yaml
from aiohttp import BasicAuth, web

from localjuju.pebble import files, identities, layers, units
from localjuju.pebble.changes import Change
from localjuju.pebble.errors import ApiError, not_found
from localjuju.pebble.execs import Execution

if TYPE_CHECKING:
    from localjuju.pebble.daemon import Daemon

_LARGEST = 1 << 30
_REASONS = {200: "OK", 202: "Accepted"}
_FILENAME = re.compile(r'filename="([^"]*)"')
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _answer(result: Any, status: int = 200) -> web.Response:
    return web.json_response(
        {
            "type": "sync", "status-code": status, "status": _REASONS.get(status, "Bad Gateway"),
            "result": result,
        },
        status=status,
    )  # fmt: skip


def _accepted(change: Change, result: Any = None) -> web.Response:
    return web.json_response(
        {
            "type": "async", "status-code": 202, "status": "Accepted", "change": change.id,
            "result": result,
        },
        status=202,
    )  # fmt: skip


def _refused(error: ApiError) -> web.Response:
    result: dict[str, Any] = {"message": str(error)}
    if error.kind:
        result["kind"] = error.kind
    reason = http.HTTPStatus(error.status).phrase
    return web.json_response(
        {"type": "error", "status-code": error.status, "status": reason, "result": result},
        status=error.status,
    )


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return _refused(error)
    except web.HTTPNotFound:
        return _refused(ApiError("invalid API endpoint requested", 404))
    except web.HTTPMethodNotAllowed:
        return _refused(ApiError(f'method "{request.method}" not allowed', 405))
    except json.JSONDecodeError as error:
        return _refused(ApiError(f"cannot decode request body: {error}"))


def _many(request: web.Request, name: str) -> list[str]:
    """A query parameter's values, given several times or with commas."""
    return [part for value in request.query.getall(name, []) for part in value.split(",") if part]


def _uid(request: web.Request) -> int | None:
    """The client's user id: from the socket, so that nobody can say another; None at the port."""
    transport = request.transport
    connection = transport.get_extra_info("socket") if transport else None
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return struct.unpack("iII", credentials)[1]


def _login(request: web.Request) -> tuple[str, str] | None:
    """Name and password of basic authentication, where both are not empty."""
    try:
        given = BasicAuth.decode(request.headers.get("Authorization", ""), "utf-8")
    except ValueError:
        return None
    return (given.login, given.password) if given.login or given.password else None


class Api:
    """The handlers."""

    def __init__(self, daemon: Daemon):
        self._daemon = daemon
        self._executions: dict[str, Execution] = {}

    def application(self) -> web.Application:
        """The API, for the Unix socket and for the port."""
        middlewares = [_errors, self._access]
        application = web.Application(middlewares=middlewares, client_max_size=_LARGEST)
        application.add_routes(
            [
                web.get("/v1/system-info", self._system_info),
                web.get("/v1/health", self._health),
                web.get("/v1/services", self._services),
                web.post("/v1/services", self._change_services),
                web.get("/v1/plan", self._plan),
                web.post("/v1/layers", self._layers),
                web.get("/v1/changes", self._changes),
                web.get("/v1/changes/{id}", self._change),
                web.post("/v1/changes/{id}", self._abort),
                web.get("/v1/changes/{id}/wait", self._wait),
                web.get("/v1/files", self._read_files),
                web.post("/v1/files", self._write_files),
                web.post("/v1/exec", self._exec),
                web.get("/v1/tasks/{task}/websocket/{name}", self._websocket),
                web.post("/v1/signals", self._signals),
                web.get("/v1/logs", self._logs),
                web.get("/v1/checks", self._checks),
                web.post("/v1/checks", self._change_checks),
                web.post("/v1/checks/refresh", self._refresh_check),
                web.get("/v1/notices", self._notices),
                web.post("/v1/notices", self._add_notice),
                web.get("/v1/notices/{id}", self._notice),
                web.get("/v1/warnings", self._warnings),
                web.post("/v1/warnings", self._warnings_okay),
                web.get("/v1/identities", self._identities),
                web.post("/v1/identities", self._change_identities),
                web.get("/v1/metrics", self._metrics),
            ]
        )
        return application

    @web.middleware
    async def _access(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        if resource is not None:  # else there is nothing of that name
            need = identities.needed(request.method, resource.canonical)
            local = _uid(request) is not None
            level = None if need == identities.OPEN else self._level(request)
            if not identities.allowed(level, need, local=local):
                raise ApiError("access denied", 401, "login-required")
        return await handler(request)

    def _level(self, request: web.Request) -> str | None:
        return self._daemon.identities.level(_uid(request), _login(request))

    def _user(self, request: web.Request) -> int:
        """The user id whose notices these are. Raises ApiError: a password says none."""
        user = _uid(request)
        if user is None or self._daemon.identities.knows_password(_login(request)):
            raise ApiError("cannot determine UID of request, so cannot use notices", 403)
        return user

    async def _system_info(self, request: web.Request) -> web.Response:
        return _answer({"version": self._daemon.version, "boot-id": self._daemon.boot_id})

    async def _health(self, request: web.Request) -> web.Response:
        level = request.query.get("level", "")
        if level not in ("", "alive", "ready"):
            raise ApiError('level must be "alive" or "ready"')
        checks = self._daemon.checks.find(level, _many(request, "names"))
        healthy = all(check.status != "down" for check in checks)
        return _answer({"healthy": healthy}, 200 if healthy else 502)

    # Plan and services -----------------------------------------------------------------------

    async def _plan(self, request: web.Request) -> web.Response:
        if request.query.get("format") != "yaml":
            raise ApiError(f'invalid format "{request.query.get("format", "")}"')
        plan = layers.shown(self._daemon.plan)
        return _answer(yaml.safe_dump(plan, sort_keys=True) if plan else "{}\n")

    async def _layers(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("action") != "add":
            raise ApiError(f'invalid action "{body.get("action", "")}"')
        if not body.get("label"):
            raise ApiError("label must be set")
        if body.get("format") != "yaml":
            raise ApiError(f'invalid format "{body.get("format", "")}"')
        self._daemon.add_layer(
            body["label"], body["layer"], bool(body.get("combine")), bool(body.get("inner"))
        )
        return _answer(True)

    async def _services(self, request: web.Request) -> web.Response:
        names = _many(request, "names")
        planned = self._daemon.plan.get("services", {})
        return _answer(
            [
                service.to_json()
                for name, service in sorted(self._daemon.services.all.items())
                if name in planned and (not names or name in names)
            ]
        )

    async def _change_services(self, request: web.Request) -> web.Response:
        body = await request.json()
        action, names = body.get("action", ""), body.get("services") or []
        if action in ("start", "stop", "restart"):
            if not names:
                raise ApiError(f"no services to {action} provided")
        elif action in ("autostart", "replan") and names:
            raise ApiError(f"{action} accepts no service names")
        return _accepted(self._daemon.start_services(action, names))

    async def _signals(self, request: web.Request) -> web.Response:
        body = await request.json()
        names = body.get("services") or []
        if not names:
            raise ApiError("must specify one or more services")
        for name in names:
            self._daemon.services.get(name)
        for name in names:
            self._daemon.services.get(name).send_signal(body.get("signal", ""))
        return _answer(True)

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        names = request.query.getall("services", []) or sorted(self._daemon.services.all)
        services = [self._daemon.services.get(name) for name in names]
        count = int(request.query.get("n", "30"))
        follow = request.query.get("follow") == "true"
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        lines = sorted((t, s.name, line) for s in services for t, line in s.log.last(count))
        seen = {service.name: service.log.total for service in services}
        for time, name, line in lines[-count:] if count > 0 else lines if count < 0 else []:
            await response.write(_log_line(time, name, line))
        with contextlib.suppress(ConnectionError):
            while follow:
                await asyncio.wait(
                    {asyncio.create_task(service.log.changed.wait()) for service in services},
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for service in services:
                    new = service.log.total - seen[service.name]
                    seen[service.name] = service.log.total
                    for time, line in service.log.last(new) if new else []:
                        await response.write(_log_line(time, service.name, line))
        return response

    # Changes ---------------------------------------------------------------------------------

    async def _changes(self, request: web.Request) -> web.Response:
        select = request.query.get("select", "in-progress")
        if select not in ("all", "in-progress", "ready"):
            raise ApiError("select should be one of: all,in-progress,ready")
        service = request.query.get("for", "")
        return _answer(
            [
                change.to_json()
                for change in self._daemon.changes.all()
                if (select == "all" or (select == "ready") == (change.ready is not None))
                and (not service or f'"{service}"' in " ".join(t.summary for t in change.tasks))
            ]
        )

    def _find(self, request: web.Request) -> Change:
        id = request.match_info["id"]
        change = self._daemon.changes.get(id)
        if change is None:
            raise not_found(f'cannot find change with id "{id}"')
        return change

    async def _change(self, request: web.Request) -> web.Response:
        return _answer(self._find(request).to_json())

    async def _abort(self, request: web.Request) -> web.Response:
        change = self._find(request)
        if (await request.json()).get("action") != "abort":
            raise ApiError("change action is unsupported")
        if change.ready:
            raise ApiError(f"cannot abort change {change.id} with nothing pending")
        for task in change.tasks:
            if task.status == "Do":
                task.status = "Hold"
        return _answer(change.to_json())

    async def _wait(self, request: web.Request) -> web.Response:
        change = self._find(request)
        timeout = request.query.get("timeout")
        try:
            await asyncio.wait_for(change.done.wait(), units.seconds(timeout) if timeout else None)
        except asyncio.TimeoutError:
            raise ApiError("timed out waiting for change", 504) from None
        return _answer(change.to_json())

    # Files -----------------------------------------------------------------------------------

    async def _read_files(self, request: web.Request) -> web.StreamResponse:
        action = request.query.get("action")
        if action == "list":
            path = request.query.get("path", "")
            try:
                return _answer(
                    files.listing(
                        path,
                        request.query.get("pattern", ""),
                        request.query.get("itself") == "true",
                    )
                )
            except (ApiError, OSError) as error:
                failure = files.failure(error, "stat")
                status = {"not-found": 404, "permission-denied": 403}.get(failure["kind"], 400)
                raise ApiError(failure["message"], status, failure["kind"]) from None
        if action != "read":
            raise ApiError(f'invalid action "{action}"')
        return await self._send_files(request, request.query.getall("path", []))

    async def _send_files(self, request: web.Request, paths: list[str]) -> web.StreamResponse:
        boundary = secrets.token_hex(16)
        response = web.StreamResponse(
            headers={"Content-Type": f'multipart/form-data; boundary="{boundary}"'}
        )
        await response.prepare(request)
        results = []
        for path in paths:
            try:
                content = files.read(path)
            except (ApiError, OSError) as error:
                results.append({"path": path, "error": files.failure(error, "stat")})
                continue
            head = f'Content-Disposition: form-data; name="files"; filename="{path}"'
            await response.write(f"--{boundary}\r\n{head}\r\n\r\n".encode())
            await response.write(content)
            await response.write(b"\r\n")
            results.append({"path": path})
        body = {"type": "sync", "status-code": 200, "status": "OK", "result": results}
        head = 'Content-Disposition: form-data; name="response"\r\nContent-Type: application/json'
        await response.write(
            f"--{boundary}\r\n{head}\r\n\r\n{json.dumps(body)}\r\n--{boundary}--\r\n".encode()
        )
        return response

    async def _write_files(self, request: web.Request) -> web.Response:
        if request.content_type == "multipart/form-data":
            return _answer(await self._receive_files(request))
        body = await request.json()
        action = body.get("action")
        if action == "make-dirs":
            operation, work, entries = "mkdir", files.make_folder, body.get("dirs") or []
        elif action == "remove":
            operation, work, entries = "remove", files.remove, body.get("paths") or []
        else:
            raise ApiError(f'invalid action "{action}"')
        return _answer(
            [_tried(entry["path"], operation, lambda e=entry: work(e)) for entry in entries]
        )

    async def _receive_files(self, request: web.Request) -> list[dict[str, Any]]:
        reader = await request.multipart()
        first: Any = await reader.next()
        if first is None or first.name != "request":
            raise ApiError('metadata field name must be "request"')
        body = json.loads(await first.read(decode=False))
        if body.get("action") != "write":
            raise ApiError(f'multipart action must be "write", got "{body.get("action")}"')
        specs = {spec["path"]: spec for spec in body.get("files") or []}
        results = {}
        while (part := await reader.next()) is not None:
            content = await part.read(decode=False)  # type: ignore[union-attr]
            # aiohttp takes the leading slash off a name; here it is the path.
            given = _FILENAME.search(part.headers.get("Content-Disposition", ""))
            path = urllib.parse.unquote(given[1]) if given else ""
            if path not in specs:
                raise ApiError(f'no metadata for path "{path}"')
            spec = specs[path]
            results[path] = _tried(
                path, "open", lambda s=spec, c=content: files.write(s, bytes(c))
            )
        for path in specs.keys() - results.keys():
            failure = {"message": "no file content", "kind": "generic-file-error"}
            results[path] = {"path": path, "error": failure}
        return [results[path] for path in specs]

    # Exec ------------------------------------------------------------------------------------

    async def _exec(self, request: web.Request) -> web.Response:
        body = await request.json()
        context = {}
        if name := body.get("service-context"):
            planned = self._daemon.plan.get("services", {})
            if name not in planned:
                raise ApiError(f'context service "{name}" not found')
            context = planned[name]
        execution = Execution(body, context, self._daemon.reaper)
        summary = f'Execute command "{body["command"][0]}"'
        change = self._daemon.changes.add("exec", summary, [("exec", summary)])
        task = change.tasks[0]
        self._executions[task.id] = execution

        async def run() -> None:
            try:
                await execution.run(change, task)
            finally:
                del self._executions[task.id]

        self._daemon.keep(asyncio.create_task(run()))
        result = {
            "task-id": task.id,
            "environment": execution.environment,
            "working-dir": execution.folder,
        }
        return _accepted(change, result)

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        execution = self._executions.get(request.match_info["task"])
        if execution is None:
            raise not_found(f'cannot find task with id "{request.match_info["task"]}"')
        return await execution.connect(request.match_info["name"], request)

    # Checks ----------------------------------------------------------------------------------

    async def _checks(self, request: web.Request) -> web.Response:
        level = request.query.get("level", "")
        if level not in ("", "alive", "ready"):
            raise ApiError('level must be "alive" or "ready"')
        found = [
            check
            for check in self._daemon.checks.find("", _many(request, "names"))
            if not level or check.config.get("level") == level
        ]
        return _answer([check.to_json() for check in found])

    async def _change_checks(self, request: web.Request) -> web.Response:
        body = await request.json()
        names, action = body.get("checks") or [], body.get("action")
        if action not in ("start", "stop"):
            raise ApiError(f'action "{action}" is unsupported')
        if not names:
            raise ApiError(f"no checks to {action} provided")
        checks = [self._check(name) for name in names]
        changed = []
        for check in checks:
            if check.active != (action == "start"):
                check.start() if action == "start" else check.stop()
                changed.append(check.name)
        return _answer({"changed": sorted(changed)})

    def _check(self, name: str) -> Any:
        try:
            return self._daemon.checks.all[name]
        except KeyError:
            raise ApiError(f"cannot find checks in plan: {name}", 404) from None

    async def _refresh_check(self, request: web.Request) -> web.Response:
        check = self._check((await request.json()).get("name", ""))
        error = await check.perform()
        return _answer({"info": check.to_json(), "error": error or ""})

    # Notices and warnings --------------------------------------------------------------------

    async def _notices(self, request: web.Request) -> web.Response:
        query = request.query
        user: int | None = self._user(request)
        for name in ("user-id", "users"):
            if name in query and self._level(request) != identities.ADMIN:
                raise ApiError(f'only admins may use the "{name}" filter', 403)
        if "users" in query:
            if "user-id" in query:
                raise ApiError('cannot use both "users" and "user-id" parameters')
            if query["users"] != "all":
                raise ApiError('invalid "users" filter: must be "all"')
            user = None
        elif "user-id" in query:
            user = int(query["user-id"])
        after = units.parse(query["after"]) if "after" in query else None
        types, keys = set(_many(request, "types")), set(_many(request, "keys"))
        timeout = units.seconds(query.get("timeout", "0"))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            found = self._daemon.notices.find(types=types, keys=keys, user=user, after=after)
            left = deadline - loop.time()
            if found or left <= 0:
                return _answer([notice.to_json() for notice in found])
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._daemon.notices.changed(), left)

    async def _add_notice(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("action") != "add":
            raise ApiError(f'invalid action "{body.get("action", "")}"')
        if body.get("type") != "custom":
            raise ApiError(
                f'invalid type "{body.get("type", "")}" (can only add "custom" notices)'
            )
        key = body.get("key", "")
        domain, slash, path = key.partition("/")
        if not slash or not path or "." not in domain:
            raise ApiError(f'invalid key "{key}" (must be in "example.com/path" format)')
        notice = self._daemon.notices.add(
            "custom", key, user=self._user(request), data=body.get("data"),
            repeat_after=body.get("repeat-after", ""),
        )  # fmt: skip
        return _answer({"id": notice.id})

    async def _notice(self, request: web.Request) -> web.Response:
        notice = self._daemon.notices.get(request.match_info["id"])
        if notice is None:
            raise not_found(f'cannot find notice with ID "{request.match_info["id"]}"')
        if notice.user not in (None, self._user(request)) and (
            self._level(request) != identities.ADMIN
        ):
            raise ApiError(f'not allowed to access notice with id "{notice.id}"', 403)
        return _answer(notice.to_json())

    async def _warnings(self, request: web.Request) -> web.Response:
        return _answer([])

    async def _warnings_okay(self, request: web.Request) -> web.Response:
        return _answer(0)

    # Identities and metrics ------------------------------------------------------------------

    async def _identities(self, request: web.Request) -> web.Response:
        known = self._daemon.identities.all
        return _answer({name: each.to_json(hidden=True) for name, each in known.items()})

    async def _change_identities(self, request: web.Request) -> web.Response:
        body = await request.json()
        self._daemon.identities.change(body.get("action", ""), body.get("identities") or {})
        return _answer(None)

    async def _metrics(self, request: web.Request) -> web.Response:
        lines = [
            "# HELP pebble_service_active Whether the service is currently active (1) or not (0)",
            "# TYPE pebble_service_active gauge",
        ]
        services = sorted(self._daemon.services.all.items())
        lines += [
            f'pebble_service_active{{service="{name}"}} {int(service.current == "active")}'
            for name, service in services
        ]
        lines += [
            "# HELP pebble_service_start_count Number of times the service has started",
            "# TYPE pebble_service_start_count counter",
            *(f'pebble_service_start_count{{service="{n}"}} {s.starts}' for n, s in services),
        ]
        checks = sorted(self._daemon.checks.all.items())
        lines += [
            "# HELP pebble_check_up Whether the health check is up (1) or not (0)",
            "# TYPE pebble_check_up gauge",
            *(f'pebble_check_up{{check="{n}"}} {int(c.status == "up")}' for n, c in checks),
        ]
        return web.Response(text="\n".join(lines) + "\n")


def _tried(path: str, operation: str, work: Callable[[], None]) -> dict[str, Any]:
    try:
        work()
    except (ApiError, OSError) as error:
        return {"path": path, "error": files.failure(error, operation)}
    return {"path": path}


def _log_line(time: Any, name: str, line: str) -> bytes:
    return (
        json.dumps({"time": units.text(time), "service": name, "message": line}) + "\n"
    ).encode()
