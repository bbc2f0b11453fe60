// Requests the page's script and the trace it opens with from the page's head, before Gradio has started.

// `script` is a path on this server, `trace` the path of a file that Gradio serves.
export function requestEarly({ script, trace }) {
  const { root, api_prefix } = window.gradio_config;
  const link = document.createElement("link");
  Object.assign(link, { rel: "modulepreload", href: `${root}${script}` });
  document.head.append(link);
  const url = `${root}${api_prefix}/file=${trace}`;
  const response = fetch(url);
  response.catch(() => {}); // takeEarly passes the failure on
  window.pixelgazeEarly = { url, response };
}

// Fetches an address; uses the response to the early request if that was for the same address.
export function takeEarly(url) {
  const early = window.pixelgazeEarly;
  if (early?.url !== url) return fetch(url);
  delete window.pixelgazeEarly;
  return early.response.then((response) => (response.ok ? response : fetch(url)), () => fetch(url));
}
