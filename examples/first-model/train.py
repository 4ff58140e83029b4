"""Trains two models on a real data set, logs both to MLflow, registers and promotes the better.

Speaks to MLflow over HTTP only: artifacts travel through the tracking server, so no S3 key is
needed here. Prints, as JSON, what a client of the served model needs to check it.

    python train.py http://127.0.0.1:5000
"""

from __future__ import annotations

import argparse
import json
import sys

import mlflow
from mlflow import MlflowClient
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NAME = "wine"
MODELS = {
    "logistic-regression": make_pipeline(
        StandardScaler(), LogisticRegression(C=0.05, max_iter=500)
    ),
    "random-forest": RandomForestClassifier(n_estimators=60, max_depth=5, random_state=7),
}


def main() -> int:
    """Trains, logs, registers; returns an exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tracking_uri", help="MLflow's URL, such as http://127.0.0.1:5000")
    mlflow.set_tracking_uri(parser.parse_args().tracking_uri)
    mlflow.set_experiment(NAME)
    data = load_wine()
    train_x, test_x, train_y, test_y = train_test_split(
        data.data, data.target, test_size=0.3, random_state=7, stratify=data.target
    )
    results = []
    for name, model in MODELS.items():
        with mlflow.start_run(run_name=name) as run:
            model.fit(train_x, train_y)
            loss = log_loss(test_y, model.predict_proba(test_x))
            mlflow.log_params({"kind": name, "rows": len(train_x)})
            mlflow.log_metrics(
                {"accuracy": accuracy_score(test_y, model.predict(test_x)), "log_loss": loss}
            )
            logged = mlflow.sklearn.log_model(
                model, name="model", serialization_format="cloudpickle"
            )
            results.append((loss, name, run.info.run_id, logged.model_uri, model))
    _, best, run_id, uri, model = min(results, key=lambda result: result[0])
    version = mlflow.register_model(uri, NAME)
    client = MlflowClient()
    client.set_registered_model_alias(NAME, "champion", version.version)
    champion = client.get_model_version_by_alias(NAME, "champion")
    json.dump(
        {
            "best": best,
            "run_id": run_id,
            "version": champion.version,
            "artifact_uri": client.get_model_version_download_uri(NAME, champion.version),
            "losses": {name: loss for loss, name, *_ in results},
            "inputs": test_x.tolist(),
            "expected": model.predict(test_x).tolist(),
        },
        sys.stdout,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
