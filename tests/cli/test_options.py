from __future__ import annotations

import subprocess
import sys

import pytest

from nas.cli.options import _split_password
from nas.format import (
    format_bytes,
    format_count,
    format_duration,
    format_latency,
    format_number,
    parse_duration,
    parse_latency,
    parse_quantity,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [("20M", 20_000_000), ("1.5G", 1_500_000_000), ("300k", 300_000), ("7", 7), (None, None)],
)
def test_quantities(text: str | None, value: int | None) -> None:
    assert parse_quantity("--max-macs", text) == value


@pytest.mark.parametrize("text", ["", "0", "-1", "20X", "1e9", "M", "9" * 400, "nan", "0.1"])
def test_bad_quantities_name_the_option(text: str) -> None:
    with pytest.raises(ValueError, match=r"--max-macs: .*accepted"):
        parse_quantity("--max-macs", text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86_400), ("5", 5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration("--timeout", text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5s", "0", "2 ms", "5s ago", "9" * 400])
def test_bad_durations_name_the_option(text: str) -> None:
    with pytest.raises(ValueError, match=r"--timeout: .*accepted"):
        parse_duration("--timeout", text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("5ms", 0.005), ("0.8 ms", 0.0008), ("250us", 0.00025), ("1s", 1.0)]
)
def test_latencies(text: str, seconds: float) -> None:
    assert parse_latency("--max-latency", text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "0ms", "-5ms", "2h", "5 m s", "9" * 400 + "ms"])
def test_bad_latencies_name_the_option(text: str) -> None:
    with pytest.raises(ValueError, match=r"--max-latency: .*accepted: a latency such as"):
        parse_latency("--max-latency", text)


def test_numbers_of_things() -> None:
    assert [format_number(n, "image") for n in (0, 1, 1200)] == [
        "0 images",
        "1 image",
        "1,200 images",
    ]
    assert [format_number(n, "GPU") for n in (1.0, 0.25)] == ["1 GPU", "0.25 GPUs"]
    assert [format_number(n, "class", "classes") for n in (1, 2)] == ["1 class", "2 classes"]


def test_rounding_carries_over() -> None:
    assert [format_count(v) for v in (999, 999.6, 999_499, 999_600, 1_000_000)] == [
        "999",
        "1 k",
        "999 k",
        "1 M",
        "1 M",
    ]
    kib = [format_bytes(1024 * v) for v in (999.4, 999.6, 1023, 1024)]
    assert kib == ["999 KiB", "1000 KiB", "1023 KiB", "1 MiB"]
    assert [format_latency(s) for s in (0.00052, 0.9996, 1.2345)] == [
        "0.52 ms",
        "1000 ms",
        "1234 ms",
    ]


def test_formats() -> None:
    assert [format_count(v) for v in (999, 412_000, 20_300_000, 1.25e9)] == [
        "999",
        "412 k",
        "20.3 M",
        "1.25 G",
    ]
    assert [format_duration(s) for s in (42, 185, 7800)] == ["42 s", "3 min 5 s", "2 h 10 min"]


@pytest.mark.parametrize(
    ("url", "shown", "password"),
    [
        ("postgresql://me:pw@host/db", "postgresql://me@host/db", "pw"),
        ("postgresql+psycopg://me:a/b?c#d@host/db", "postgresql+psycopg://me@host/db", "a/b?c#d"),
        ("postgresql://me:p%40w@host/db", "postgresql://me@host/db", "p@w"),
        ("postgresql://me@host/db?password=pw", "postgresql://me@host/db", "pw"),
        ("postgresql://me@host/db", None, None),
        ("postgresql://[", None, None),
    ],
)
def test_a_password_leaves_the_url(url: str, shown: str | None, password: str | None) -> None:
    assert _split_password(url) == (None if shown is None else (shown, password))


@pytest.mark.parametrize("interrupted", [True, False])
def test_an_import_that_is_interrupted_is_no_error(interrupted: bool) -> None:
    """A compiled module may turn the interrupt into an ImportError."""
    code = f"""
import contextlib, os, signal, typer
from nas.cli.options import run_app

app = typer.Typer()

@app.command()
def command() -> None:
    if {interrupted}:
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    raise ImportError("initialization failed")

signal.signal(signal.SIGINT, signal.default_int_handler)
run_app(app)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    told = "" if interrupted else "error: ImportError: initialization failed\n"
    assert (ran.returncode, ran.stderr) == (130 if interrupted else 1, told)
