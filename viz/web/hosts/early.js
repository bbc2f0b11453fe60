// What the page needs first, requested by its head before Gradio has started: the page's script, and the trace it opens with.

// Runs in the head. `script` is a path on this server, `trace` that of a file which Gradio serves.
export function requestEarly({ script, trace }) {
  const { root, api_prefix } = window.gradio_config;
  const link = document.createElement("link");
  Object.assign(link, { rel: "modulepreload", href: `${root}${script}` });
  document.head.append(link);
  const url = `${root}${api_prefix}/file=${trace}`;
  const response = fetch(url);
  response.catch(() => {}); // takeEarly's caller is told
  window.pixelgazeEarly = { url, response };
}

// The response to the early request if it was for this address, else to a request of its own.
export function takeEarly(url) {
  const early = window.pixelgazeEarly;
  if (early?.url !== url) return fetch(url);
  delete window.pixelgazeEarly;
  return early.response.then((response) => (response.ok ? response : fetch(url)), () => fetch(url));
}
