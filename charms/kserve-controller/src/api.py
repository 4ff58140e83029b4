"""Reads KServe's objects with the unit's own ServiceAccount; no Kubernetes client needed."""

from __future__ import annotations

import json
import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from charmed_mlops import ActionFailed

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT_SECONDS = 10


def items(path: str) -> list[dict[str, Any]]:
    """The objects of a list such as `/apis/serving.kserve.io/v1beta1/inferenceservices`.

    Raises:
        ActionFailed: the API server says no or nothing.
    """
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    token = (_ACCOUNT / "token").read_text().strip()
    request = urllib.request.Request(
        f"https://{host}:{port}{path}", headers={"Authorization": f"Bearer {token}"}
    )
    context = ssl.create_default_context(cafile=str(_ACCOUNT / "ca.crt"))
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS, context=context) as answer:
            return json.load(answer)["items"]
    except urllib.error.HTTPError as error:
        raise ActionFailed(f"the Kubernetes API answers {error.code} to {path}") from None
    except OSError as error:
        raise ActionFailed(f"the Kubernetes API does not answer: {error}") from None


def inference_services(namespace: str) -> list[dict[str, str]]:
    """Name, namespace, whether ready, URL and why not, of every InferenceService."""
    where = f"/namespaces/{namespace}" if namespace else ""
    return [
        summary(item)
        for item in items(f"/apis/serving.kserve.io/v1beta1{where}/inferenceservices")
    ]


def summary(item: dict[str, Any]) -> dict[str, str]:
    """One InferenceService in a few words."""
    status = item.get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or []}
    ready = conditions.get("Ready", {})
    return {
        "namespace": item["metadata"]["namespace"],
        "name": item["metadata"]["name"],
        "ready": ready.get("status", "Unknown"),
        "url": status.get("url", ""),
        "reason": ready.get("message") or ready.get("reason", ""),
    }


def runtimes() -> list[dict[str, str]]:
    """Name, formats and image of every serving runtime of the cluster."""
    return [
        {
            "name": item["metadata"]["name"],
            "formats": ",".join(
                sorted({each["name"] for each in item["spec"].get("supportedModelFormats") or []})
            ),
            "image": item["spec"]["containers"][0].get("image", ""),
        }
        for item in items("/apis/serving.kserve.io/v1alpha1/clusterservingruntimes")
    ]
