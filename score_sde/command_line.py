"""The program: `score-sde COMMAND`, `python -m score_sde COMMAND` and `python run.py --mode COMMAND` are one.

A command is a file of `commands/`. Its docstring is its help, `add_flags(parser)` adds its flags, and
`run(arguments, overrides)` carries it out; overrides are the pairs of --config.key=value.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import os
import pkgutil
import sys
import warnings
from pathlib import Path
from types import ModuleType

# Threads that wait by spinning make a busy machine crawl, and threads that sleep make a quiet one wait: spin for microseconds.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # read when torch is imported

from score_sde import __version__, commands
from score_sde.errors import Interrupted, UsageError, first_line
from score_sde.program import command, program, stranger

__all__ = ["main", "parser_of"]


def main(argv: list[str] | None = None) -> int:
    """Run a command and give its exit code: 0, 1 for failure, 2 for usage, 130 when interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    name, words = _command_of(words)
    found = stranger()
    if found is not None:
        print(f"{_called()}: {found}", file=sys.stderr)
        return 2
    module = _load(name)
    parser = parser_of(name)
    arguments, rest = parser.parse_known_args(words)
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)
    try:
        module.run(arguments, _overrides_of(parser, name, rest))
        return 0
    except Interrupted as stop:
        if os.environ.get("RANK", "0") == "0":  # of several processes the first speaks
            print(f"\nstopped at step {stop.step} and saved; go on with:\n  {_again(arguments)}")
            print(f"the run is in {arguments.workdir.resolve()}")
        return 130
    except KeyboardInterrupt as stop:
        again = f":\n  {_again(arguments)}" if name == "train" else " the same command"
        print(f"\nstopped{f': {stop}; go on with{again}' if stop.args else ''}", file=sys.stderr)
        return 130
    except Exception as error:
        if arguments.debug:
            raise
        print(f"{_called()}: {first_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


def _called() -> str:
    return "run.py" if "run.py" in program() else "score-sde"


def _again(arguments: argparse.Namespace) -> str:
    return f"{command('train', sde=arguments.sde, workdir=arguments.workdir)} --resume"


def _names() -> dict[str, str]:
    """The file of each command, by the command's name."""
    return {module.name.rstrip("_"): module.name for module in pkgutil.iter_modules(commands.__path__)}


def _load(name: str) -> ModuleType:
    return importlib.import_module(f"{commands.__name__}.{_names()[name]}")


def _command_of(words: list[str]) -> tuple[str, list[str]]:
    """The command that the words name, first or after --mode, and the other words; train where they name none."""
    first = [words[0]] if words and not words[0].startswith("-") else []
    usage = f"{program().removesuffix(' --mode')} COMMAND [flags]"
    parser = argparse.ArgumentParser(prog=_called(), usage=usage, add_help=False, allow_abbrev=False)
    parser.add_argument("--mode", choices=sorted(_names()), default=None)
    parser.add_argument("--version", action="version", version=f"score-sde {__version__}")
    if first and first[0] not in _names():
        parser.error(f"{first[0]!r} is not a command: use one of {', '.join(sorted(_names()))}")
    known, rest = parser.parse_known_args(words[len(first) :])
    if first and known.mode not in (None, first[0]):
        parser.error(f"two commands were given, {first[0]} and --mode {known.mode}: give one")
    if not first and known.mode is None and ("-h" in rest or "--help" in rest):
        print(_help())
        raise SystemExit(0)
    return first[0] if first else known.mode or "train", rest


def _help() -> str:
    """The commands, each with the first line of its file, which is read without being imported."""
    lines = "\n".join(f"  {name:<12} {_about(file)}" for name, file in sorted(_names().items()))
    return (
        f"usage: {program().removesuffix(' --mode')} COMMAND [flags]     or     --mode COMMAND [flags]\n\n"
        f"Train, sample and score models of score-based diffusion.\n\ncommands (default: train):\n{lines}\n\n"
        "COMMAND --help shows the flags of a command.\nAny key of the config can be set: --config.train.steps=200. "
        "--dry-run shows what a config builds."
    )


def _about(file: str) -> str:
    spec = importlib.util.find_spec(f"{commands.__name__}.{file}")
    assert spec is not None and spec.origin is not None
    return (ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or "").split("\n")[0]


def parser_of(name: str) -> argparse.ArgumentParser:
    """The flags of a command, by its name."""
    module = _load(name)
    parser = argparse.ArgumentParser(prog=f"{_called()} {name}", description=module.__doc__, allow_abbrev=False)
    module.add_flags(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _overrides_of(parser: argparse.ArgumentParser, name: str, rest: list[str]) -> list[tuple[str, str]]:
    """--config.key=value or --config.key value, as pairs; another word is a mistake."""
    pairs, rest = [], list(rest)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--config."):
            raise UsageError(_unknown(word, name))
        key, equals, value = word.removeprefix("--config.").partition("=")
        if not equals:
            if not rest:
                parser.error(f"{word} needs a value: {word}=...")
            value = rest.pop(0)
        pairs.append((key, value))
    return pairs


def _unknown(word: str, name: str) -> str:
    """What to say of a word that a command does not know: a flag of other commands, or nobody's."""
    flag = word.split("=")[0]
    those = [other for other in _names() if flag in parser_of(other)._option_string_actions]
    if those:
        modes = " and ".join(filter(None, (", ".join(those[:-1]), those[-1])))
        return f"{flag} belongs to --mode {modes}, and --mode {name} has no use for it"
    if word in _names():
        return f"{word!r} stands after a flag: put the command first, as in {program().removesuffix(' --mode')} {word} ..."
    return f"{word!r} is not known; see {name} --help"
