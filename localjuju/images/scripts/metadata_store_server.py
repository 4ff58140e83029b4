"""The gRPC front of ML Metadata's store, in place of upstream's C++ one.

The store below it is upstream's own library, from the wheel ml-metadata: its schema, its SQL, its
errors. The wheel does not have three of the service's calls; they answer UNIMPLEMENTED.
"""

import concurrent.futures
import signal
import sys
import threading
from pathlib import Path

import grpc
from google.protobuf import text_format
from ml_metadata.metadata_store.pywrap import (  # pyright: ignore[reportMissingImports]: its image
    metadata_store_extension,
)
from ml_metadata.proto import (  # pyright: ignore[reportMissingImports]
    metadata_store_pb2,
    metadata_store_service_pb2,
)

library = metadata_store_extension.metadata_store

SERVICE = metadata_store_service_pb2.DESCRIPTOR.services_by_name["MetadataStoreService"]
THREADS = 8
_DATABASE = ("host", "port", "database", "user", "password")
FLAGS = {
    "grpc_host": "0.0.0.0",
    "grpc_port": "8080",
    "grpc_channel_arguments": "",
    "enable_database_upgrade": "false",
    "metadata_source_config_type": "default",
    "metadata_store_server_config_file": "",
    **{f"mysql_config_{name}": "" for name in _DATABASE},
}


def flags(argv):
    """The flags' values, by name. Ends the program at one that is not known."""
    found = dict(FLAGS)
    for word in argv:
        name, _, value = word.lstrip("-").partition("=")
        if not word.startswith("--") or name not in found:
            sys.exit(f"ERROR: unknown command line flag '{name}'")
        found[name] = value
    return found


def channel_options(text):
    """gRPC's options out of `name=number,…`. Raises ValueError."""
    pairs = (each.partition("=") for each in text.split(",") if each)
    return [(name, int(number)) for name, _, number in pairs]


def configuration(given):
    """The MetadataStoreServerConfig that the flags make or name: a file goes before the others."""
    config = metadata_store_pb2.MetadataStoreServerConfig()
    if given["metadata_store_server_config_file"]:
        text_format.Parse(Path(given["metadata_store_server_config_file"]).read_text(), config)
        return config
    if given["metadata_source_config_type"] == "config_file":
        raise ValueError("Unable to construct server config using config file.")
    mysql = config.connection_config.mysql
    mysql.host, mysql.port = given["mysql_config_host"], int(given["mysql_config_port"] or 3306)
    mysql.database = given["mysql_config_database"]
    mysql.user, mysql.password = given["mysql_config_user"], given["mysql_config_password"]
    upgrade = given["enable_database_upgrade"] == "true"
    config.migration_options.enable_upgrade_migration = upgrade
    return config


class Store:
    """The library; it keeps one connection and is not for threads, so each has its own."""

    def __init__(self, config):
        self._config = config.connection_config
        self._local = threading.local()
        self._create(
            config.migration_options
        )  # makes the schema; it raises where the database does not answer

    def _create(self, options):
        self._local.store = library.CreateMetadataStore(
            self._config.SerializeToString(), options.SerializeToString()
        )
        return self._local.store

    def _reconnect(self, context):
        try:
            return self._create(metadata_store_pb2.MigrationOptions())
        except Exception as error:  # the library's own classes have no common one
            context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

    def call(self, method, request, context):
        """The method's answer, serialized."""
        if not hasattr(library, method):
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{method} is not in this stand-in")
        store = getattr(self._local, "store", None) or self._reconnect(context)
        answer, message, code = getattr(library, method)(store, request)
        if code == grpc.StatusCode.INTERNAL.value[0]:  # a lost connection is one; begin anew
            self._local.store = None
        if code:
            print(f"{method}: {message.decode(errors='replace')}", flush=True)
            status = next(each for each in grpc.StatusCode if each.value[0] == code)
            context.abort(status, message.decode(errors="replace"))
        return answer


def handler(store):
    """Every call of the service; requests and answers stay serialized."""

    def method(name):
        def answer(request, context):
            return store.call(name, request, context)

        return grpc.unary_unary_rpc_method_handler(answer)

    calls = {each.name: method(each.name) for each in SERVICE.methods}
    return grpc.method_handlers_generic_handler(SERVICE.full_name, calls)


def main():
    """Serves until it is ended."""
    given = flags(sys.argv[1:])
    try:
        options = channel_options(given["grpc_channel_arguments"])
        store = Store(configuration(given))
    except Exception as error:
        sys.exit(f"metadata_store_server: {' '.join(str(error).split())}")
    pool = concurrent.futures.ThreadPoolExecutor(THREADS)
    server = grpc.server(pool, options=options)
    server.add_generic_rpc_handlers((handler(store),))
    server.add_insecure_port(f"{given['grpc_host']}:{given['grpc_port']}")
    server.start()
    print(f"Server listening on {given['grpc_host']}:{given['grpc_port']}", flush=True)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
    server.stop(2).wait()


if __name__ == "__main__":
    main()
