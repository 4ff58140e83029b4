"""Asks a served model for predictions over HTTP (Open Inference Protocol v2), stdlib only.

python predict.py http://127.0.0.1:8080 wine < inputs.json
"""

from __future__ import annotations

import json
import sys
import urllib.request


def predict(url: str, name: str, rows: list[list[float]]) -> list[int]:
    """Returns the model's answer for each row.

    Args:
        url: the predictor's URL, without a path.
        name: the InferenceService's name, which is the model's.
        rows: one list of features for each prediction.

    Raises:
        urllib.error.URLError: the predictor did not answer, or refused.
    """
    tensor = {
        "name": "predict",
        "shape": [len(rows), len(rows[0])],
        "datatype": "FP64",
        "data": rows,
    }
    request = urllib.request.Request(
        f"{url}/v2/models/{name}/infer",
        json.dumps({"inputs": [tensor]}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["outputs"][0]["data"]


if __name__ == "__main__":
    print(json.dumps(predict(sys.argv[1], sys.argv[2], json.load(sys.stdin))))
