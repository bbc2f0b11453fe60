// Requests the page's script and the beginning of the trace it opens with, and shows its picture, before Gradio has started.

// `script` is a path on this server, `trace` the path of a file that Gradio serves, of which `bytes` are enough for the first map,
// and `picture` the path of its picture. `modules` are the names of Gradio's scripts that are needed last.
export function requestEarly({ script, trace, bytes, picture, modules }) {
  const { root, api_prefix, theme_hash } = window.gradio_config;
  import(`${root}${script}`).catch(() => {}); // runs while Gradio waits for its own; components import it again
  const request = (link) => document.head.append(Object.assign(document.createElement("link"), link));
  request({ rel: "stylesheet", href: `${root}/theme.css?v=${theme_hash}` }); // Gradio asks for it late, and waits
  const addressOf = (path) => `${root}${api_prefix}/file=${path}`;
  const url = addressOf(trace);
  const response = fetch(url, { headers: { Range: `bytes=0-${bytes - 1}` } });
  response.catch(() => {}); // takeEarly passes the failure on
  window.pixelgazeEarly = { url, response, poster: showPoster(addressOf(picture)) };
  for (const name of modules) request({ rel: "modulepreload", crossOrigin: "", href: `${root}/assets/${name}` });
}

// The picture over the page that is still empty; nothing moves when it goes.
function showPoster(src) {
  const poster = document.createElement("div");
  const image = document.createElement("img");
  Object.assign(image, { src, alt: "", width: 192, height: 192 });
  Object.assign(image.style, { display: "block", margin: "0 auto 12px", borderRadius: "8px", imageRendering: "pixelated" });
  poster.id = "pg-poster";
  poster.append(image, "Loading the recording…");
  const place = { position: "fixed", left: "0", right: "0", top: "30vh", textAlign: "center", pointerEvents: "none", zIndex: "9" };
  Object.assign(poster.style, { ...place, color: "#6b7280", font: "15px Inter, system-ui, sans-serif" });
  document.documentElement.append(poster);
  return poster;
}

// Fetches an address; uses the response to the early request if that was for the same address.
export function takeEarly(url) {
  const early = window.pixelgazeEarly;
  if (early?.url !== url || !early.response) return fetch(url);
  const { response } = early;
  delete early.response;
  return response.then((answer) => (answer.ok ? answer : fetch(url)), () => fetch(url));
}

// Removes the picture: the viewer shows its own, or a message.
export function endEarly() {
  window.pixelgazeEarly?.poster.remove();
}
