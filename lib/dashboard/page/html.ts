/** The document of the page. All that it shows is added by its script, as text. */
export const HTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Locks</title>
<link rel="icon" href="icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="view.css">
<script src="view.js" type="module"></script>
</head>
<body data-link="connecting">
<header class="top">
  <div class="brand">
    <h1 id="title">Locks</h1>
    <span id="namespace" class="chip" hidden></span>
  </div>
  <p id="link" class="link" role="status"><span class="pulse" aria-hidden="true"></span><span id="link-text">Connecting</span></p>
</header>
<main>
  <div id="alert" class="alert" role="alert" hidden></div>
  <div class="tools">
    <div class="modes" role="group" aria-label="Show">
      <button type="button" data-mode="all" aria-pressed="true"><b id="count-all">0</b> All</button>
      <button type="button" data-mode="held" aria-pressed="false"><b id="count-held">0</b> Held</button>
      <button type="button" data-mode="waiting" aria-pressed="false"><b id="count-waiting">0</b> Waited for</button>
      <button type="button" data-mode="trouble" aria-pressed="false"><b id="count-trouble">0</b> In trouble</button>
      <button type="button" data-mode="free" aria-pressed="false"><b id="count-free">0</b> Free</button>
    </div>
    <label class="search">
      <span class="hidden">Filter by lock, pod or method</span>
      <input id="filter" type="search" placeholder="Filter by lock, pod or method" autocomplete="off" spellcheck="false" maxlength="200">
      <kbd aria-hidden="true">/</kbd>
    </label>
    <div class="spans" role="group" aria-label="Time shown">
      <button type="button" data-span="60" aria-pressed="false">1 min</button>
      <button type="button" data-span="300" aria-pressed="true">5 min</button>
      <button type="button" data-span="1800" aria-pressed="false">30 min</button>
      <button type="button" data-span="7200" aria-pressed="false">2 h</button>
    </div>
  </div>
  <section class="board" aria-labelledby="title">
    <div class="head" aria-hidden="true">
      <span>Lock</span><span>Holder</span><span>Lease</span><span>Line</span><span>Fires</span>
      <span id="axis" class="axis"></span>
    </div>
    <ul id="locks" class="locks"></ul>
    <div id="empty" class="empty"><h2 id="empty-title">Waiting for the first state</h2><p id="empty-text"></p><button id="empty-clear" class="plain" type="button" hidden>Show all locks</button></div>
  </section>
  <section id="sessions-part" class="board sessions" aria-labelledby="sessions-title" hidden>
    <h2 id="sessions-title">Sessions</h2>
    <ul id="sessions" class="locks"></ul>
  </section>
</main>
<dialog id="details" class="sheet" aria-labelledby="details-title">
  <div class="sheet-head">
    <h2 id="details-title"></h2>
    <button id="details-close" class="plain" type="button">Close</button>
  </div>
  <div id="details-body" class="sheet-body" tabindex="0" role="region" aria-label="Details"></div>
  <div class="sheet-foot" id="details-foot" hidden>
    <button id="release" class="danger" type="button">Force release…</button>
  </div>
</dialog>
<dialog id="confirm" class="ask" aria-labelledby="confirm-title" aria-describedby="confirm-text">
  <h2 id="confirm-title"></h2>
  <p id="confirm-text"></p>
  <p id="confirm-holder" class="identity"></p>
  <p id="confirm-fault" class="fault" role="alert" hidden></p>
  <div class="ask-foot">
    <button id="confirm-no" class="plain" type="button" autofocus>Cancel</button>
    <button id="confirm-yes" class="danger" type="button"></button>
  </div>
</dialog>
<noscript><p class="alert">This page needs JavaScript.</p></noscript>
</body>
</html>
`;
