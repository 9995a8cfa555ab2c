"""The commands that Python sources start, read from their syntax trees.

Found are the first words of what is handed to `subprocess`, asyncio's `create_subprocess_exec` and
`shutil.which`, also through functions that only pass their parameter on; what `nsenter` and the
like run in turn; and the commands of a `sh -c` text. Words that are only known when the program
runs (a path that was looked up, a container's command) are not found.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = ["commands_in", "sources_under"]

# The name of what is called, and the position of the command among its arguments.
_STARTERS: Final = {
    "subprocess": dict.fromkeys(["run", "Popen", "call", "check_call", "check_output"], 0),
    "asyncio": {"create_subprocess_exec": 0, "create_subprocess_shell": 0},
    "shutil": {"which": 0},
}
# Programs that become another one, or run it.
_RUNNERS: Final = {"env", "nice", "nsenter", "prlimit", "setpriv", "setsid", "timeout", "unshare"}
_WITH_VALUE: Final = (["--pdeathsig"], ["--propagation"], ["-n"])
_WORD: Final = re.compile(r"[a-z][a-z0-9_.+-]*\Z")
_SHELL_BUILTINS: Final = {
    "cd",
    "echo",
    "exec",
    "exit",
    "read",
    "test",
    "trap",
    "wait",
    "while",
    "do",
    "done",
    "for",
    "if",
    "then",
    "fi",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class _Module:
    calls: list[tuple[Function | None, ast.Call]] = field(
        default_factory=list
    )  # and the function each stands in
    classes: dict[int, str] = field(
        default_factory=dict
    )  # the class of a function, by its identity
    imported: dict[str, str] = field(default_factory=dict)  # local name -> module it comes from
    starters: dict[str, int] = field(
        default_factory=dict
    )  # its functions that start what they are given
    values: dict[str, list[ast.expr]] = field(default_factory=lambda: defaultdict(list))


def commands_in(sources: dict[str, str]) -> dict[str, set[str]]:
    """Command -> the modules that start it; `sources` are texts of modules by their dotted
    names.
    """
    modules = {name: _read(text) for name, text in sources.items()}
    methods: dict[str, int] = {}
    while sum(_learn(modules, module, methods) for module in modules.values()):
        pass
    found: dict[str, set[str]] = defaultdict(set)
    for name, module in modules.items():
        for function, call, position in _starting_calls(modules, module, methods):
            for word in _Reader(module, function).words(_handed_over(call, position)):
                found[word].add(name)
    return dict(found)


def _read(text: str) -> _Module:
    module, tree = _Module(), ast.parse(text)
    _note_calls(module, tree, None)
    for statement in tree.body:
        if not isinstance(statement, Function | ast.ClassDef):
            for node in ast.walk(statement):
                _note_values(node, module.values)
    return module


def _note_values(statement: ast.AST, values: dict[str, list[ast.expr]]) -> None:
    if isinstance(statement, ast.Assign):
        for target in statement.targets:
            if isinstance(target, ast.Name):
                values[target.id].append(statement.value)
    elif (
        isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and statement.value
    ):
        values[statement.target.id].append(statement.value)
    elif isinstance(statement, (ast.For, ast.comprehension)) and isinstance(
        statement.target, ast.Name
    ):
        values[statement.target.id].extend(_elements(statement.iter))
    elif isinstance(statement, ast.For | ast.comprehension) and isinstance(
        statement.target, ast.Tuple
    ):
        first = statement.target.elts[0]
        if isinstance(first, ast.Name):
            values[first.id].extend(
                part.elts[0]
                for part in _elements(statement.iter)
                if isinstance(part, ast.Tuple) and part.elts
            )
            values[first.id].append(statement.iter)


def _elements(collection: ast.expr) -> list[ast.expr]:
    return (
        collection.elts if isinstance(collection, ast.List | ast.Tuple | ast.Set) else [collection]
    )


def _note_calls(module: _Module, node: ast.AST, function: Function | None) -> None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ImportFrom) and child.module:
            module.imported.update(
                {alias.asname or alias.name: child.module for alias in child.names}
            )
        elif isinstance(child, ast.Call):
            module.calls.append((function, child))
        elif isinstance(child, Function):
            module.classes[id(child)] = node.name if isinstance(node, ast.ClassDef) else ""
        _note_calls(module, child, child if isinstance(child, Function) else function)


def _starting_calls(
    modules: dict[str, _Module], module: _Module, methods: dict[str, int]
) -> Iterator[tuple[Function | None, ast.Call, int]]:
    for function, call in module.calls:
        position = _position(modules, module, methods, call.func)
        if position is not None:
            yield function, call, position


def _position(
    modules: dict[str, _Module], module: _Module, methods: dict[str, int], called: ast.expr
) -> int | None:
    if isinstance(called, ast.Attribute):
        if isinstance(called.value, ast.Name) and called.value.id in _STARTERS:
            return _STARTERS[called.value.id].get(called.attr)
        return methods.get(called.attr)
    if isinstance(called, ast.Name):
        home = module.imported.get(called.id, "")
        if home in _STARTERS:
            return _STARTERS[home].get(called.id)
        return modules.get(home, module).starters.get(called.id)
    return None


def _learn(modules: dict[str, _Module], module: _Module, methods: dict[str, int]) -> bool:
    """Note the functions that pass a parameter on as the command; whether there was a new one."""
    more = False
    for function, call, position in list(_starting_calls(modules, module, methods)):
        if function is None:
            continue
        of_class = module.classes[id(function)]
        names = [argument.arg for argument in function.args.args[int(bool(of_class)) :]]
        if function.args.vararg:
            names.append(function.args.vararg.arg)
        passed = {name for part in _handed_over(call, position)[:1] for name in _first_names(part)}
        called = of_class if function.name == "__init__" else function.name
        known = methods if of_class and called == function.name else module.starters
        for at, name in enumerate(names):
            if name in passed and called not in known:
                known[called] = at
                more = True
    return more


def _first_names(node: ast.expr) -> Iterator[str]:
    """The variables that may hold the program of a command."""
    match node:
        case ast.Name(id=name):
            yield name
        case ast.Starred() | ast.Subscript():
            yield from _first_names(node.value)
        case ast.List(elts=[first, *rest]) | ast.Tuple(elts=[first, *rest]):
            runs_another = isinstance(first, ast.Constant) and first.value in _RUNNERS
            for part in [
                first,
                *(part for part in rest if runs_another and isinstance(part, ast.Starred)),
            ]:
                yield from _first_names(part)
        case ast.BinOp(op=ast.Add()):
            yield from _first_names(node.left)
        case ast.Call():  # a function that completes a command
            for argument in node.args:
                yield from _first_names(argument)


def _handed_over(call: ast.Call, position: int) -> list[ast.expr]:
    """The command's words as far as they are arguments of their own, or the one argument that holds
    them.
    """
    given = [keyword.value for keyword in call.keywords if keyword.arg in ("args", "command")]
    return call.args[position:] or given


class _Reader:
    """Reads words from expressions, with the names of one function and its module."""

    def __init__(self, module: _Module, function: Function | None) -> None:
        self._values: dict[str, list[ast.expr]] = defaultdict(list)
        self._params: list[ast.expr] = []
        self._reading: set[str] = set()
        for name, values in module.values.items():
            self._values[name].extend(values)
        if function is not None:
            for node in ast.walk(function):
                _note_values(node, self._values)
            for decorator in function.decorator_list:
                if isinstance(decorator, ast.Call):
                    self._params += [
                        part
                        for key in decorator.keywords
                        if key.arg == "params"
                        for part in _elements(key.value)
                    ]

    def words(self, expressions: list[ast.expr]) -> set[str]:
        found: set[str] = set()
        for command in self._commands(expressions):
            found |= set(_programs(command))
        return found

    def _commands(self, expressions: list[ast.expr]) -> Iterator[list[str]]:
        """Each reading of the first expression, followed by the words of those after it."""
        if expressions:
            rest = [
                word
                for expression in expressions[1:]
                for reading in self._read(expression)[:1]
                for word in reading
            ]
            for reading in self._read(expressions[0]):
                yield reading + rest

    def _read(self, node: ast.expr) -> list[list[str]]:
        match node:
            case ast.Constant(value=str() as text):
                return [[text]]
            case ast.JoinedStr(values=[ast.Constant(value=str() as text), *_]):
                return [[text]]
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                return [list(reading) for reading in self._commands(parts)]
            case ast.Dict(keys=keys):
                return [
                    [key.value]
                    for key in keys
                    if isinstance(key, ast.Constant) and isinstance(key.value, str)
                ]
            case ast.BinOp(op=ast.Add()):
                return list(self._commands([node.left, node.right]))
            case ast.IfExp():
                return self._read(node.body) + self._read(node.orelse)
            case ast.Starred() | ast.Subscript() | ast.NamedExpr() | ast.Attribute(attr="items"):
                return self._read(node.value)
            case ast.Attribute(attr="param"):
                return [reading for part in self._params for reading in self._read(part)]
            case ast.Call(args=[], func=ast.Attribute() as called):
                return self._read(called)
            case ast.Name(id=name) if name not in self._reading:
                self._reading.add(name)
                readings = [
                    reading for value in self._values.get(name, []) for reading in self._read(value)
                ]
                self._reading.discard(name)
                return readings
        return [[""]]  # something, and not a word we know


def _programs(command: list[str]) -> Iterable[str]:
    first, rest = command[0].rpartition("/")[2], command[1:]
    if not _WORD.match(first):
        return
    yield first
    if first == "sh" and rest[:1] == ["-c"] and len(rest) > 1:
        yield from _shell_programs(rest[1])
    elif first in _RUNNERS:
        after_option = [
            at
            for at, word in enumerate(rest)
            if not word.startswith("-") and rest[at - 1 : at] not in _WITH_VALUE
        ]
        if after_option:
            yield from _programs(rest[after_option[0] :])


def _shell_programs(text: str) -> Iterator[str]:
    for part in re.split(r"&&|\|\||[;&|\n]", text):
        words = part.split()
        if words and _WORD.match(words[0]) and words[0] not in _SHELL_BUILTINS:
            yield words[0]


def sources_under(*folders: Path, root: Path) -> dict[str, str]:
    """Dotted name -> text, of all Python files below some folders of `root`."""
    found = sorted(path for folder in folders for path in folder.rglob("*.py"))
    return {
        ".".join(path.relative_to(root).with_suffix("").parts): path.read_text() for path in found
    }
