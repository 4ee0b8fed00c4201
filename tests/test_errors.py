import pytest
from jsonargparse import ArgumentError

from bet_lightning.errors import one_line, shorten

OPTION = """Parser key "model":
  Does not validate against any of the Union subtypes
  Errors:
    - Problem with given class_path 'bet_lightning.modules.RecommenderModule':
        Parser key "l2": Expected a <class 'float'>. Got value: abc
    - Expected a <class 'NoneType'>
  Given value type: <class 'jsonargparse._util.NestedArg'>
  Given value: NestedArg(key='l2', val='abc')"""
SEVERAL_CLASSES = """Parser key "search.method":
  Errors:
    - Problem with given class_path 'bet_lightning.methods.BET':
        Parser key "search.selection": Expected a typing.Literal['mixed', 'greedy']. Got value: best
    - Problem with given class_path 'bet_lightning.methods.Method':
        Option 'search' is not accepted
    - Expected a <class 'NoneType'>"""
NO_CLASS = """Parser key "model.backbone":
  Does not validate against any of the Union subtypes
  Errors:
    - Expected a dot import path string: LightGCM.
    - Expected a <class 'NoneType'>"""


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (OPTION, "model.l2: Expected a float. Got value: abc"),
        (SEVERAL_CLASSES, "search.method.search.selection: Expected a Literal['mixed', 'greedy']. Got value: best"),
        (NO_CLASS, "model.backbone: there is no class 'LightGCM', did you mean 'LightGCN'?"),
        ("unrecognized arguments: --trainr.devices=1", "unrecognized arguments: --trainr.devices=1"),
    ],
)
def test_parser_messages_lose_what_they_repeat(message: str, expected: str) -> None:
    assert shorten(message) == expected


def test_own_error_behind_a_parsers() -> None:
    from bet_lightning.budget import Budget

    try:
        try:
            Budget(keep_ratio=2)
        except ValueError as error:
            raise ArgumentError(None, "a long story") from error
    except ArgumentError as error:
        assert one_line(error) == "budget.keep_ratio must be in (0, 1], got 2"
