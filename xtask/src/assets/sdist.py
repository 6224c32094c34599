"""sdist.py NAME==VERSION: downloads the source archive of a Python package into the current folder.

`pip download` runs a source archive's own code to learn its dependencies; this script only fetches the file.
"""

import html
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

name, version = sys.argv[1].split("==")
index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
try:
    with urllib.request.urlopen(f"{index}/{name}/", timeout=60) as page:
        links = re.findall(r'href="([^"]+)"', page.read(10 << 20).decode())
    file = f"{name}-{version}.tar.gz"
    found = [link for link in map(html.unescape, links) if urllib.parse.urlsplit(link).path.endswith(f"/{file}")]
    if not found:
        raise SystemExit(f"{name}: the index has no {file}")
    with urllib.request.urlopen(urllib.parse.urljoin(f"{index}/{name}/", found[0]), timeout=60) as source:
        content = source.read(100 << 20)
except urllib.error.HTTPError as error:
    raise SystemExit(f"{name}: {error}")
except OSError as error:
    raise SystemExit(f"error: connection-failed: {error}")
with open(file, "wb") as target:
    target.write(content)
