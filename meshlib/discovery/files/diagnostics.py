"""Kinds of mistakes in a file of services, and the collector of one service's diagnostics.

SVC0xx: an error, something of the service is missing. SVC1xx: a warning. SVC2xx: good to know. The
meaning of a code never changes.
"""

from __future__ import annotations

from meshlib.discovery.files.sources import Tagged
from meshlib.labels.diagnostics import DiagnosticKind, show
from meshlib.model import Diagnostic, Severity
from meshlib.nearest_word import nearest

__all__ = [
    "BAD_ENDPOINT",
    "BAD_ENDPOINTS",
    "BAD_ENV_LINE",
    "BAD_FILE",
    "BAD_KEY",
    "BAD_LABEL",
    "BAD_LABELS",
    "BAD_LENIENT",
    "BAD_PROTOCOL",
    "BAD_PROXY_HEADER",
    "BAD_SERVICE",
    "BAD_STRATEGY",
    "BAD_VARIABLE",
    "CATALOGUE",
    "CONFLICT",
    "INACTIVE",
    "LABELS_DIFFER",
    "MAX_DIAGNOSTICS",
    "NO_ENDPOINTS",
    "NO_NAME",
    "OWN_ENDPOINT",
    "PORT_NOT_READ",
    "REPEATED_LABEL",
    "UNKNOWN_KEY",
    "FileDiagnostics",
    "show_value",
]

BAD_SERVICE = DiagnosticKind("SVC001", Severity.ERROR, "the service's entry cannot be read")
BAD_LABELS = DiagnosticKind("SVC002", Severity.ERROR, "`labels` is neither a mapping nor a list")
BAD_LABEL = DiagnosticKind(
    "SVC003", Severity.ERROR, "a label is not a string, or not of the form `key=value`"
)
BAD_ENDPOINTS = DiagnosticKind("SVC004", Severity.ERROR, "`endpoints` is not a list")
BAD_ENDPOINT = DiagnosticKind(
    "SVC005", Severity.ERROR, "an endpoint cannot be read; the others serve"
)
BAD_VARIABLE = DiagnosticKind(
    "SVC006",
    Severity.ERROR,
    "a label of a Compose file has a variable without a value, or no host because of an empty one",
)
BAD_PROXY_HEADER = DiagnosticKind(
    "SVC007",
    Severity.ERROR,
    "`proxy_protocol` is neither v1 nor v2; no PROXY protocol header is sent",
)
BAD_PROTOCOL = DiagnosticKind("SVC008", Severity.ERROR, "`protocol` is not h2c; HTTP/1.1 is spoken")
BAD_STRATEGY = DiagnosticKind(
    "SVC009",
    Severity.ERROR,
    "`strategy` is not known, or ignores weights that differ; the default serves",
)
BAD_FILE = DiagnosticKind(
    "SVC010",
    Severity.ERROR,
    "a file or service that `include`, `extends` or `label_file` names cannot be read",
)
CONFLICT = DiagnosticKind(
    "SVC011",
    Severity.ERROR,
    "a file and one that it includes have different services of one name; the first counts",
)
BAD_KEY = DiagnosticKind(
    "SVC012", Severity.ERROR, "a key of a Compose file has a value that Compose refuses"
)
BAD_LENIENT = DiagnosticKind("SVC013", Severity.ERROR, "`lenient` is neither true nor false")
OWN_ENDPOINT = DiagnosticKind(
    "SVC014", Severity.ERROR, "an endpoint is the gateway itself; the others serve"
)
UNKNOWN_KEY = DiagnosticKind("SVC101", Severity.WARNING, "a key is not known and ignored")
NO_ENDPOINTS = DiagnosticKind(
    "SVC102", Severity.WARNING, "a service with routes has no `endpoints`"
)
PORT_NOT_READ = DiagnosticKind(
    "SVC103", Severity.WARNING, "an entry of a Compose service's `ports` cannot be read"
)
REPEATED_LABEL = DiagnosticKind(
    "SVC104", Severity.WARNING, "a label stands twice in a list; the last one counts"
)
NO_NAME = DiagnosticKind(
    "SVC105",
    Severity.WARNING,
    "`network_mode` leaves a service with routes without a name on a network, and it has no "
    "`endpoints`",
)
BAD_ENV_LINE = DiagnosticKind(
    "SVC106", Severity.WARNING, "a line of a file of variables cannot be read"
)
LABELS_DIFFER = DiagnosticKind(
    "SVC201",
    Severity.INFO,
    "`labels` and `deploy.labels` differ in a routing label; `deploy.labels` counts",
)
INACTIVE = DiagnosticKind(
    "SVC202",
    Severity.INFO,
    "a service with routing labels is in no active profile, so that it is not routed",
)

CATALOGUE = (
    BAD_SERVICE,
    BAD_LABELS,
    BAD_LABEL,
    BAD_ENDPOINTS,
    BAD_ENDPOINT,
    BAD_VARIABLE,
    BAD_PROXY_HEADER,
    BAD_PROTOCOL,
    BAD_STRATEGY,
    BAD_FILE,
    CONFLICT,
    BAD_KEY,
    BAD_LENIENT,
    OWN_ENDPOINT,
    UNKNOWN_KEY,
    NO_ENDPOINTS,
    PORT_NOT_READ,
    REPEATED_LABEL,
    NO_NAME,
    BAD_ENV_LINE,
    LABELS_DIFFER,
    INACTIVE,
)

# A generated file that is wrong in one way is wrong so ten thousand times; who has mended twenty
# sees the next ones.
MAX_DIAGNOSTICS = 20
_MAX_KNOWN = 20  # keys that a hint lists


class FileDiagnostics:
    """Collector of what is wrong with one service of a file, 20 diagnostics at most; each names its
    place ("services.shop.endpoints[1]").
    """

    def __init__(self, service: str) -> None:
        self.service = service
        self.kept: list[Diagnostic] = []

    def add(self, kind: DiagnosticKind, place: str, message: str, hint: str) -> None:
        """Report `kind` at `place`; `hint` says what to write instead."""
        if len(self.kept) < MAX_DIAGNOSTICS:
            self.kept.append(
                Diagnostic(kind.code, kind.severity, self.service, place, message, hint)
            )

    def unknown_keys(self, found: object, known: tuple[str, ...], place: str) -> None:
        """Report the keys of the mapping `found` that are not `known`; those that begin with "x-"
        are anyone's own.
        """
        for key in found if isinstance(found, dict) else ():
            if len(self.kept) >= MAX_DIAGNOSTICS:
                return
            if key in known or (isinstance(key, str) and key.startswith("x-")):
                continue
            meant = nearest(key, known) if isinstance(key, str) else None
            hint = f"known are {', '.join(known)}"
            if meant or len(known) > _MAX_KNOWN:
                hint = f"did you mean {meant}?" if meant else "leave it out, or begin it with x-"
            self.add(UNKNOWN_KEY, place, f"the key {show_value(key)} is not known", hint)


def show_value(value: object) -> str:
    """A value of a document in short, for a message. Lists and mappings are only named: anchors
    make small files huge as text.
    """
    if isinstance(value, str):
        return show(value)
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, Tagged):
        return f"a value with the tag {show(value.tag, 40)}"
    if isinstance(value, int) and value.bit_length() > 64:
        return "a huge number"  # Python refuses to write out integers beyond 4300 digits
    return show(str(value))
