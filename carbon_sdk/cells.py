"""Cells of CSV files and spreadsheets."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cell(value: object) -> object:
    """A value for a spreadsheet: a text that would be taken for a formula is quoted."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
