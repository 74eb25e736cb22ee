"""Separators, quotes, headers and decimal commas of a CSV."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitspike.data.cells import read_rows
from bitspike.errors import BitspikeError


def rows(folder: Path, text: str) -> tuple[list[list[str]], str]:
    (folder / "a.csv").write_bytes(text.encode())
    found = read_rows(folder / "a.csv")
    return found.cells, found.separator


@pytest.mark.parametrize(
    ("text", "cells", "separator"),
    [
        ("a,b\n1,2\n", [["1", "2"]], ","),
        ("\ufeffa;b\r\n1 ; 2\r\n\r\n", [["1", "2"]], ";"),
        ("a|b\r1|2\r", [["1", "2"]], "|"),
        ("1\tred, dark\n2\tblue, dark", [["1", "red, dark"], ["2", "blue, dark"]], "\t"),
        ("1,2,a;b\n3,4,c;d\n", [["1", "2", "a;b"], ["3", "4", "c;d"]], ","),
        ("1,5;2,5;a\n3,5;4,5;b\n", [["1,5", "2,5", "a"], ["3,5", "4,5", "b"]], ";"),
        ('a,b\n1,"x, ""y""\nz"\n2, " w "\n', [["1", 'x, "y"\nz'], ["2", " w "]], ","),
        ('"a","b"\n"1","2"\n', [["1", "2"]], ","),
        ('a,b\n1,5" pipe\n', [["1", '5" pipe']], ","),
        ("a,b\n1,x\x85y\u2028z\n", [["1", "x\x85y\u2028z"]], ","),
    ],
)
def test_cells_as_they_stand(tmp_path: Path, text: str, cells: list[list[str]], separator: str) -> None:
    assert rows(tmp_path, text) == (cells, separator)


def test_the_line_of_a_row_counts_breaks_inside_quotes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('a,b\n1,"x\ny"\n2,z\n')
    assert read_rows(tmp_path / "a.csv").lines == [2, 4]


def test_a_decimal_comma_is_read_where_commas_do_not_divide(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,5;2;u\n,25;-1,0e1;v\n")
    found = read_rows(tmp_path / "a.csv")
    assert found.header is None
    assert found.numbers([0, 1]).tolist() == [[1.5, 2.0], [0.25, -10.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a;b\n1,234;x\n5,678;y\n", r"row 2, column 'a': got '1,234', which may be a thousand or a fraction"),
        ("a;b;c\n1,5;2.5;x\n3;4;y\n", r"row 2, column 'a': got '1,5' beside numbers with a decimal point, wanted one"),
        ("a;b\n1.234,5;x\n", r"row 2, column 'a': got '1.234,5', wanted a number"),
        ("a,b\n0x10,x\n", r"row 2, column 'a': got '0x10', wanted a number"),
        ("a,b\n１,x\n", r"row 2, column 'a': got '１', wanted a number"),
        ("a,b\n1e999,x\n", r"row 2, column 'a': got '1e999', wanted a finite number"),
    ],
)
def test_what_may_be_two_numbers_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    found = read_rows(tmp_path / "a.csv")
    with pytest.raises(BitspikeError, match=message):
        found.numbers(list(range(found.width - 1)))


def test_two_separators_that_are_as_good_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BitspikeError, match=r"got a comma and a semicolon that divide every row alike, wanted one"):
        rows(tmp_path, "a,b;c\nd,e;f\n")
