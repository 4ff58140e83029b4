"""Stand-in for Kubeflow Pipelines' scheduled workflow controller 2.16: it starts recurring runs.

A schedule's maxConcurrency is not played: a run is started when it is due, whatever else runs.
"""

import datetime
import os
import sys
import zoneinfo

import stand_in
from croniter import croniter
from kfp_client import RefusedError, Server

TOKEN = "/var/run/secrets/kubeflow/tokens/scheduledworkflow-sa-token"
SCHEDULES = "/apis/kubeflow.org/v1beta1/scheduledworkflows"
UTC = datetime.timezone.utc
COUNTS = {"runs_started_total": 0, "runs_refused_total": 0}


def moment(text):
    """A time out of what Kubernetes writes, or None."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def following(trigger, last, zone):
    """When the schedule is due after `last`; None when never again. Raises ValueError."""
    cron, period = trigger.get("cronSchedule"), trigger.get("periodicSchedule")
    bounds = cron or period or {}
    start, end = moment(bounds.get("startTime")), moment(bounds.get("endTime"))
    last = max(last, start) if start else last
    if cron:  # six fields, the first of them seconds
        local = last.astimezone(zone)
        found = croniter(cron["cron"], local, second_at_beginning=True).get_next(datetime.datetime)
    elif period:
        found = last + datetime.timedelta(seconds=int(period["intervalSecond"]))
    else:
        return None
    return None if end and found > end else found.astimezone(UTC)


def due(schedule, now, zone):
    """For when a run has to be started now, and when the next one is due; each may be None."""
    spec, metadata = schedule["spec"], schedule["metadata"]
    triggered = (schedule.get("status") or {}).get("trigger") or {}
    last = moment(triggered.get("lastTriggeredTime")) or moment(metadata["creationTimestamp"])
    found = following(spec.get("trigger") or {}, last, zone)
    if not spec.get("enabled") or found is None or found > now:
        return None, found
    after = following(spec["trigger"], found, zone)
    while spec.get("noCatchup") and after and after <= now:
        found, after = after, following(spec["trigger"], after, zone)
    return found, after


def text(time):
    """A time as Kubernetes writes it."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Controller:
    """Starts what is due."""

    def __init__(self, api, server, zone):
        self._api, self._server, self._zone = api, server, zone

    def look(self, schedule, now):
        """One schedule. Raises ApiError."""
        metadata, spec = schedule["metadata"], schedule["spec"]
        where = f"{metadata['namespace']}/{metadata['name']}"
        try:
            time, after = due(schedule, now, self._zone)
        except (ValueError, KeyError, TypeError) as error:
            stand_in.log(f"{where}: its trigger cannot be read: {error}")
            return
        if time is None:
            return
        triggered = (schedule.get("status") or {}).get("trigger") or {}
        index = int(triggered.get("lastIndex") or 0) + 1
        try:
            self._server.call("POST", "/apis/v2beta1/runs", self._run(schedule, index))
            COUNTS["runs_started_total"] += 1
        except RefusedError as error:
            COUNTS["runs_refused_total"] += 1
            stand_in.log(f"{where}: run {index} is not started: {error}")
        change = {"lastTriggeredTime": text(time), "lastIndex": index}
        if after:
            change["nextTriggeredTime"] = text(after)
        namespaced = SCHEDULES.replace(
            "scheduledworkflows", f"namespaces/{metadata['namespace']}/scheduledworkflows"
        )
        self._api.merge(f"{namespaced}/{metadata['name']}", {"status": {"trigger": change}})
        stand_in.log(f"{where}: run {index} for {text(time)}, {spec['pipelineName']}")

    @staticmethod
    def _run(schedule, index):
        metadata, spec = schedule["metadata"], schedule["spec"]
        workflow = spec.get("workflow") or {}
        parameters = {
            each["name"]: stand_in.json.loads(each["value"])
            for each in workflow.get("parameters") or []
        }
        reference = {
            key: spec[name]
            for key, name in (
                ("pipeline_id", "pipelineId"), ("pipeline_version_id", "pipelineVersionId")
            )
            if spec.get(name)
        }  # fmt: skip
        return {
            "display_name": f"{metadata['name']}-{index}",
            "experiment_id": spec["experimentId"],
            "recurring_run_id": metadata["uid"],
            "service_account": spec.get("serviceAccount") or "",
            "runtime_config": {
                "parameters": parameters,
                "pipeline_root": workflow.get("pipelineRoot") or "",
            },
            **({"pipeline_version_reference": reference} if reference else {}),
        }


class Metrics(stand_in.Handler):
    """The counters, as Prometheus reads them."""

    def do_GET(self):
        lines = "".join(f"# TYPE {name} counter\n{name} {n}\n" for name, n in COUNTS.items())
        known = self.path == "/metrics"
        self.answer(200 if known else 404, lines if known else "", "text/plain")


def main():
    """Works until it is ended."""
    given = stand_in.flags(
        {
            "logtostderr": False, "namespace": "", "logLevel": "", "clientQPS": "5",
            "clientBurst": "10", "recurringRunResyncIntervalSeconds": "30",
            "metricsPort": "9090", "mlPipelineAPIServerName": "ml-pipeline",
            "mlPipelineServiceGRPCPort": "8887", "mlPipelineServiceTLSEnabled": False,
            "caCertPath": "",
        }
    )  # fmt: skip
    if not os.path.exists(TOKEN):
        sys.exit(f"controller: no token at {TOKEN}")
    try:
        zone = zoneinfo.ZoneInfo(os.environ.get("CRON_SCHEDULE_TIMEZONE") or "UTC")
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        sys.exit(f"controller: CRON_SCHEDULE_TIMEZONE: {error}")
    address = f"{given['mlPipelineAPIServerName']}:{given['mlPipelineServiceGRPCPort']}"
    api = stand_in.Kubernetes()
    controller = Controller(api, Server(address, TOKEN), zone)
    stand_in.serve(int(given["metricsPort"]), Metrics)
    stand_in.log(f"stand-in for the scheduled workflow controller: asking {address}")
    pause = min(int(given["recurringRunResyncIntervalSeconds"]), 5)
    for _ in api.changes_of(SCHEDULES, seconds=pause):
        try:
            found = api.call("GET", SCHEDULES)["items"]
        except stand_in.ApiError as error:
            stand_in.log(f"cannot list schedules: {error}")
            continue
        for each in found:
            try:
                controller.look(each, datetime.datetime.now(UTC))
            except stand_in.ApiError as error:
                if error.code != 409:
                    stand_in.log(f"{each['metadata']['name']}: {error}")


if __name__ == "__main__":
    main()
