"""The style sheet and the script of the admin page, and the policy that allows them and nothing else.

`theme.css` is the look of the pages around the library: the repository's pages share it, and a test there
keeps the copies equal.
"""

import base64
import hashlib
from pathlib import Path

_HERE = Path(__file__).parent

SCRIPT = (_HERE / "page.js").read_text()
_DIGEST = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
#: https://www.w3.org/TR/CSP3/: the script above and no other; the styles stand in the page.
POLICY = (
    f"default-src 'none'; script-src 'sha256-{_DIGEST}'; style-src 'unsafe-inline'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
STYLE = (
    (_HERE / "theme.css").read_text()
    + """
:root { --page: 1080px; }
main { padding-block: 1.5rem 3rem; }
.bar h1 { font-size: var(--text-2xl); }
h1 small { font-weight: 400; font-size: var(--text-l); color: var(--soft); }
.nav { margin-left: auto; }
section { margin-top: 1rem; }
section:first-child { margin-top: 0; }
h2 {
  font-size: var(--text-l); margin-bottom: .6rem;
  display: flex; flex-wrap: wrap; gap: .1rem .6rem; align-items: baseline;
}
h2 span { font-weight: 400; letter-spacing: 0; color: var(--soft); font-size: var(--text-s); }
.table th, .table td { padding: .4rem .65rem; text-align: right; white-space: nowrap; }
.table td { border-top: 1px solid var(--line); }
.table th:first-child, .table td:first-child { text-align: left; padding-left: 0; }
.share {
  display: inline-block; width: 120px; height: 8px; border-radius: 4px;
  background: var(--raised); margin-right: .5rem; vertical-align: middle;
}
.share i { display: block; height: 8px; border-radius: 4px; background: var(--brand); }
.none { color: var(--soft); }
#pause[aria-pressed=true] { border-color: var(--brand); color: var(--brand); }
.stale #state { opacity: .6; }
"""
)
