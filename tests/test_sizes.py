"""Sizes and times as people write them."""

from __future__ import annotations

import pytest

from mcuc.errors import McucError
from mcuc.sizes import format_size, parse_size, parse_time_ms


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("320KB", 327680),
        ("327680", 327680),
        ("1MB", 1 << 20),
        ("0.5MB", 1 << 19),
        ("320 kb", 327680),
        ("320KiB", 327680),
        (" 64K ", 65536),
        ("2M", 2 << 20),
        ("1b", 1),
        ("1.5KB", 1536),
        ("4096MB", 1 << 32),
    ],
)
def test_sizes_are_read(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize(
    "text",
    [
        "",
        "KB",
        "abc",
        "-5",
        "+5",
        "0",
        "0KB",
        "1.0001KB",
        "12XB",
        "1e3",
        "0x10",
        "1,5KB",
        "1_000",
        "4097MB",
        "٣KB",
        "1 2KB",
        "9" * 400,
        "nan",
        "inf",
    ],
)
def test_sizes_are_refused(text: str) -> None:
    with pytest.raises(McucError) as caught:
        parse_size(text)
    assert caught.value.code == "bad-size" and caught.value.try_this


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KB"),
        (1536, "1.5 KB"),
        (327680, "320 KB"),
        (1 << 20, "1 MB"),
        (5 << 19, "2.5 MB"),
    ],
)
def test_sizes_are_written(count: int, text: str) -> None:
    assert format_size(count) == text


@pytest.mark.parametrize(("text", "ms"), [("100ms", 100.0), ("0.5s", 500.0), ("800us", 0.8), ("2 S", 2000.0)])
def test_times_are_read(text: str, ms: float) -> None:
    assert parse_time_ms(text) == ms


@pytest.mark.parametrize("text", ["", "100", "0ms", "-1ms", "1min", "ms"])
def test_times_are_refused(text: str) -> None:
    with pytest.raises(McucError):
        parse_time_ms(text)
