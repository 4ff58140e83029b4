"""Stand-in for File Browser 2: the files of a folder, to look at, fetch, upload and delete.

Settings are variables: FB_ADDRESS, FB_PORT, FB_BASEURL, FB_ROOT. What changes files needs the
header X-Auth, which no other site's page can have a browser send.
"""

import html
import os
import shutil
import sys
import urllib.parse
from http.server import ThreadingHTTPServer
from pathlib import Path

import stand_in

ROOT = "/srv"
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Files</title>
<style>body{{font:16px sans-serif;margin:2em auto;max-width:50em}}small{{color:#666}}</style>
</head><body><h1>{path}</h1><ul>{rows}</ul><input type="file" id="file">
<p id="message" role="alert"></p><p><small>stand-in for File Browser</small></p><script>
async function change(method, path, body) {{
  const answer = await fetch(path, {{method, body, headers: {{"X-Auth": "page"}}}});
  if (answer.ok) location.reload();
  else document.getElementById("message").textContent = await answer.text();
}}
const folder = "{api}";
document.getElementById("file").onchange = (event) => {{
  const file = event.target.files[0];
  change("POST", folder + encodeURIComponent(file.name), file);
}};
for (const each of document.querySelectorAll("button"))
  each.onclick = () => confirm("Delete it?") && change("DELETE", each.value);
</script></body></html>"""
ROW = '<li><a href="{link}">{name}</a> <button value="{api}">Delete</button></li>'


class Files(stand_in.Handler):
    """The page and the part of upstream's API that changes files."""

    root: Path
    base: str

    def do_GET(self):
        path = self.wanted()
        if path == "/health":
            self.answer(200, {"status": "OK"})
            return
        found = self.inside(path)
        if found is None or not found.exists():
            self.answer(404, "404 Not Found", "text/plain")
        elif found.is_dir():
            self.answer(200, self.page(found), "text/html; charset=utf-8")
        else:
            self.send(found)

    def do_POST(self):
        self.change(self.write)

    def do_DELETE(self):
        self.change(self.delete)

    def wanted(self):
        """The path below the base, which the gateway may have taken off."""
        path = urllib.parse.unquote(self.path.partition("?")[0])
        return "/" + path.removeprefix(self.base).lstrip("/")

    def inside(self, path):
        """The file; None where it is outside of the folder."""
        found = (self.root / path.lstrip("/")).resolve()
        return found if found.is_relative_to(self.root) else None

    def change(self, action):
        """Changes a file; the connection ends, as a body may be left."""
        self.close_connection = True
        path = self.wanted()
        found = self.inside(path.removeprefix("/api/resources"))
        if not self.headers.get("X-Auth"):
            self.answer(401, "401 Unauthorized", "text/plain")
        elif not path.startswith("/api/resources/") or found in (None, self.root):
            self.answer(404, "404 Not Found", "text/plain")
        else:
            try:
                action(found)
            except (OSError, ValueError) as error:
                self.answer(409, f"409 Conflict: {error}", "text/plain")
            else:
                self.answer(200, "200 OK", "text/plain")

    def write(self, file):
        left = int(self.headers.get("Content-Length") or 0)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as opened:
            while left > 0:
                part = self.rfile.read(min(left, 1 << 16))
                if not part:
                    raise ValueError("the upload ended early")
                opened.write(part)
                left -= len(part)

    def delete(self, file):
        if file.is_dir():
            shutil.rmtree(file)
        else:
            file.unlink()

    def send(self, file):
        """Sends a file to be kept: a page in it must not run as if it were ours."""
        with file.open("rb") as opened:
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Disposition", "attachment")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Content-Length", str(os.fstat(opened.fileno()).st_size))
            self.end_headers()
            shutil.copyfileobj(opened, self.wfile)

    def page(self, folder):
        path = "/" if folder == self.root else f"/{folder.relative_to(self.root)}/"
        shown, quoted = html.escape(path), urllib.parse.quote(path)
        rows = ""
        for each in sorted(folder.iterdir()):
            name = each.name + ("/" if each.is_dir() else "")
            link = quoted + urllib.parse.quote(name)
            rows += ROW.format(
                link=f"{self.base}{link[1:]}",
                api=f"{self.base}api/resources{link}",
                name=html.escape(name),
            )
        return PAGE.format(path=shown, api=f"{self.base}api/resources{quoted}", rows=rows)


def main():
    """Serves until it is ended."""
    if sys.argv[1:]:
        sys.exit(f"Error: unknown flag: {sys.argv[1]}")
    Files.root = Path(os.environ.get("FB_ROOT", ROOT)).resolve()
    Files.base = os.environ.get("FB_BASEURL", "").rstrip("/") + "/"
    address = (os.environ.get("FB_ADDRESS", ""), int(os.environ.get("FB_PORT", "80")))
    server = ThreadingHTTPServer(address, Files)
    stand_in.log(f"stand-in for File Browser: listening on port {address[1]}")
    server.serve_forever()


if __name__ == "__main__":
    main()
