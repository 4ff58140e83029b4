"""Katib's early stopping by the median rule, in place of upstream's Python service.

A trial is stopped when its best value up to a step is worse than the median of what the trials
that succeeded had on average up to that step. Here the rule is made; the metrics collector beside
a trial watches for it and ends the trial.
"""

import concurrent.futures
import datetime
import importlib.util
import signal
import statistics
import sys
import threading

import grpc
import stand_in


def _messages():
    """Katib's messages, from its Python client; all else of the client takes seconds to import."""
    client = importlib.util.find_spec("kubeflow.katib")
    if client is None or not client.submodule_search_locations:
        sys.exit("the package kubeflow-katib is not there")
    sys.path.append(client.submodule_search_locations[0])
    return importlib.import_module("katib_api_pb2")


PORT = 6788
DEFAULTS = {"min_trials_required": 3, "start_step": 4}
TIMEOUT = 120


def settings(given):
    """The rule's numbers out of pairs of name and text. Raises ValueError with the reason."""
    found = dict(DEFAULTS)
    for name, text in given:
        if name not in found:
            raise ValueError(f"medianstop has no setting {name}: it has {', '.join(found)}")
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise ValueError(f"medianstop: {name} is a whole number from 1, not {text!r}")
        found[name] = int(text)
    return found


def average(values, start_step):
    """The mean of a trial's first values, or None where it has none."""
    first = values[:start_step]
    return statistics.fmean(first) if first else None


def threshold(averages, min_trials_required):
    """The median that a trial is measured by, or None while too few trials have succeeded."""
    return statistics.median(averages) if len(averages) >= min_trials_required else None


class MedianStop:
    """The calls of the service; what a trial had is asked for once."""

    def __init__(self, messages, kubernetes, namespace):
        self._messages, self._kubernetes, self._namespace = messages, kubernetes, namespace
        self._averages = {}
        self._lock = threading.Lock()

    def ValidateEarlyStoppingSettings(self, request, context):
        """Refuses what the rule does not know."""
        self._settings(request.early_stopping, context)
        return self._messages.ValidateEarlyStoppingSettingsReply()

    def GetEarlyStoppingRules(self, request, context):
        """One rule for the objective; none while too few trials have succeeded."""
        spec = request.experiment.spec
        numbers, metric = self._settings(spec.early_stopping, context), spec.objective
        name = metric.objective_metric_name
        with self._lock, grpc.insecure_channel(request.db_manager_address) as channel:
            for trial in request.trials:
                succeeded = trial.status.condition == trial.status.SUCCEEDED
                if succeeded and trial.name not in self._averages:
                    values = self._values(channel, trial.name, name)
                    self._averages[trial.name] = average(values, numbers["start_step"])
            known = [each for each in self._averages.values() if each is not None]
        limit = threshold(known, numbers["min_trials_required"])
        stand_in.log(f"median of {len(known)} trials: {limit}")
        reply = self._messages.GetEarlyStoppingRulesReply()
        if limit is not None:
            worse = "LESS" if metric.type == self._messages.MAXIMIZE else "GREATER"
            reply.early_stopping_rules.add(
                name=name,
                value=str(limit),
                comparison=getattr(self._messages, worse),
                start_step=numbers["start_step"],
            )
        return reply

    def SetTrialStatus(self, request, context):
        """Writes of a trial that it was stopped early."""
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        path = f"/apis/kubeflow.org/v1beta1/namespaces/{self._namespace}/trials/"
        path += request.trial_name
        condition = {
            "type": "EarlyStopped",
            "status": "True",
            "reason": "TrialEarlyStopped",
            "message": "Trial is early stopped",
            "lastUpdateTime": now,
            "lastTransitionTime": now,
        }
        try:
            trial = self._kubernetes.call("GET", path)
            conditions = [
                each
                for each in trial.get("status", {}).get("conditions", [])
                if each["type"] != condition["type"]
            ]
            body = {
                # a list is replaced as a whole: refuse if somebody else has changed it meanwhile
                "metadata": {"resourceVersion": trial["metadata"]["resourceVersion"]},
                "status": {"conditions": [*conditions, condition]},
            }
            self._kubernetes.merge(f"{path}/status", body)
        except stand_in.ApiError as error:
            busy = error.code == 409
            code = grpc.StatusCode.UNAVAILABLE if busy else grpc.StatusCode.INTERNAL
            context.abort(code, f"trial {request.trial_name}: {error}")
        stand_in.log(f"{request.trial_name} is stopped early")
        return self._messages.SetTrialStatusReply()

    def _settings(self, given, context):
        try:
            if given.algorithm_name != "medianstop":
                raise ValueError(f"early stopping {given.algorithm_name!r} is not medianstop")
            return settings([(each.name, each.value) for each in given.algorithm_settings])
        except ValueError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            raise

    def _values(self, channel, trial, metric):
        """What a trial reported of a metric, oldest first."""
        call = channel.unary_unary(
            f"/{self._messages.DESCRIPTOR.package}.DBManager/GetObservationLog",
            request_serializer=self._messages.GetObservationLogRequest.SerializeToString,
            response_deserializer=self._messages.GetObservationLogReply.FromString,
        )
        question = self._messages.GetObservationLogRequest(trial_name=trial, metric_name=metric)
        logs = call(question, timeout=TIMEOUT).observation_log.metric_logs
        return [float(each.metric.value) for each in logs]


def handler(messages, service):
    """The service's calls for gRPC."""
    described = messages.DESCRIPTOR.services_by_name["EarlyStopping"]
    calls = {
        each.name: grpc.unary_unary_rpc_method_handler(
            getattr(service, each.name),
            request_deserializer=getattr(messages, each.input_type.name).FromString,
            response_serializer=getattr(messages, each.output_type.name).SerializeToString,
        )
        for each in described.methods
    }
    return grpc.method_handlers_generic_handler(described.full_name, calls)


def main():
    """Serves until it is ended."""
    messages = _messages()
    with open(f"{stand_in.ACCOUNT}/namespace") as file:
        namespace = file.read().strip()
    service = MedianStop(messages, stand_in.Kubernetes(), namespace)
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(10))
    server.add_generic_rpc_handlers((handler(messages, service),))
    server.add_insecure_port(f"0.0.0.0:{PORT}")
    server.start()
    stand_in.log(f"serving on {PORT}")
    signal.signal(signal.SIGTERM, lambda *_: server.stop(1))
    server.wait_for_termination()


if __name__ == "__main__":
    main()
