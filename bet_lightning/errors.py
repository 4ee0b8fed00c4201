"""Wrong input as one line: what was wrong, where, and the value."""

import difflib
import os
import re
import traceback

from bet_lightning import backbones, data, methods, modules, objectives

_KEY = re.compile(r'Parser key "([^"]+)":')
_CLASS = re.compile(r"given class_path '[^']+':")
_CALLABLE = re.compile(r"^Type .* expects a function or a callable class: ")
_ECHO = re.compile(r"\s*(- Expected a <class 'NoneType'>|Given value type:|Got value: Namespace).*")
_ALTERNATIVE = "- Problem with given class_path"
_UNION = re.compile(
    r"Does not validate against any of the Union subtypes Subtypes: (?:(?!Errors:).)*Errors: "
    r"- (Expected a (?:(?!Errors:).)*?) - Expected a <class 'NoneType'> "
    r"Given value type: <class '[^']*'> Given value: (\S+)"
)
_NO_MAKER = re.compile(r".*Expected ('[\w.]+' to be a function that returns [^.]*)\..*")
_NO_CLASS = re.compile(r".*Expected a dot import path string: ([\w.]*\w).*")


def one_line(error: BaseException) -> str:
    """Return the message of this package's own error behind a parser's, else the parser's without what it repeats."""
    cause: BaseException | None = error
    while cause is not None:
        frames = traceback.extract_tb(cause.__traceback__)
        raised_here = frames and f"{os.sep}bet_lightning{os.sep}" in frames[-1].filename
        if raised_here and isinstance(cause, (ValueError, FileNotFoundError)):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    return shorten(str(error))


def shorten(message: str) -> str:
    """Reduce a parser's message about nested types to the innermost key and what is wrong with it.

    The parser reports a wrong option inside a class once for every type the option's owner could have had, with the
    whole value each time. The first of these reports is about the class that the user named.
    """
    text = " ".join(
        line.strip() for line in _first_alternatives([line for line in message.splitlines() if line.strip()])
    )
    text = _UNION.sub(r"\1. Got value: \2", text)
    keys = _KEY.findall(text)
    if not keys:
        return text
    reason = _ECHO.sub("", re.split(rf"{_KEY.pattern.replace('(', '(?:')}|{_CLASS.pattern}", text)[-1]).strip(" -")
    reason = _CALLABLE.sub("", reason)
    reason = _NO_MAKER.sub(r"expected \1", reason)
    reason = _NO_CLASS.sub(_no_class, reason)
    reason = re.sub(r"<class '([^']+)'>", r"\1", reason).replace("typing.", "")
    return f"{'.'.join(keys)}: {reason}"


def _no_class(found: re.Match[str]) -> str:
    """Say that there is no class of a name, and which one is meant."""
    name = found.group(1)
    known = [known for module in (backbones, data, methods, modules, objectives) for known in vars(module)]
    near = difflib.get_close_matches(name, known, n=1)
    return f"there is no class {name!r}" + (f", did you mean {near[0]!r}?" if near else "")


def _first_alternatives(lines: list[str]) -> list[str]:
    """Keep, of the types that are reported one after another, the first, and of those within it the first again."""
    for number, line in enumerate(lines):
        if line.lstrip().startswith(_ALTERNATIVE):
            rest = lines[number + 1 :]
            end = next((n for n, other in enumerate(rest) if _indent(other) <= _indent(line)), len(rest))
            return lines[: number + 1] + _first_alternatives(rest[:end])
    return lines


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
