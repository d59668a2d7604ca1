"""The program: `score-sde COMMAND`, `python -m score_sde COMMAND` and `python run.py --mode COMMAND` do the same.

Each command is a file of `commands/`. Its docstring is its help, `add_flags(parser)` adds its flags, and
`run(arguments, overrides)` executes it. overrides are the pairs (key, value) of --config.key=value.
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

# Threads that spin for long slow a busy machine down, and threads that sleep start late on an idle one: spin for microseconds.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # read when torch is imported

from score_sde import __version__, commands
from score_sde.errors import Interrupted, UsageError, first_line
from score_sde.program import command, foreign_package, program
from score_sde.trust import trust_of_command

__all__ = ["main", "parser_of"]


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit code: 0 for success, 1 for failure, 2 for wrong usage, 130 for an interruption."""
    words = list(sys.argv[1:] if argv is None else argv)
    name, words = _split_command(words)
    message = foreign_package()
    if message is not None:
        print(f"{_program_name()}: {message}", file=sys.stderr)
        return 2
    module = _load(name)
    parser = parser_of(name)
    arguments, rest = parser.parse_known_args(words)
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)
    try:
        overrides = _overrides_of(parser, name, rest)
        with trust_of_command(arguments, overrides):
            module.run(arguments, overrides)
        return 0
    except Interrupted as stop:
        if os.environ.get("RANK", "0") == "0":  # rank 0 alone prints
            print(f"\nstopped at step {stop.step} and saved; go on with:\n  {_resume_command(arguments)}")
            print(f"the run is in {arguments.workdir.resolve()}")
        return 130
    except KeyboardInterrupt as stop:
        again = f":\n  {_resume_command(arguments)}" if name == "train" else " the same command"
        print(f"\nstopped{f': {stop}; go on with{again}' if stop.args else ''}", file=sys.stderr)
        return 130
    except Exception as error:
        if arguments.debug:
            raise
        print(f"{_program_name()}: {first_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


def _program_name() -> str:
    return "run.py" if "run.py" in program() else "score-sde"


def _resume_command(arguments: argparse.Namespace) -> str:
    trust = getattr(arguments, "trust", False)
    return f"{command('train', sde=arguments.sde, workdir=arguments.workdir, trust=trust)} --resume"


def _names() -> dict[str, str]:
    """The file of each command, by the command's name."""
    return {module.name.rstrip("_"): module.name for module in pkgutil.iter_modules(commands.__path__)}


def _load(name: str) -> ModuleType:
    return importlib.import_module(f"{commands.__name__}.{_names()[name]}")


def _split_command(words: list[str]) -> tuple[str, list[str]]:
    """The command, which is the first word or the value of --mode (default: train), and the other words."""
    first = [words[0]] if words and not words[0].startswith("-") else []
    usage = f"{program().removesuffix(' --mode')} COMMAND [flags]"
    parser = argparse.ArgumentParser(prog=_program_name(), usage=usage, add_help=False, allow_abbrev=False)
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
    """The list of commands. Each file is read and not imported, so that --help does not wait for torch."""
    lines = "\n".join(f"  {name:<12} {_summary(file)}" for name, file in sorted(_names().items()))
    return (
        f"usage: {program().removesuffix(' --mode')} COMMAND [flags]     or     --mode COMMAND [flags]\n\n"
        f"Train, sample and score models of score-based diffusion.\n\ncommands (default: train):\n{lines}\n\n"
        "COMMAND --help shows the flags of a command.\nAny key of the config can be set: --config.train.steps=200. "
        "--dry-run shows what a config builds."
    )


def _summary(file: str) -> str:
    """The first line of a command's docstring."""
    spec = importlib.util.find_spec(f"{commands.__name__}.{file}")
    assert spec is not None and spec.origin is not None
    return (ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or "").split("\n")[0]


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of a command's flags, by the command's name."""
    module = _load(name)
    parser = argparse.ArgumentParser(prog=f"{_program_name()} {name}", description=module.__doc__, allow_abbrev=False)
    module.add_flags(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _overrides_of(parser: argparse.ArgumentParser, name: str, rest: list[str]) -> list[tuple[str, str]]:
    """The pairs (key, value) of --config.key=value or --config.key value.

    Raises:
        UsageError: when there is any other word.
    """
    pairs, rest = [], list(rest)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--config."):
            raise UsageError(_explain_unknown(word, name))
        key, equals, value = word.removeprefix("--config.").partition("=")
        if not equals:
            if not rest:
                parser.error(f"{word} needs a value: {word}=...")
            value = rest.pop(0)
        pairs.append((key, value))
    return pairs


def _explain_unknown(word: str, name: str) -> str:
    """The message for a word that a command does not know: a flag of other commands, a command, or neither."""
    flag = word.split("=")[0]
    owners = [other for other in _names() if flag in parser_of(other)._option_string_actions]
    if owners:
        modes = " and ".join(filter(None, (", ".join(owners[:-1]), owners[-1])))
        return f"{flag} belongs to --mode {modes}, and --mode {name} has no use for it"
    if word in _names():
        return f"{word!r} stands after a flag: put the command first, as in {program().removesuffix(' --mode')} {word} ..."
    return f"{word!r} is not known; see {name} --help"
