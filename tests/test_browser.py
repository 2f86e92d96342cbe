"""The browser that the tests of pages rely on."""

from pathlib import Path

from tests.browser import chromium


def test_the_browser_runs_a_page_and_takes_its_picture(tmp_path: Path) -> None:
    with chromium() as browser:
        page = browser.new_page()
        page.set_content("<h1>bins</h1><script>document.querySelector('h1').textContent += ' counted'</script>")
        assert page.inner_text("h1") == "bins counted"
        page.screenshot(path=tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 1000
