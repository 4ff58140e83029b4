"""What the stand-ins share that answer admission reviews over TLS."""

import base64
import http.server
import json
import os
import socket
import ssl
import threading
import time

from stand_in import log


def patched(**parts):
    """The part of a review's response that replaces fields of the object, by their names."""
    patch = [{"op": "replace", "path": f"/{name}", "value": each} for name, each in parts.items()]
    encoded = base64.b64encode(json.dumps(patch).encode()).decode()
    return {"patchType": "JSONPatch", "patch": encoded}


class Server(http.server.ThreadingHTTPServer):
    """Shakes hands in the connection's own thread, so that nobody holds up the others."""

    tls: ssl.SSLContext
    request_queue_size = 128

    def finish_request(self, request, client_address):
        assert isinstance(request, socket.socket)
        request.settimeout(30)
        try:
            with self.tls.wrap_socket(request, server_side=True) as secured:
                super().finish_request(secured, client_address)
        except OSError as error:
            log(f"connection of {client_address[0]}: {error}")


def follow(files, load):
    """Loads the certificate again when its files have changed; a pair that is half new, later."""
    known = [os.stat(file).st_mtime_ns for file in files]
    while True:
        time.sleep(1)
        try:
            found = [os.stat(file).st_mtime_ns for file in files]
            if found != known:
                load(*files)
                known = found
                log("certificate loaded again")
        except (OSError, ssl.SSLError) as error:
            log(f"certificate not loaded: {error}")


def serve(port, handler, certificate, key):
    """Serves until the program is ended; follows the certificate. Raises OSError."""
    Server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = (certificate, key)
    Server.tls.load_cert_chain(*files)
    threading.Thread(target=follow, args=(files, Server.tls.load_cert_chain), daemon=True).start()
    Server(("", port), handler).serve_forever()
