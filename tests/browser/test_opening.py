"""What opening the page asks for, and when."""

from tests.support.chromium import VIEWER_ROOT

LOADED = """() => performance.getEntriesByType("resource").map(({ name, startTime, initiatorType, transferSize }) =>
  ({ name: name.replace(location.origin, ""), startTime, initiatorType, transferSize }))"""


def open_first_map(context, url):
    page = context.new_page()
    page.goto(url, wait_until="commit")
    page.wait_for_function(f"document.querySelector('{VIEWER_ROOT}')?.viewer?.map")
    return page


def test_head_asks_for_everything_that_the_first_map_waits_for(chromium, url):
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    page = open_first_map(context, url)
    until = page.evaluate("performance.now()")
    loaded = [entry for entry in page.evaluate(LOADED) if entry["startTime"] < until]
    read = page.evaluate("performance.getEntriesByType('navigation')[0].domInteractive")
    late = [entry["name"] for entry in loaded if entry["startTime"] > read and entry["name"].endswith((".js", ".css"))]
    assert late == []
    scripts = [entry["name"] for entry in loaded if entry["name"].endswith(".js")]
    assert len(scripts) == len(set(scripts)) > 40
    sheets = [entry["name"] for entry in loaded if entry["name"].endswith(".css")]
    assert len(sheets) <= 2  # Gradio's entry's, and all others in one
    page.close()
    context.close()


def test_second_visit_asks_for_no_script_again(chromium, url):
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    open_first_map(context, url).close()
    page = open_first_map(context, url)
    again = [
        entry["name"]
        for entry in page.evaluate(LOADED)
        if entry["transferSize"] and "/assets/" in entry["name"] and entry["name"].endswith((".js", ".css"))
    ]
    assert again == []
    context.close()
