"""The figure of the README shows what the store holds."""

from flexlib.book import result


def test_the_figure_of_the_readme_is_current():
    assert result.PATH.read_bytes() == result.result_figure(), (
        "the store has changed: renew the figure with `python -m flexlib.book.result`"
    )
