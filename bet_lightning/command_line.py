"""What the command line's words mean before they are parsed, and what its help begins with."""

from pathlib import Path

from jsonargparse import Namespace

from bet_lightning.budget import FORMS
from bet_lightning.data.sources import SYNTHETIC, held_name, own_name

_SHIPPED = Path(__file__).parent  # a wheel has ``configs`` in it, without those of results
_BUDGETS = ("--search.budget", *(f"--search.budget.{form}" for form in FORMS))


def data_name(settings: Namespace) -> str:
    """Name of the data that a call without a config is about."""
    arguments = settings.init_args
    path, source, name = (arguments.get(key) for key in ("path", "source", "name"))
    path = path or arguments.get("train_path")
    if path:
        return own_name(Path(path))
    if source and name == SYNTHETIC:
        made = source.class_path if isinstance(source, Namespace) else source
        return made.rpartition(".")[2].lower() if isinstance(made, str) else held_name(made)
    return str(name)


def usage(command: str) -> str:
    """Return what a command's help begins with: most options are Lightning's, and come first in its list."""
    common = "[--config FILE] [--data.path FILE] [--search.budget BUDGET] [--model.backbone CLASS] [options]"
    details = "--print_config shows all settings and their defaults, --search.method.help BET explains the search's"
    return f"bet_lightning {command} {common}\n\n{details}"


def with_new_budget(words: list[str]) -> list[str]:
    """Let a budget on the command line replace a configuration's, which may be in another form."""
    if not any(word.partition("=")[0] in _BUDGETS for word in words):
        return words
    first = next(place for place, word in enumerate(words) if word.startswith("--search.budget"))
    return [*words[:first], "--search.budget=null", *words[first:]]


def with_shipped_configs(words: list[str], shipped: Path = _SHIPPED) -> list[str]:
    """Let ``--config configs/paper/ngcf.yaml`` be the one that was installed, where no file here is called so.

    Args:
        words: Arguments of the command line.
        shipped: Folder that paths of installed configs are relative to.
    """
    found, is_path = [], False
    for word in words:
        flag, equals, path = word.rpartition("=") if word.startswith("--config=") else ("", "", word)
        if (is_path or equals) and not Path(path).exists() and (shipped / path).is_file():
            path = str(shipped / path)
        found.append(f"{flag}{equals}{path}")
        is_path = word in ("--config", "-c")
    return found
