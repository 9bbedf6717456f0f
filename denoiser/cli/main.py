"""The command ``denoiser``: the table of its commands, and the one place where an error becomes an exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from denoiser import tuning
from denoiser.cli import benchmark, config, console, corrupt, doctor, estimate, models, recipes, run, signals, train
from denoiser.cli import options as o
from denoiser.errors import DenoiserError, ExitCode, Interrupted, UsageError

COMMANDS: dict[str, Callable[..., None]] = {
    "run": run.run,
    "corrupt": corrupt.corrupt,
    "estimate": estimate.estimate,
    "train": train.train,
    "benchmark": benchmark.benchmark,
    "doctor": doctor.doctor,
}

EXAMPLES: dict[str, str] = {
    "run": run.EXAMPLES,
    "corrupt": corrupt.EXAMPLES,
    "estimate": estimate.EXAMPLES,
    "train": train.EXAMPLES,
    "benchmark": benchmark.EXAMPLES,
}

GROUPS: dict[str, typer.Typer] = {
    "models": models.app,
}

HELP = """Denoise pictures: a folder tree of noisy images in, the same tree clean out, nothing lost on the way.

Everything works offline; the weights are in the package.
"""

EPILOG = """Options of run, corrupt, estimate, train, benchmark and doctor can also be set in denoiser.toml, in a table
per command such as [run], and those of all commands as the environment variable DENOISER_<OPTION>. The command
line beats the environment, which beats the file.

\b
Exit codes:
  0    everything asked for is done
  1    some inputs failed, all others are written
  2    usage: unknown option, bad value, an output would overwrite an input
  3    nothing to do: no readable image found
  4    model, weights or device not available
  5    output cannot be written
  6    stopped at a limit with work left
  7    another run holds the lock on the output directory
  8    a quality gate failed (benchmark --baseline)
  130  interrupted (143: terminated); finished files stay, the next run goes on
"""


def build_app() -> typer.Typer:
    """The Typer application with all commands of the tables above."""
    app = typer.Typer(
        name="denoiser",
        help=HELP,
        epilog=EPILOG,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={key: o.SETTINGS[key] for key in ("help_option_names", "max_content_width")},
    )
    app.callback()(_program)
    for name, command in COMMANDS.items():
        app.command(name, context_settings=o.SETTINGS, epilog=EXAMPLES.get(name))(command)
    for name, group in GROUPS.items():
        app.add_typer(group, name=name)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        from denoiser.cli.version import describe

        console.print_text(describe())
        raise typer.Exit


def _program(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show versions and devices, then exit."),
    ] = False,
) -> None:
    try:
        Path.cwd()
    except FileNotFoundError as error:  # in which not even every library can be loaded
        raise UsageError("the working directory has been deleted; change to one that exists") from error
    _warn_of_slips(ctx)


def _warn_of_slips(ctx: typer.Context) -> None:
    """Tell of variables that are nearly the name of an option. Others with the same beginning may be anybody's."""
    prefix = f"{o.SETTINGS['auto_envvar_prefix']}_"
    given = [name.removeprefix(prefix) for name in os.environ if name.startswith(prefix)]
    if not given:
        return
    root: Any = ctx.command
    known = {param.name.upper() for command in root.commands.values() for param in command.params}
    for name in given:
        if name not in known and (close := get_close_matches(name, known, n=1, cutoff=0.8)):
            console.say(f"warning: the variable {prefix}{name} is no option's; did you mean {prefix}{close[0]}?")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code of the process.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; by default those of the process.
    """
    tuning.set_environment()
    try:
        code = build_app()(args=arguments, prog_name="denoiser", standalone_mode=False)
    except typer.TyperException as error:
        return _usage(error)
    except DenoiserError as error:
        _say(str(error))
        return error.exit_code
    except typer.Abort:
        return ExitCode.INTERRUPTED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Interrupted as end:
        console.say(f"{end.code.name.lower()} before it was done")
        return end.code
    except Exception as error:
        return _unexpected(error)
    return int(code or 0)


def _unexpected(error: Exception) -> ExitCode:
    """What no other part of the program has answered: help that cannot be written, else a defect."""
    if isinstance(error, OSError) and error.filename is None and error.errno in (errno.ENOSPC, errno.EIO):
        _say(f"stdout cannot be written ({error.strerror})")
        console.close_stdout()
        return ExitCode.OUTPUT
    # No traceback unless it was asked for.
    _say(f"unexpected {type(error).__name__}: {error}; add --debug to see where, and please report it")
    return ExitCode.SOME_FAILED


def program() -> NoReturn:
    """The process: :func:`main` and its end.

    A run that was interrupted has put everything in order when it returns, but windows may still be computed by threads
    that Python would wait for, which takes seconds where they are large.
    """
    console.open_streams()
    tuning.keep_freed_memory()
    with signals.ending():
        try:
            code = main()
        except Interrupted as end:  # before or after all else
            code = end.code
    if code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _usage(error: Any) -> int:
    """Show a usage error as Typer does, and where a wrong value comes from when it was not typed."""
    context: Any = getattr(error, "ctx", None)
    parameter: Any = getattr(error, "param", None)
    source = context.get_parameter_source(parameter.name) if context and parameter else None
    if source is not None and source.name == "DEFAULT_MAP":
        file = context.meta.get(recipes.SOURCE, {}).get(parameter.name) or context.params.get("config") or config.FILE
        _say(f"{file}: {error.format_message()}")
    elif source is not None and source.name == "ENVIRONMENT":
        _say(f"environment variable DENOISER_{parameter.name.upper()}: {error.format_message()}")
    elif context is not None and not error.format_message().startswith("Usage:"):
        console.say(f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n")
        _say(error.format_message())
    else:
        console.say(error.format_message())
    return ExitCode.USAGE


def _say(message: str) -> None:
    console.say(f"error: {message}")
