"""Location of a redirect, from its rule and the target of a request (RFC 9110 10.2.2). Pure; knows
no routes.
"""

from __future__ import annotations

import re

from meshlib.model import RedirectRule

__all__ = ["location"]

_OWN_PATH = re.compile(rb"[/?#]")
# Characters that cannot be in a field or a URI (controls, space, `"<>\^`{|}`, eight-bit bytes), and
# those that a browser reads differently: a backslash is a slash to it. Percent signs stay: encoded
# text stays as it is.
_UNSAFE = re.compile(rb"[^!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]")


def location(rule: RedirectRule, target: bytes) -> bytes:
    """The Location for a request with this target (origin-form, or "*").

    With `keep_path`, path and query of the request follow the rule's host unchanged, when the rule
    has no path of its own ("/" alone is none); otherwise the rule's target stands alone. The
    authority is always the rule's, whatever the request's path looks like, and no byte that could
    end the field gets in. A target that is not a path counts as "/".
    """
    base = rule.target.encode()
    if rule.keep_path:
        own = _OWN_PATH.search(base, base.find(b"://") + 3)
        if own is None or base[own.start() :] == b"/":
            path = target.replace(b"#", b"%23") if target.startswith(b"/") else b"/"
            base = (base if own is None else base[:-1]) + path
    return _UNSAFE.sub(_escape, base)


def _escape(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]
