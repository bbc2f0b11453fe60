"""The Export menu waits for the server no longer than it can be expected to take."""


def test_html_export_says_so_when_the_server_does_not_answer(page):
    # Waits of minutes last half a second, so that the test is short.
    page.evaluate("() => { const wait = setTimeout; window.setTimeout = (f, t) => wait(f, t >= 60000 ? 500 : t); }")
    page.route("**/queue/join**", lambda route: route.abort())
    page.locator(".pg-export > button, button.pg-export").first.click()
    page.get_by_role("button", name="Interactive page (HTML), one HTML file that works offline").click()
    page.wait_for_function("() => document.body.innerText.includes('The server has not answered.')", timeout=10_000)
    page.complaints.clear()  # Gradio's own, of the request that failed
