"""Scaling under load, by hand: all that answers through the gateway goes to three units and back.

    pytest -s tests/integration/load_scaling.py

It takes too long to be among the tests. REQUESTS in the environment is another number of requests.
"""

from __future__ import annotations

from typing import Any

import jubilant
from test_under_load import (  # noqa: F401 (fixtures)
    REQUESTS,
    all_answered,
    client,
    entrance,
    load,
    scale,
    token,
)

PATHS = {
    "mlflow": "/mlflow/health",
    "dashboard": "/",
    "dex": "/dex/.well-known/openid-configuration",
    "jupyter-ui": "/jupyter/",
    "volumes-ui": "/volumes/",
    "tensorboards-ui": "/tensorboards/",
    "models-ui": "/kserve-endpoints/",
    "katib-ui": "/katib/",
    "kfp-ui": "/pipeline/",
    "kfp-api": "/pipeline/apis/v2beta1/healthz",
}


def test_no_request_fails_while_applications_scale_to_three_and_back(
    stack: jubilant.Juju,
    load: Any,  # noqa: F811
):
    with load(REQUESTS, *PATHS.values()) as found:
        scale(stack, 3, *PATHS)
        scale(stack, 1, *PATHS)
    all_answered(found, REQUESTS)
