"""``zeotwisted completion``: a script by which a shell completes commands and options.

It is made from the parsers. argcomplete would start Python at each Tab, and shtab, which writes
scripts as well, has none for fish; the parsers are simple enough for a page of code.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

from .commandline import parser

__all__ = ["SUMMARY", "configure", "run"]

SUMMARY = "Print a script with which a shell completes commands and options"


class _Level(NamedTuple):
    """What may follow some words.

    :ivar path: the words, such as ``("user", "add")``.
    :ivar words: the sub-commands with their help.
    :ivar options: the long options with their help.
    :ivar paths: the options whose value is the path of a file.
    """

    path: tuple[str, ...]
    words: dict[str, str]
    options: dict[str, str]
    paths: frozenset[str]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("shell", choices=sorted(_SCRIPTS), help="the shell")


def run(arguments: argparse.Namespace) -> int:
    """Print the script; return the exit code."""
    print("\n".join(_SCRIPTS[arguments.shell](list(_levels(parser(), ())))))
    return 0


def _levels(command: argparse.ArgumentParser, path: tuple[str, ...]) -> Iterator[_Level]:
    words: dict[str, str] = {}
    options: dict[str, str] = {}
    paths: set[str] = set()
    below: dict[str, argparse.ArgumentParser] = {}
    # argparse has no public list of its arguments; its help is made from this one.
    for action in command._actions:
        for option in action.option_strings:
            if option.startswith("--"):
                options[option] = _plain(action.help)
                if action.metavar == "PATH":
                    paths.add(option)
        if isinstance(action, argparse._SubParsersAction):
            below = action.choices
            words = {each.dest: _plain(each.help) for each in action._choices_actions}
        elif not action.option_strings and action.choices:
            words = {str(each): "" for each in action.choices}
    yield _Level(path, words, options, frozenset(paths))
    for word, each in below.items():
        yield from _levels(each, (*path, word))


def _plain(text: str | None) -> str:
    return (text or "").partition(" [default")[0].replace("%%", "%")


def _bash(levels: list[_Level]) -> Iterator[str]:
    yield "# zeotwisted completion bash > /etc/bash_completion.d/zeotwisted"
    yield "_zeotwisted() {"
    yield '    local current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"'
    yield '    local word path="" candidates="" files=""'
    yield '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do'
    yield '        case "$path $word" in'
    for level in levels[1:]:
        yield f'            "{_joined(level.path)}") path="{_joined(level.path)}" ;;'
    yield "        esac"
    yield "    done"
    yield '    case "$path" in'
    for level in levels:
        candidates = " ".join([*level.words, *level.options])
        files = "|".join(sorted(level.paths))
        yield f'        "{_joined(level.path)}") candidates="{candidates}"; files="|{files}|" ;;'
    yield "    esac"
    yield '    if [[ "$before" == --* && "$files" == *"|$before|"* ]]; then'
    yield '        COMPREPLY=($(compgen -f -- "$current"))'
    yield "    else"
    yield '        COMPREPLY=($(compgen -W "$candidates" -- "$current"))'
    yield "    fi"
    yield "}"
    yield "complete -o default -F _zeotwisted zeotwisted"


def _joined(path: tuple[str, ...]) -> str:
    return "".join(f" {word}" for word in path)


def _zsh(levels: list[_Level]) -> Iterator[str]:
    yield "#compdef zeotwisted"
    yield "# zeotwisted completion zsh > a folder of $fpath, as _zeotwisted"
    yield "_zeotwisted() {"
    yield '    local path_="" word'
    yield "    local -a candidates"
    yield '    for word in "${(@)words[2,CURRENT-1]}"; do'
    yield '        case "$path_ $word" in'
    for level in levels[1:]:
        yield f'            "{_joined(level.path)}") path_="{_joined(level.path)}" ;;'
    yield "        esac"
    yield "    done"
    yield '    case "$path_" in'
    for level in levels:
        entries = " ".join(
            _single(f"{word.replace(':', chr(92) + ':')}:{text}")
            for word, text in (level.words | level.options).items()
        )
        yield f'        "{_joined(level.path)}") candidates=({entries}) ;;'
    yield "    esac"
    yield "    _describe 'zeotwisted' candidates || _files"
    yield "}"
    yield '_zeotwisted "$@"'


def _fish(levels: list[_Level]) -> Iterator[str]:
    yield "# zeotwisted completion fish > ~/.config/fish/completions/zeotwisted.fish"
    yield "complete -c zeotwisted -f"
    for level in levels:
        condition = _condition(level)
        for word, text in level.words.items():
            yield f"complete -c zeotwisted -n {condition} -a {word} -d {_single(text)}"
        for option, text in level.options.items():
            path = " -r -F" if option in level.paths else ""
            yield (
                f"complete -c zeotwisted -n {condition} -l {option[2:]}{path} -d {_single(text)}"
            )


def _condition(level: _Level) -> str:
    if not level.path:
        return _single("__fish_use_subcommand")
    conditions = [f"__fish_seen_subcommand_from {word}" for word in level.path]
    if level.words:
        conditions.append(f"not __fish_seen_subcommand_from {' '.join(level.words)}")
    return _single("; and ".join(conditions))


def _single(text: str) -> str:
    quoted = text.replace("'", "'\\''")
    return f"'{quoted}'"


_SCRIPTS = {"bash": _bash, "fish": _fish, "zsh": _zsh}
