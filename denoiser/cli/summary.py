"""What a run tells when it is over: one line for people, a document or a plan on stdout."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from denoiser.cli import console
from denoiser.errors import ExitCode

if TYPE_CHECKING:
    from denoiser.batch import Report


BROKEN = (ExitCode.NOTHING_TO_DO, ExitCode.UNAVAILABLE, ExitCode.OUTPUT)
"""Ends whose message is an error, which is told even when quiet."""


DONE = {"run": "denoised", "corrupt": "corrupted"}


def show(report: Report, talk: console.Talk, json: bool) -> None:
    """Render a report: on stdout the JSON document or a dry run's plan, on stderr the summary line."""
    talk.finish()
    if json:
        console.print_json(report.to_json())
    elif report.options["dry_run"] and report.files:
        from denoiser.cli import tables

        tables.show_plan(report)
    broken = report.exit_code in BROKEN
    if broken:
        talk.note(report.message, "error")
    if report.files:
        talk.note(line(report, with_message=not broken), "summary")
    if report.verification is not None:
        talk.note(report.verification.sentence(), "summary")


def line(report: Report, with_message: bool = True) -> str:
    """One sentence.

    For example ``240 denoised (231 by unet-photo, 9 by unet), 12 skipped, 1 failed: 812.0 MP in 4 min 5 s, 3.31 MP/s on
    cpu``.
    """
    totals = report.totals()
    words = {"planned": "to do", "done": DONE[report.command] + _networks(report), "copied": "copied"}
    words |= {"skipped": "skipped" + _left_alone(report), "failed": "failed"}
    counts = [f"{totals[key]:,} {word}" for key, word in words.items() if totals[key]]
    counts += [f"{totals['left']:,} left for the next run"] if totals["left"] else []
    shard = report.options.get("shard")
    text = (f"share {shard[0]} of {shard[1]}: " if shard else "") + ", ".join(counts)
    if report.estimate is not None:
        text += f": {report.megapixels:,.1f} MP, about {console.duration(report.estimate)}"
    elif totals["done"]:
        text += f": {report.megapixels:,.1f} MP in {console.duration(report.seconds)}"
        text += f", {totals['megapixels_per_second']:.2f} MP/s{_engine(report)}"
    return f"{text}; {report.message}" if report.message and with_message else text


def _networks(report: Report) -> str:
    """How many files each network has done, where they were chosen."""
    counts = Counter(result.choice["model"] for result in report.files if result.status == "done" and result.choice)
    return f" ({', '.join(f'{count:,} by {model}' for model, count in counts.most_common())})" if counts else ""


def _left_alone(report: Report) -> str:
    """How many of the skipped files have outputs that others made or changed."""
    count = sum(result.status == "skipped" and bool(result.warnings) for result in report.files)
    return f" ({count:,} left alone)" if count else ""


def _engine(report: Report) -> str:
    device, precision = report.engine.get("device"), report.engine.get("precision")
    return f" on {device}, {precision}" if device and precision else ""
