from pathlib import Path

import pytest

from bet_lightning.command_line import with_shipped_configs

NAME = "configs/paper/ngcf.yaml"


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a config, beside the one that is worked in."""
    config = tmp_path / "installed" / NAME
    config.parent.mkdir(parents=True)
    config.touch()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "installed"


@pytest.mark.parametrize("flags", [["--config"], ["-c"], []])
def test_installed_configs_are_found_by_their_path_in_a_clone(shipped: Path, flags: list[str]) -> None:
    def words(path: str | Path) -> list[str]:
        return ["fit", *([*flags, str(path)] if flags else [f"--config={path}"]), "--search.budget=2MB"]

    assert with_shipped_configs(words(NAME), shipped) == words(shipped / NAME)
    assert with_shipped_configs(words("configs/other.yaml"), shipped) == words("configs/other.yaml")
    Path(NAME).parent.mkdir(parents=True)
    Path(NAME).touch()
    assert with_shipped_configs(words(NAME), shipped) == words(NAME)  # an own file comes first


def test_other_words_stay_as_they_are(shipped: Path) -> None:
    words = ["fit", "--data.path", NAME, "--search.method=BET"]
    assert with_shipped_configs(words, shipped) == words
