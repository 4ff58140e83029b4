"""The API server's command and its environment.

Its source reads each key of config.json from the environment, too: upper case, dots as
underscores. config.json and the samples are the image's own, in /config and /samples.
"""

from __future__ import annotations

from charmed_mlops import Address, pipelines
from charmed_mlops.interfaces import mysql, s3
from charmed_mlops.interfaces.mysql import Credentials
from charmed_mlops.interfaces.s3 import Bucket

RPC_PORT = 8886
"""Where the program itself speaks gRPC: runs' pods get to GRPC_PORT, where the front answers."""


NO_SAMPLES = ("/tmp/sample_config.json", '{"pipelines": [], "loadSamplesOnRestart": false}\n')
"""A list of samples with none, which the server insists on: its path and its text."""


def command(level: str, *, samples: bool) -> str:
    """The image's own command, with another port for gRPC."""
    listed = "/config/sample_config.json" if samples else NO_SAMPLES[0]
    return (
        f"/bin/apiserver --config=/config --sampleconfig={listed}"
        f" -logtostderr=true --logLevel={level} --rpcPortFlag=:{RPC_PORT}"
        f" --httpPortFlag=:{pipelines.HTTP_PORT}"
    )


def database(found: Credentials) -> dict[str, str]:
    """How to reach the database; the server reads no shorter names than these.

    With the parameter `tls` its driver checks certificate and host name against Go's system roots:
    go-sql-driver/mysql 1.9.
    """
    tls = {"DBCONFIG_MYSQLCONFIG_EXTRAPARAMS": '{"tls": "true"}'}
    return {
        "DBDRIVERNAME": "mysql",
        "DBCONFIG_MYSQLCONFIG_USER": found.username,
        "DBCONFIG_MYSQLCONFIG_PASSWORD": found.password,
        "DBCONFIG_MYSQLCONFIG_HOST": found.host,
        "DBCONFIG_MYSQLCONFIG_PORT": str(found.port),
        "DBCONFIG_MYSQLCONFIG_DBNAME": found.database,
        "DBCONFIG_MYSQLCONFIG_GROUPCONCATMAXLEN": "4194304",
        "DBCONFIG_CONMAXLIFETIME": "120s",
        **(tls if found.ca else {}),
    }


def store(bucket: Bucket) -> dict[str, str]:
    """How to reach the bucket, where compiled pipelines are kept."""
    at = pipelines.endpoint(bucket)
    # the folder is `pipelines` by the image's own config.json
    below = {"OBJECTSTORECONFIG_PIPELINEPATH": f"{bucket.path}/pipelines"}
    return {
        "OBJECTSTORECONFIG_HOST": at.host,
        "OBJECTSTORECONFIG_PORT": str(at.port),
        "OBJECTSTORECONFIG_SECURE": str(at.secure).lower(),
        "OBJECTSTORECONFIG_REGION": bucket.region,
        "OBJECTSTORECONFIG_BUCKETNAME": bucket.bucket,
        "OBJECTSTORECONFIG_ACCESSKEY": bucket.access_key,
        "OBJECTSTORECONFIG_SECRETACCESSKEY": bucket.secret_key,
        **(below if bucket.path else {}),
    }


def roots(database: Credentials, bucket: Bucket) -> dict[str, str]:
    """Whom the server trusts beside the roots of its image, where it was told of a CA.

    Go's system roots are the image's own file and what lies in SSL_CERT_DIR: crypto/x509.
    """
    told = [(mysql.CA_FOLDER, database.ca), (s3.CA_FOLDER, bucket.ca)]
    folders = [folder for folder, ca in told if ca]
    return {"SSL_CERT_DIR": ":".join(["/etc/ssl/certs", *folders])} if folders else {}


def visualization(found: Address | None) -> dict[str, str]:
    """Where visualizations are made. Without a value the server aborts, so there is always one.

    For a request that names a namespace, the server of 2.16 asks http://NAME.NAMESPACE:PORT, and
    aborts at the first such request if one is not set. One server makes them for all namespaces,
    so NAME ends where a query begins, and the rest is a query that nobody reads. Source:
    getVisualizationServiceURL in backend/src/apiserver/server/visualization_server.go.
    """
    host, port = (found.host, found.port) if found else ("localhost", 9)
    return {
        "VISUALIZATIONSERVICE_NAME": f"{host}:{port}/?",
        "VISUALIZATIONSERVICE_PORT": str(port),
        "ML_PIPELINE_VISUALIZATIONSERVER_SERVICE_HOST": host,
        "ML_PIPELINE_VISUALIZATIONSERVER_SERVICE_PORT": str(port),
    }


def audience(found: str) -> dict[str, str]:
    """Whom tokens have to be for. Juju's pods can have no token but the API server's."""
    return {"TOKEN_REVIEW_AUDIENCE": found} if found else {}
