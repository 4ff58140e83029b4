"""What a data scientist does with the unchanged client of the model registry.

It runs in a Python that has the client. One JSON document on standard input: `url`, the gateway's;
`port`, a port of this host that leads there; files with the gateway's `ca` and a `token`; and
`do`, one of the functions below, with its `arguments`. What that returns is printed as JSON.
"""

import json
import pathlib
import socket
import sys
import urllib.parse

from model_registry import (  # pyright: ignore[reportMissingImports]: in the Python that runs it
    ModelRegistry,
)


def register(registry, name, version, uri, properties):
    """Registers a version of a model, and the model where there is none yet."""
    registry.register_model(
        name, uri, version=version, model_format_name="onnx", model_format_version="1",
        metadata=properties,
    )  # fmt: skip
    return look(registry, name, version)


def look(registry, name, version):
    """What is known of a version."""
    model = registry.get_registered_model(name)
    if model is None:
        return None
    found = registry.get_model_version(name, version)
    return {
        "owner": model.owner,
        "versions": [each.name for each in registry.get_model_versions(name)],
        "properties": found.custom_properties,
        "uri": registry.get_model_artifact(name, version).uri,
    }


def main():
    """Does what is asked."""
    given = json.loads(sys.stdin.read())
    place = urllib.parse.urlsplit(given["url"])
    resolve = socket.getaddrinfo

    def here(host, *rest, **more):  # as if DNS led here: the certificate has to be of the name
        return resolve("127.0.0.1" if host == place.hostname else host, *rest, **more)

    socket.getaddrinfo = here
    registry = ModelRegistry(
        f"https://{place.hostname}", given["port"], author="ann", custom_ca=given["ca"],
        user_token=pathlib.Path(given["token"]).read_text().strip(),
    )  # fmt: skip
    do = {"register": register, "look": look}[given["do"]]
    print(json.dumps(do(registry, **given["arguments"])))


if __name__ == "__main__":
    main()
