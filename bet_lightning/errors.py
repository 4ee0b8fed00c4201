"""Wrong input as one line: what was wrong, where, and the value."""

import os
import re
import traceback

_KEY = re.compile(r'Parser key "([^"]+)":')
_CLASS = re.compile(r"given class_path '[^']+':")
_CALLABLE = re.compile(r"^Type .* expects a function or a callable class: ")
_ECHO = re.compile(r"\s*(- Expected a <class 'NoneType'>|Given value type:|Got value: Namespace).*")
_ALTERNATIVE = " - Problem with given class_path"


def one_line(error: BaseException) -> str:
    """The message of this package's own error behind a parser's, else the parser's without what it repeats."""
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
    text = " ".join(line.strip() for line in message.splitlines())
    first = text.find(_ALTERNATIVE)
    second = text.find(_ALTERNATIVE, first + 1) if first >= 0 else -1
    text = text[:second] if second >= 0 else text
    keys = _KEY.findall(text)
    if not keys:
        return text
    reason = _ECHO.sub("", re.split(rf"{_KEY.pattern.replace('(', '(?:')}|{_CLASS.pattern}", text)[-1]).strip(" -")
    reason = _CALLABLE.sub("", reason)
    reason = re.sub(r"<class '([^']+)'>", r"\1", reason).replace("typing.", "")
    return f"{'.'.join(keys)}: {reason}"
