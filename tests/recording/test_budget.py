"""Amounts of memory."""

import pytest

from viz.recording.budget import amount, budget, free_memory


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GiB", 2**31),
        ("2 gib", 2**31),
        ("1.5GiB", 3 * 2**29),
        ("500 MB", 500_000_000),
        ("500m", 500_000_000),
        ("3e9", 3_000_000_000),
        ("1000000", 1_000_000),
    ],
)
def test_budget_reads_amounts(text, size):
    assert budget(text) == size


@pytest.mark.parametrize(
    "text",
    [
        *("lots", "-1GB", "-5", "0", "0GB", "nan", "inf", "1e400", "1e99", "9999999 TB", "9" * 400, "9" * 400 + "GB"),
        *("2GiB extra", "2 G i B", "2GB; rm", "1..2GB", ".", "GB", "8Gbit", "٣GB"),
    ],
)
def test_budget_refuses_anything_else(text):
    with pytest.raises(ValueError, match="expected an amount of memory such as 2GiB or 500MB, got ") as refusal:
        budget(text)
    assert len(str(refusal.value)) < 120


def test_budget_is_a_quarter_of_the_free_memory_by_default():
    assert 0.2 < budget() / free_memory() < 0.3


def test_amount_is_short():
    assert [amount(n) for n in (5_000, 431_400_000, 2_310_000_000)] == ["5 kB", "431 MB", "2.3 GB"]
