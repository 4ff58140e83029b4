"""Stand-in for Kubeflow Pipelines' persistence agent 2.16: it reports how Workflows do."""

import datetime
import json
import os
import sys

import stand_in
from kfp_client import RefusedError, Server
from kfp_compiler import RUN_ID

TOKEN = "/var/run/secrets/kubeflow/tokens/persistenceagent-sa-token"
WORKFLOWS = "/apis/argoproj.io/v1alpha1/workflows"
SCHEDULES = "/apis/kubeflow.org/v1beta1/scheduledworkflows"


class Agent:
    """Reports an object once for each of its versions.

    Args:
        server: the API server.
        seconds: for how long after its end a Workflow is reported.
    """

    def __init__(self, server, seconds):
        self._server, self._seconds = server, seconds
        self._told = {}

    def report(self, kind, path, objects, now):
        """Reports the objects that have changed."""
        seen = {}
        for each in objects:
            metadata = each["metadata"]
            uid, version = metadata["uid"], metadata["resourceVersion"]
            seen[uid] = version
            if self._told.get((kind, uid)) == version or self._is_over(each, now):
                continue
            try:
                self._server.call("POST", path, json.dumps(each))
            except RefusedError as error:
                stand_in.log(f"{metadata['namespace']}/{metadata['name']}: {error}")
                if ": 404:" not in str(error):
                    continue  # comes again with the next look
            self._told[kind, uid] = version
        self._told = {key: value for key, value in self._told.items() if key[0] != kind or
                      key[1] in seen}  # fmt: skip

    def _is_over(self, found, now):
        """Whether the server has kept its end, long ago."""
        labels = found["metadata"].get("labels") or {}
        ended = (found.get("status") or {}).get("finishedAt")
        if labels.get("pipeline/persistedFinalState") != "true" or not ended:
            return False
        age = now - datetime.datetime.fromisoformat(ended.replace("Z", "+00:00"))
        return age.total_seconds() >= self._seconds


def main():
    """Reports until it is ended."""
    given = stand_in.flags(
        {
            "logtostderr": False, "namespace": "", "ttlSecondsAfterWorkflowFinish": "604800",
            "numWorker": "2", "executionType": "Workflow", "logLevel": "info",
            "mlPipelineAPIServerName": "ml-pipeline", "mlPipelineServiceHttpPort": "8888",
            "mlPipelineServiceGRPCPort": "8887", "mlPipelineServiceTLSEnabled": False,
            "saTokenRefreshIntervalInSecs": "3600", "clientQPS": "5", "clientBurst": "10",
            "caCertPath": "",
        }
    )  # fmt: skip
    if not os.path.exists(TOKEN):
        sys.exit(f"persistence_agent: no token at {TOKEN}")
    address = f"{given['mlPipelineAPIServerName']}:{given['mlPipelineServiceHttpPort']}"
    agent = Agent(Server(address, TOKEN), int(given["ttlSecondsAfterWorkflowFinish"]))
    api = stand_in.Kubernetes()
    stand_in.log(f"stand-in for the persistence agent: reporting to {address}")
    for _ in api.changes_of((WORKFLOWS, RUN_ID.replace("/", "%2F")), SCHEDULES):
        for kind, path, query in (
            ("workflows", WORKFLOWS, f"?labelSelector={RUN_ID.replace('/', '%2F')}"),
            ("scheduledworkflows", SCHEDULES, ""),
        ):
            try:
                objects = api.call("GET", path + query)["items"]
            except stand_in.ApiError as error:
                stand_in.log(f"cannot list {kind}: {error}")
                continue
            now = datetime.datetime.now(datetime.timezone.utc)
            agent.report(kind, f"/apis/v2beta1/{kind}", objects, now)


if __name__ == "__main__":
    main()
