"""``zeotwisted completion``: what a shell proposes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from zeotwisted.commands import main, parser
from zeotwisted.commands.commandline import COMMANDS


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def proposed(text: str, line: str, folder: Path) -> set[str]:
    """Return what bash proposes for a command line, whose last word is begun."""
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    program = (
        f"{text}\nCOMP_WORDS=({quoted})\nCOMP_CWORD={len(words) - 1}\n_zeotwisted\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run(
        [bash, "-c", program], cwd=folder, capture_output=True, text=True, check=True, timeout=20
    )
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = script("bash", capsys)
    (tmp_path / "authority.pem").touch()
    for line, words in {
        "zeotwisted ": {*COMMANDS, "--help", "--version"},
        "zeotwisted sta": {"standby", "status"},
        "zeotwisted pack --ti": {"--timeout", "--time-of-day"},
        "zeotwisted pack 8100 --canc": {"--cancel"},
        "zeotwisted pack --pro": {"--progress"},
        "zeotwisted user ": {"add", "remove", "list", "--help"},
        "zeotwisted user add --p": {"--password-file"},
        "zeotwisted completion ": {"bash", "fish", "zsh", "--help"},
        "zeotwisted ping --ca auth": {"authority.pem"},
        "zeotwisted ping --storage auth": set(),
        # A value that is the name of a command is none.
        "zeotwisted nonsense pi": {"ping"},
    }.items():
        assert proposed(text, line, tmp_path) == words, line


@pytest.mark.parametrize("shell", ["fish", "zsh"])
def test_other_shells_have_all_commands_and_options(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = script(shell, capsys)
    for name in COMMANDS:
        assert name in text
    prefix = "-l " if shell == "fish" else "'--"
    for option in ("time-of-day", "warning-lock-wait", "password-file"):
        assert f"{prefix}{option}" in text


@pytest.mark.parametrize("shell", ["fish", "zsh"])
def test_other_shells_take_the_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run(
        [path, "-n"],
        input=script(shell, capsys),
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_another_shell(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["completion", "csh"])
    assert end.value.code == 1
    assert "invalid choice: 'csh'" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if name == "serve":
        # Its help is that of ``twistd zeo``, in a process of its own.
        return
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: zeotwisted {name} ") and "show this help" in text


def test_help_names_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    text = parser().format_help()
    assert [name for name in COMMANDS if not re.search(rf"(?m)^    {name}\b", text)] == []
    assert capsys.readouterr().out == ""
