// One event stream for the page: every event of the server makes the fragments that listen for "changed" renew
// themselves. A lost stream reconnects by itself and goes on where it stood (Last-Event-ID).
"use strict";
(() => {
  const badge = document.getElementById("live");
  let pending = 0;
  const changed = () => {
    if (pending) return;
    pending = setTimeout(() => { pending = 0; document.body.dispatchEvent(new Event("changed")); }, 100);
  };
  const stream = new EventSource(new URL("../api/holdfast/events", document.currentScript.src));
  const show = (on) => { badge.classList.toggle("on", on); badge.textContent = on ? "live" : "not live"; };
  stream.onopen = () => show(true);
  stream.onerror = () => show(false);
  for (const kind of ["session.status", "message.any", "message.ack"]) stream.addEventListener(kind, changed);
  document.body.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.requestConfig.verb !== "get") document.getElementById("problem").textContent = "";
  });
})();
