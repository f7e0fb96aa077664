"""What executables say where something does not fit."""

from __future__ import annotations

import pytest

from rdflux_ros.console import guarded
from rdflux_ros.settings import SettingError


def raising(error: BaseException) -> int:
    raise error


def missing(module: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(f"No module named '{module}'", name=module)


def test_what_the_user_can_mend_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for error, said in (
        (SettingError("r = 2:\n at most 1"), "tool: r = 2: at most 1"),
        (FileNotFoundError(2, "No such file", "a.yaml"), "a.yaml"),
        (missing("skimage.metrics"), "pip install 'rdflux_ros[evaluation]'"),
        (missing("sklearn"), "pip install 'rdflux_ros[correction]'"),
        (missing("cv2"), "tool: No module named 'cv2'; pip install it"),
    ):
        assert guarded("tool", lambda error=error: raising(error)) == 2
        written = capsys.readouterr().err
        assert said in written and len(written.splitlines()) == 1


def test_faults_of_the_program_are_not_hidden() -> None:
    for error in (ValueError("x"), missing("rdflux_ros.x")):
        with pytest.raises(type(error)):
            guarded("tool", lambda error=error: raising(error))


def test_an_interrupt_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded("tool", lambda: raising(KeyboardInterrupt()), "the same command goes on") == 130
    assert capsys.readouterr().err == "tool: the same command goes on\n"
