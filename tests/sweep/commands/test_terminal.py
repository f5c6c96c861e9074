"""What is printed: as it is, without secrets, in full lines, and on a terminal that knows ASCII alone."""

import shlex
import subprocess
import sys

import pytest

from sweep.commands.terminal import command, say


def test_text_is_no_markup(capsys):
    """Brackets, emoji names and numbers stay what they are; a line is as long as it is."""
    text = "results/x [beta] :smile: [bold]t1[/bold] 12 " + "word " * 100
    say(text)
    assert capsys.readouterr().out == text + "\n"


def test_what_is_printed_lacks_secrets_and_endless_values(capsys):
    """A password, and the middle of a value of thousands of characters."""
    say(f"postgresql://me:secret@host/db {'x' * 5000}")
    out = capsys.readouterr().out
    assert out.startswith("postgresql://***@host/db xxx")
    assert "secret" not in out
    assert len(out) < 1000


@pytest.mark.parametrize("words", [("sweep", "report", "a folder/it's"), ("sweep", "-o", "a=[1, 2]; rm x")])
def test_a_command_can_be_pasted(words):
    """A shell makes the same words of it."""
    assert shlex.split(command(*words)) == list(words)


@pytest.mark.parametrize("print_it", ["say(text)", "console().print(text)"])
def test_ascii_terminals_get_the_nearest_signs(print_it):
    """Instead of an error in the middle of a table."""
    code = "from sweep.commands.terminal import adapt_streams, console, say; adapt_streams()\n"
    code += f"text = '0.5 ± 0.1 · a … ↑ ↓ ü'\n{print_it}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONIOENCODING": "ascii", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "0.5 +- 0.1 - a ... ^ v ?\n"


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("run", "(default: results/NAME, or what --cluster's file says)"),
        ("trial", "(default: results/NAME-trials)"),
        ("samples", "(default: the newest checkpoint's)"),
        ("samples", "(default: the first modality)"),
        ("samples", "(default: DIR/samples-TRIAL-SOURCE.png)"),
        ("report", "(default: DIR/report, for two DIR/against-OTHER)"),
        ("watch", "(default: DIR/report)"),
        ("attach", "(default: the newest)"),
    ],
)
def test_help_says_defaults(sweep, name, default):
    """In words of the help, where the default is no value; brackets would be taken for markup."""
    _, out, _ = sweep(name, "--help")
    assert default in " ".join(out.replace("│", " ").split())


def test_a_folder_of_any_name_works_and_is_printed_as_it_is(sweep, make_sweep, tmp_path):
    """Markup, blanks and quotes in it mean nothing."""
    folder = make_sweep(tmp_path / "a b [beta] 'x'")
    assert sweep("verify", folder)[:2] == (0, f"{folder} is sound\n")
    status, out, err = sweep("report", folder)
    assert (status, err) == (0, "")
    assert out.endswith(f"report: {folder}/report/report.html\n")
    status, _, err = sweep("samples", folder)
    assert status == 2
    assert str(folder) in err


def test_endless_values_are_not_echoed_whole(sweep, sweep_file):
    """The sentence stays one that can be read."""
    for override in (f"trials={'9' * 5000}", f"{'x' * 5000}=1", f"name={'y' * 5000}"):
        status, _, err = sweep("show-config", sweep_file, "-o", override)
        assert status == 2
        assert len(err) < 1500
