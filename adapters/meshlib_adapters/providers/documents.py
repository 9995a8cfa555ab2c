"""YAML documents, read as Compose reads them: by the rules of YAML 1.2 for what a text without
quotes is.

PyYAML goes by YAML 1.1, where `53:53` is the number 3233, `on` and `yes` are true, and `2026-01-01`
is a date. Here all of these are texts. What is left: null, booleans (true, false), integers
(decimal, octal with 0 or 0o, 0x, 0b), and floating point numbers.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from meshlib.discovery.files.sources import Tagged
from meshlib.errors import ConfigurationError

__all__ = ["load_document"]


def load_document(text: str | bytes, *, where: str = "YAML") -> object:
    """Load the one document in YAML `text`. Raises `ConfigurationError` with `where:line:column`
    for anything else.

    A key given twice in one mapping is an error: YAML's usual rule, that the last one silently
    wins, loses services. So is an empty file, because that is how a file looks while it is being
    written. A value with a tag of its own (`!reset`, `!override`) is a `Tagged`.
    """
    try:
        document: object = yaml.load(text, _ComposeLoader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise ConfigurationError(problem, where=place, hint="check the YAML there") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # Bytes that are not text, a tag that does not fit its value, endless nesting.
        raise ConfigurationError(
            f"is not YAML: {' '.join(str(error).split())}", where=where
        ) from None
    if document is None:
        raise ConfigurationError(
            "is empty", where=where, hint="write 'services: {}' for no services"
        )
    return document


_TAG: Final = "tag:yaml.org,2002:"
_MERGE: Final = f"{_TAG}merge"
_BOOLEANS: Final = {
    **dict.fromkeys(("true", "yes", "on", "y"), True),
    **dict.fromkeys(("false", "no", "off", "n"), False),
}
_INTEGER: Final = re.compile(r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9A-Fa-f_]+|[1-9][0-9_]*|0)\Z")
_FLOAT: Final = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z|[-+]?\.(?:inf|Inf|INF)\Z"
    r"|\.(?:nan|NaN|NAN)\Z"
)
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
_MANY_DIGITS: Final = 100  # Python refuses to read 4,300


class _ComposeLoader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping as it is written, which has each key once; the keys of "<<" come later."""
        node = super().compose_mapping_node(anchor)
        seen: set[object] = set()
        for key, _ in node.value:
            if key.tag != _MERGE and _name(key) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is here twice", key.start_mark
                )
            seen.add(_name(key))
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put in the keys of "<<" that the mapping has not; of several mappings there the first has
        precedence. (PyYAML takes the last, and of a key that was merged before, the wrong one.)
        """
        merged = [value for key, value in node.value if key.tag == _MERGE]
        node.value = own = [pair for pair in node.value if pair[0].tag != _MERGE]
        names = {_name(key) for key, _ in own}
        for value in merged:
            for mapping in value.value if isinstance(value, yaml.SequenceNode) else (value,):
                if not isinstance(mapping, yaml.MappingNode):
                    raise yaml.constructor.ConstructorError(
                        None, None, "only mappings can be merged by <<", mapping.start_mark
                    )
                self.flatten_mapping(mapping)
                own += [pair for pair in mapping.value if _name(pair[0]) not in names]
                names.update(_name(key) for key, _ in mapping.value)

    def tagged(self, node: yaml.Node) -> Tagged:
        """The value of a node as it would be without its tag."""
        value: object
        if isinstance(node, yaml.MappingNode):
            # The keys of "<<" come in, as in any mapping.
            value = self.construct_mapping(node, deep=True)
        elif isinstance(node, yaml.SequenceNode):
            value = self.construct_sequence(node, deep=True)
        else:
            plain = isinstance(node, yaml.ScalarNode) and node.style is None
            tag = self.resolve(  # type: ignore[no-untyped-call]
                yaml.ScalarNode, node.value, (plain, not plain)
            )
            value = self.construct_object(
                yaml.ScalarNode(tag, node.value, node.start_mark, node.end_mark)
            )
        return Tagged(node.tag, value)

    def boolean(self, node: yaml.ScalarNode) -> bool:
        """A boolean: those of YAML 1.2, and with the tag `!!bool` those of 1.1 too."""
        value = _BOOLEANS.get(node.value.lower())
        if value is None:
            raise _of_another_kind(node)
        return value

    def integer(self, node: yaml.ScalarNode) -> int | float:
        """An integer of 64 bits; a larger one is a floating point number."""
        text = node.value.replace("_", "")
        if not _INTEGER.match(text):
            raise _of_another_kind(node)
        sign, digits = (-1, text[1:]) if text[0] == "-" else (1, text.lstrip("+"))
        if len(digits) > _MANY_DIGITS:
            return self.floating(node)
        is_octal = digits[0] == "0" and digits[1:].isdigit()
        value = sign * (int(digits, 8) if is_octal else int(digits, 0))
        return value if _SMALLEST <= value <= _LARGEST else float(value)

    def floating(self, node: yaml.ScalarNode) -> float:
        """A floating point number."""
        text = node.value.replace("_", "").lower()
        try:
            return float(text.replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            raise _of_another_kind(node) from None


def _name(key: yaml.Node) -> object:
    return (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)


def _of_another_kind(node: yaml.ScalarNode) -> yaml.MarkedYAMLError:
    kind = node.tag.removeprefix(_TAG)
    return yaml.constructor.ConstructorError(
        None, None, f"{node.value[:60]!r} is not of the kind {kind}", node.start_mark
    )


for _kind, _pattern, _first in (
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), "tTfF"),
    ("int", _INTEGER, "-+0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
    ("merge", re.compile(r"<<\Z"), "<"),
    ("null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]),
):
    _ComposeLoader.add_implicit_resolver(f"{_TAG}{_kind}", _pattern, list(_first))
_ComposeLoader.add_constructor(f"{_TAG}bool", _ComposeLoader.boolean)
_ComposeLoader.add_constructor(f"{_TAG}int", _ComposeLoader.integer)
_ComposeLoader.add_constructor(f"{_TAG}float", _ComposeLoader.floating)
_ComposeLoader.add_constructor(None, _ComposeLoader.tagged)
