# SPDX-License-Identifier: Apache-2.0
import json
import os
import signal

import pytest
import typer
from typer.testing import CliRunner

from clarivox import errors
from clarivox.cli.screen import EXIT_CODES, Reporting, exit_code, plain, watched
from clarivox.progress import Step


def raising(error):
    app = typer.Typer(cls=Reporting)

    @app.command()
    def fail():
        raise error

    @app.callback()
    def main():
        pass

    return CliRunner().invoke(app, ["fail"])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.OptionError("x"), 2),
        (errors.FormatError("x"), 3),
        (errors.GeometryError("x"), 3),
        (errors.BundleError("x"), 4),
        (errors.DigestError("x"), 4),
        (errors.CapacityError("x"), 5),
        (errors.OutputError("x"), 6),
        (errors.CancelledError("x"), 130),
    ],
)
def test_an_error_is_one_line_with_its_code_and_an_exit_code(error, code):
    result = raising(error)
    assert result.exit_code == code == exit_code(error)
    assert code in EXIT_CODES
    assert result.stderr == f"error [{error.code}] x\n"


def test_ctrl_c_exits_with_130_and_without_a_traceback():
    result = raising(KeyboardInterrupt())
    assert result.exit_code == 130 and "[cancelled]" in result.stderr and "Traceback" not in result.stderr


def test_a_defect_is_not_hidden():
    assert isinstance(raising(ZeroDivisionError()).exception, ZeroDivisionError)


def test_markup_and_control_characters_in_messages_are_only_words():
    result = raising(errors.FormatError("[bold]a\x1b[2Jb[/bold]"))
    assert "[bold]a[2Jb[/bold]" in result.stderr
    assert plain("a\x07\u202eb\n") == "ab"


def test_the_first_ctrl_c_cancels_at_the_next_step_and_the_handler_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    with watched("test") as advance:
        assert advance(Step("enhance", 0.5, 3.0)) is True
        os.kill(os.getpid(), signal.SIGINT)
        assert advance(Step("enhance", 0.6)) is False
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_json_is_for_programs(capsys):
    from clarivox.cli.screen import say_json

    say_json({"a": ("µ", None)})
    assert json.loads(capsys.readouterr().out) == {"a": ["µ", None]}
