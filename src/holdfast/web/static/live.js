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
  const stream = new EventSource("/api/holdfast/events");
  stream.onopen = () => badge.classList.add("on");
  stream.onerror = () => badge.classList.remove("on");
  for (const kind of ["session.status", "message.any", "message.ack"]) stream.addEventListener(kind, changed);
})();
