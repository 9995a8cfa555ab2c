"""A Compose project put together: the files that are laid over each other, those that they
`include`, and the services that theirs `extends`.

What cannot be read costs the service that asks for it, or the services of the file that is
included; each is reported. Reading files is up to `Files`; this module asks for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from meshlib.discovery.files.compose_keys import FILE_KEYS
from meshlib.discovery.files.diagnostics import (
    BAD_ENV_LINE,
    BAD_FILE,
    BAD_KEY,
    CONFLICT,
    FileDiagnostics,
    show_value,
)
from meshlib.discovery.files.interpolation import interpolate
from meshlib.discovery.files.sources import (
    NO_FILES,
    Files,
    ReadFile,
    Source,
    without_tags,
)
from meshlib.discovery.files.variables import read_assignments
from meshlib.errors import ConfigurationError
from meshlib.labels.diagnostics import show

__all__ = ["MAX_DEPTH", "MAX_INCLUDES", "ComposeContext", "Project", "assemble"]

# Files that include files, and services that extend services; each level is a call. People have
# three.
MAX_DEPTH: Final = 20
# In one project, each time that a file is included counting.
MAX_INCLUDES: Final = 100

_FILE_HINT: Final = (
    "write services: {NAME: {labels: {...}, endpoints: [...]}}, or services: {} for none"
)
_EXTENDS_HINT: Final = "write extends: SERVICE, or extends: {file: PATH, service: SERVICE}"
_INCLUDE_HINT: Final = 'write include: ["PATH"], or [{path: PATH, env_file: PATH}]'
_DOTENV: Final = ".env"

_Services = dict[object, tuple[Source, ...]]


@dataclass(frozen=True, slots=True)
class ComposeContext:
    """The surroundings of a document: where it comes from, and what belongs to it.

    `files` reads what it names, relative to `directory`; `overrides` are laid over it, in this
    order. The services of the `profiles` are active; None: those that the variable COMPOSE_PROFILES
    names. With `dotenv` the file `.env` in `directory` has values for variables that have no other.
    """

    files: Files = NO_FILES
    directory: str = ""
    overrides: Sequence[ReadFile] = ()
    profiles: frozenset[str] | None = None
    dotenv: bool = False


@dataclass(frozen=True, slots=True)
class Project:
    """Services by their keys as written, each with its sources, the base first. `name` is what the
    last file says of it. When not `whole`, a file with services of its own could not be read.
    """

    services: Mapping[object, tuple[Source, ...]]
    variables: Mapping[str, str]
    name: str = ""
    whole: bool = True


def assemble(
    document: object,
    where: str,
    variables: Mapping[str, str],
    context: ComposeContext,
    diagnostics: FileDiagnostics,
) -> Project:
    """The project of `document`. `ConfigurationError`, with `where` it comes from, for a document
    or an override without a mapping `services`.
    """
    assembly = _Assembly(context.files, diagnostics)
    directory = context.directory
    if context.dotenv:
        variables = {**assembly.dotenv(directory, variables), **variables}
    documents = [ReadFile("", directory, document), *context.overrides]
    services: _Services = {}
    name = ""
    for content in documents:
        place = _Place(content.path, directory, variables, (content.path or where,))
        _put_over(services, assembly.services(content.content, place, content.path or where))
        name = assembly.name(content.content, place) or name
    return Project(services, variables, name, assembly.whole)


class _Place(NamedTuple):
    """The file that is being read. `trail` are the files that include it, and itself."""

    file: str
    directory: str
    variables: Mapping[str, str]
    trail: tuple[str, ...]

    def at(self, path: str) -> str:
        return f"{self.file}: {path}" if self.file else path


@dataclass(slots=True)
class _Assembly:
    files: Files
    diagnostics: FileDiagnostics
    whole: bool = True
    includes: int = 0

    def services(self, document: object, place: _Place, where: str) -> _Services:
        """The services of a file, with those that it includes."""
        written = _services(document, where)
        services: _Services = {
            key: self._extended(key, written, place, ((place.trail[-1], key),))
            for key, value in written.items()
        }
        self.diagnostics.unknown_keys(document, FILE_KEYS, place.file)
        for key, sources in self._included(document, place).items():
            mine = services.setdefault(key, sources)
            # One file that is included twice is the same object; to compare others may take for
            # ever, since anchors make small files huge.
            if [id(one.value) for one in mine] != [id(one.value) for one in sources]:
                name = show_value(key)
                self.diagnostics.add(
                    CONFLICT,
                    place.at(f"services.{key}" if isinstance(key, str) else "services"),
                    f"the service {name} is another one in {sources[-1].file}, which is included",
                    "give one of the two another name, or lay one file over the other",
                )
        return services

    def name(self, document: object, place: _Place) -> str:
        """The name of the project that a file gives, "" without one."""
        value = document.get("name") if isinstance(document, dict) else None
        try:
            if value in (None, ""):
                return ""
            return _string(value, place.variables, "write a name")
        except ConfigurationError as error:
            self.diagnostics.add(BAD_KEY, place.at("name"), error.message, error.hint)
            return ""

    def dotenv(self, directory: str, variables: Mapping[str, str]) -> dict[str, str]:
        """The variables of the file `.env`, if there is one."""
        try:
            if not self.files.exists(_DOTENV, directory):
                return {}
            return self._variables(self.files.text(_DOTENV, directory), variables)
        except ConfigurationError as error:
            self.diagnostics.add(BAD_FILE, _DOTENV, error.message, error.hint)
            return {}

    def _variables(self, file: ReadFile, variables: Mapping[str, str]) -> dict[str, str]:
        found, problems = read_assignments(str(file.content), variables)
        for problem in problems:
            place = f"{file.path}:{problem.line}"
            self.diagnostics.add(BAD_ENV_LINE, place, problem.message, "write NAME=VALUE")
        return found

    # --- extends

    def _extended(
        self,
        key: object,
        services: Mapping[object, object],
        place: _Place,
        trail: tuple[tuple[str, object], ...],
    ) -> tuple[Source, ...]:
        """The sources of a service, with those of what it extends below its own. `trail` are the
        services that lead here, each with its file.
        """
        source = Source(services[key], place.variables, place.file, place.directory)
        value = without_tags(source.value)
        extends = without_tags(value.get("extends")) if isinstance(value, dict) else None
        if extends is None:
            return (source,)
        try:
            file, name = _extends(extends, place.variables)
            if file:
                read = self.files.document(file, place.directory)
                services = _services(read.content, read.path)
                place = _Place(read.path, read.directory, place.variables, (read.path,))
            step = (place.trail[-1], name)
            if name not in services:
                raise ConfigurationError(
                    f"there is no service {show(name)} in {place.file or 'this file'}",
                    hint=_EXTENDS_HINT,
                )
            if step in trail:
                steps = " extends ".join(str(one) for _, one in (*trail, step))
                raise ConfigurationError(f"a circle: {steps}", hint="leave out one extends")
            if len(trail) > MAX_DEPTH:
                raise ConfigurationError(
                    f"more than {MAX_DEPTH} services extend each other", hint="extend fewer"
                )
        except ConfigurationError as error:
            return (source._replace(problem=error),)
        return (*self._extended(name, services, place, (*trail, step)), source)

    # --- include

    def _included(self, document: object, place: _Place) -> _Services:
        found: _Services = {}
        entries = without_tags(document.get("include")) if isinstance(document, dict) else None
        if entries is None:
            return found
        if not isinstance(entries, list):
            self._not_read(place.at("include"), f"{show_value(entries)} is not a list")
            return found
        for index, entry in enumerate(entries):
            where = place.at(f"include[{index}]")
            try:
                for key, sources in self._include(entry, place).items():
                    found.setdefault(key, sources)
            except ConfigurationError as error:
                self._not_read(where, str(error) if error.where else error.message, error.hint)
        return found

    def _not_read(self, where: str, message: str, hint: str = _INCLUDE_HINT) -> None:
        self.whole = False
        self.diagnostics.add(BAD_FILE, where, message, hint or _INCLUDE_HINT)

    def _include(self, entry: object, place: _Place) -> _Services:
        asked = entry if isinstance(entry, dict) else {"path": entry}
        paths = list(_strings(asked.get("path"), place.variables, _INCLUDE_HINT))
        if not paths:
            raise ConfigurationError("there is no path", hint=_INCLUDE_HINT)
        self.includes += 1
        if self.includes > MAX_INCLUDES:
            raise ConfigurationError(
                f"more than {MAX_INCLUDES} files are included", hint="include fewer"
            )
        first = self.files.document(paths[0], place.directory)
        if first.path in place.trail:
            steps = " includes ".join((*place.trail, first.path))
            raise ConfigurationError(f"a circle: {steps}", hint="leave out one include")
        if len(place.trail) > MAX_DEPTH:
            raise ConfigurationError(
                f"more than {MAX_DEPTH} files include each other", hint="include fewer"
            )
        directory = first.directory
        if asked.get("project_directory") is not None:
            wanted = _string(asked["project_directory"], place.variables, _INCLUDE_HINT)
            directory = self.files.directory(wanted, place.directory)
        variables = self._variables_of_included(asked, directory, place)
        trail = (*place.trail, first.path)
        services: _Services = {}
        for read in (first, *(self.files.document(path, place.directory) for path in paths[1:])):
            inside = _Place(read.path, directory, variables, trail)
            _put_over(services, self.services(read.content, inside, read.path))
        return services

    def _variables_of_included(
        self, asked: Mapping[str, object], directory: str, place: _Place
    ) -> Mapping[str, str]:
        # What the including file has takes precedence, as Compose has it.
        if asked.get("env_file") is None:
            return {**self.dotenv(directory, place.variables), **place.variables}
        found: dict[str, str] = {}
        for path in _strings(asked["env_file"], place.variables, _INCLUDE_HINT):
            read = self.files.text(path, place.directory)
            found.update(self._variables(read, {**found, **place.variables}))
        return {**found, **place.variables}


def _services(document: object, where: str) -> Mapping[object, object]:
    if not isinstance(document, dict):
        raise ConfigurationError(
            f"the document is not a mapping but {show_value(document)}",
            where=where,
            hint=_FILE_HINT,
        )
    services = without_tags(document.get("services"))
    if services is None and document.get("include") is not None:
        return {}
    if "services" not in document:
        raise ConfigurationError("there is no 'services'", where=where, hint=_FILE_HINT)
    if not isinstance(services, dict):
        raise ConfigurationError(
            f"'services' is not a mapping but {show_value(services)}", where=where, hint=_FILE_HINT
        )
    return services


def _put_over(services: _Services, above: _Services) -> None:
    for key, sources in above.items():
        services[key] = (*services.get(key, ()), *sources)


def _extends(value: object, variables: Mapping[str, str]) -> tuple[str, str]:
    """The file ("": the same) and the service that are extended."""
    if not isinstance(value, dict):
        return "", _string(value, variables, _EXTENDS_HINT)
    file = value.get("file")
    return (
        "" if file is None else _string(file, variables, _EXTENDS_HINT),
        _string(value.get("service"), variables, _EXTENDS_HINT),
    )


def _string(value: object, variables: Mapping[str, str], hint: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{show_value(value)} is not a string", hint=hint)
    return interpolate(value, variables)


def _strings(value: object, variables: Mapping[str, str], hint: str) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        yield _string(one, variables, hint)
