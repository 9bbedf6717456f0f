"""Tables for people, drawn with Rich on stdout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from denoiser.cli.console import to_stdout

if TYPE_CHECKING:
    from denoiser.batch import Report
    from denoiser.benchmark import Result
    from denoiser.inference.diagnosis import Diagnosis


@to_stdout()
def show_models(rows: Sequence[Mapping[str, Any]]) -> None:
    """A paragraph per model, whose lines may wrap; data that several models share are told once, below."""
    console = Console()
    data = list(dict.fromkeys(row["data"] for row in rows))
    for row in rows:
        console.print(Text.assemble((row["name"], "bold"), f"  {row['purpose']}"))
        facts = [_cost(row), f"PSNR in dB by {_scores(row['psnr'])}", f"noise: {row['noise']}"]
        facts.append(f"licence: {row['licence']}; data: {data.index(row['data']) + 1}")
        for fact in facts:
            console.print(Padding(Text(fact), (0, 0, 0, 2), expand=False))
        console.print()
    for number, text in enumerate(data, 1):
        console.print(Text(f"data {number}: {text}"))
    console.print(Text("All of a card: denoiser models show NAME", style="dim"))


@to_stdout()
def show_model(row: Mapping[str, Any]) -> None:
    """All fields of a card, one per line."""
    table = Table.grid(padding=(0, 2))
    for key, value in row.items():
        if value not in ("", {}, None):
            table.add_row(Text(key, style="bold"), Text(_psnr(value) if key == "psnr" else _words(value)))
    Console().print(table)


@to_stdout()
def show_plan(report: Report) -> None:
    """One row per file of a dry run: what would become of it, and what its new format would lose."""
    table = Table()
    table.add_column("action")
    table.add_column("input", overflow="fold")
    table.add_column("output", overflow="fold")
    table.add_column("MP", justify="right")
    table.add_column("notes", overflow="fold")
    for result in report.files:
        lost = [f"loses {', '.join(result.losses)}"] if result.losses else []
        notes = "; ".join([*filter(None, [result.reason]), *lost, *result.warnings])
        size = f"{result.megapixels:,.2f}" if result.megapixels else ""
        target = str(result.target or "")
        table.add_row(str(result.status), Text(str(result.source)), Text(target), size, Text(notes))
    Console().print(table)


@to_stdout()
def show_benchmark(result: Result, psnr: str) -> None:
    """One table per kind of noise, and below them the protocol, without which the figures mean nothing."""
    from denoiser.benchmark import tables

    console = Console()
    shown = tables.columns(result, psnr)
    for noise, rows in tables.by_noise(result).items():
        # A narrow frame: eight columns with intervals fit into 80 characters.
        table = Table(title=Text(noise, style="bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for column in shown:
            table.add_column(column.heading, justify="left" if column is shown[0] else "right", overflow="fold")
        for row in rows:
            style = "bold" if row.kind in ("model", "restored") else ""
            table.add_row(*(Text(column.text(row)) for column in shown), style=style)
        console.print(table)
    console.print(Text(result.protocol["statement"], style="dim"))


@to_stdout()
def show_noise(rows: Sequence[Mapping[str, Any]]) -> None:
    """One kind of noise after the other: what it does, and its parameters."""
    console = Console()
    for row in rows:
        console.print(Text(row["name"], style="bold"))
        console.print(Padding(Text(row["about"]), (0, 0, 0, 2), expand=False))
        for each in row["parameters"]:
            words = f" ({' or '.join(each['words'])})" if each["words"] else ""
            console.print(
                Padding(Text(f"{each['name']}={each['default']}: {each['meaning']}{words}"), (0, 0, 0, 4), expand=False)
            )
        console.print()


@to_stdout()
def show_diagnosis(found: Diagnosis) -> None:
    """What ``denoiser doctor`` found: facts, precisions, problems and advice."""
    machine = found.machine
    devices = ", ".join(f"{name} ({free / 2**30:.1f} GiB free)" for name, free in machine.devices.items())
    facts = {
        "versions": _words(found.versions),
        "extras": _words(found.extras) or "none installed",
        "system": machine.system,
        "devices": devices,
        "threads": f"{machine.computing} of {machine.processors} processors compute",
        "memory": f"{machine.free / 2**30:.1f} of {machine.memory / 2**30:.1f} GiB free",
        "weights": f"{found.weights} files, {'checked' if not found.problems else 'see below'}",
        "model": f"{found.model} on {found.device}: {found.precision or 'no precision passes its check'}",
    }
    table = Table.grid(padding=(0, 2))
    for key, value in facts.items():
        table.add_row(Text(key, style="bold"), Text(value))
    console = Console()
    console.print(table)
    console.print(_trials(found))
    for problem in found.problems:
        console.print(Text(f"problem: {problem}", style="bold"), soft_wrap=True)
    for each in found.advice or ("nothing would make it faster that this program knows of",):
        console.print(Text(f"advice: {each}"), soft_wrap=True)


def _trials(found: Diagnosis) -> Table:
    """One row per precision; deviations are in standard deviations of the noise."""
    table = Table()
    for heading in ("precision", "largest error", "allowed", "typical error", "MP/s"):
        table.add_column(heading, justify="left" if heading == "precision" else "right")
    for each in found.trials:
        whose = f"{each.model}, " if each.model else ""
        cells = [whose + each.precision + (" (chosen)" if each.precision == found.precision else "")]
        if each.largest is None or each.typical is None:
            cells += ["fails", f"{each.allowed:g}", "", ""]
        else:
            cells += [f"{each.largest:.2g}", f"{each.allowed:g}", f"{each.typical:.2g}", f"{each.speed:.2f}"]
        table.add_row(*map(Text, cells))
    return table


def _cost(row: Mapping[str, Any]) -> str:
    return ", ".join(
        (
            f"{row['parameters'] / 1e6:.2f} M parameters",
            f"{row['macs_per_pixel'] / 1e3:.1f} kMAC/px",
            f"receptive field ±{row['receptive_field']} px",
            f"{row['bytes'] / 1e6:.1f} MB",
        )
    )


def _scores(psnr: Mapping[str, Mapping[str, float]]) -> str:
    """Those of the protocol that suits users' files, or of the one that there is, in one line."""
    if not psnr:
        return "not measured"
    protocol = "file" if "file" in psnr else next(iter(psnr))
    return f"protocol {protocol}: " + ", ".join(f"{level} {value:.2f}" for level, value in psnr[protocol].items())


def _psnr(psnr: Mapping[str, Mapping[str, float]]) -> str:
    """Mean PSNR in dB by protocol and noise level; a dash where nothing was measured."""
    lines = []
    for protocol, levels in psnr.items():
        lines.append(f"{protocol}:")
        lines.extend(f"  {level}: {value:.2f} dB" for level, value in levels.items())
    return "\n".join(lines) or "-"


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)
