"""The page of commands says what the registry has."""

from localjuju.cli.reference import PAGE, page


def test_the_page_is_current():
    assert PAGE.read_text() == page(), "run: python -m localjuju.cli.reference"
