"""What can be counted of a gateway, summed over its processes, in Prometheus' text format.

`FAMILIES` says what there is; `RequestTally` makes changes of access records, `Totals` adds the changes of all processes up and
`render_text` writes them. Nothing here opens a socket, and nothing is done per request: records are folded in batches.
"""

from meshlib_adapters.metrics.catalogue import FAMILIES, Family
from meshlib_adapters.metrics.changes import Change, parse_changes, write_changes
from meshlib_adapters.metrics.exposition import CONTENT_TYPE, render_text
from meshlib_adapters.metrics.requests import RequestTally
from meshlib_adapters.metrics.totals import Totals

__all__ = ["CONTENT_TYPE", "FAMILIES", "Change", "Family", "RequestTally", "Totals", "parse_changes", "render_text", "write_changes"]
