/**
 * The script of the page, as text: it is not compiled. test/dashboard/page.spec.ts lints it. What comes from the cluster reaches the
 * document by textContent only.
 */
export const SCRIPT = String.raw`
const byId = (id) => document.getElementById(id);
const SECOND = 1000;

/** The views of all Leases, by their name. */
const views = new Map();
/** The rows of locks and sessions, by the name of their Lease. */
const rows = new Map();
/** The rows on the screen, or near it: only these are drawn. */
const seen = new Set();
const byRow = new WeakMap();
let plans = [];
/** What the clock of the server is ahead of that of this browser. */
let ahead = 0;
let mode = 'all';
let words = '';
let span = 300 * SECOND;
let mayRelease = false;
let openId;

const now = () => Date.now() + ahead;

// --- text and elements

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) {
    made.className = className;
  }
  if (text !== undefined) {
    made.textContent = text;
  }
  return made;
}

/** Writes a text only if it differs, since each write costs a layout. */
function write(node, text) {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

function setData(node, name, value) {
  if (node.dataset[name] !== value) {
    node.dataset[name] = value;
  }
}

function duration(milliseconds) {
  const s = Math.max(0, Math.round(milliseconds / SECOND));
  if (s < 60) {
    return s + ' s';
  }
  if (s < 3600) {
    return Math.floor(s / 60) + ' min ' + (s % 60 ? (s % 60) + ' s' : '');
  }
  if (s < 86400) {
    const m = Math.floor(s / 60) % 60;
    return Math.floor(s / 3600) + ' h ' + (m ? m + ' min' : '');
  }
  const h = Math.floor(s / 3600) % 24;
  return Math.floor(s / 86400) + ' d ' + (h ? h + ' h' : '');
}

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const dayAndClock = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });

function time(at) {
  const isNear = Math.abs(at - Date.now()) < 12 * 3600 * SECOND;
  return (isNear ? clock : dayAndClock).format(at);
}

// --- colours: each pod keeps its own

const COLOURS = 12;
const colours = new Map();
const taken = new Set();

function colourOf(pod) {
  let colour = colours.get(pod);
  if (colour === undefined) {
    let hash = 7;
    for (const letter of pod) {
      hash = (Math.imul(hash, 31) + letter.codePointAt(0)) >>> 0;
    }
    colour = hash % COLOURS;
    for (let tries = 0; taken.has(colour) && tries < COLOURS; tries += 1) {
      colour = (colour + 1) % COLOURS;
    }
    taken.add(colour);
    colours.set(pod, colour);
  }
  return colour;
}

function dot(pod) {
  const made = element('span', 'dot c' + colourOf(pod));
  made.setAttribute('aria-hidden', 'true');
  return made;
}

let palette = [];
function readPalette() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  palette = Array.from({ length: COLOURS }, (_, index) => read('--c' + index));
  palette.track = read('--track');
  palette.line = read('--line');
  palette.soft = read('--soft');
  palette.accent = read('--accent');
}
readPalette();
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  readPalette();
  tick();
});

// --- what a view means now

/** How the lease of a holder stands: of the session, if the lock is held under one. */
function leaseOf(view) {
  const { holder } = view;
  if (!holder) {
    return { health: 'free', left: 0, part: 0 };
  }
  const session = holder.session === undefined ? undefined : views.get(holder.session);
  const renewed = session?.holder ?? holder;
  if (renewed.leaseDuration === undefined) {
    return { health: 'endless', left: Infinity, part: 1, renewals: renewed.renewals };
  }
  const left = renewed.seenAt + renewed.leaseDuration - now();
  const part = Math.max(0, Math.min(1, left / renewed.leaseDuration));
  const health = left <= 0 ? 'expired' : part < 0.4 && !holder.granted ? 'late' : 'held';
  return { health, left, part, renewals: renewed.renewals, isSession: session !== undefined };
}

function lineOf(view) {
  if (view.permits === undefined || view.slot !== 0) {
    return view.waiting;
  }
  // Of a semaphore: the first in line holds the line.
  const line = views.get(view.id + '--line');
  return line ? [...(line.holder ? [line.holder] : []), ...line.waiting] : view.waiting;
}

function nextOf(id) {
  const times = plans.filter((plan) => plan.id === id && plan.next !== undefined).map((plan) => plan.next);
  return times.length > 0 ? Math.min(...times) : undefined;
}

function outcome(fire) {
  const on = fire.pod ? ' on ' + fire.pod : '';
  const late = fire.seenAt !== undefined && fire.seenAt - fire.at > 30 * SECOND && fire.caughtUp;
  const end = fire.caughtUp || late ? ', caught up' : '';
  if (fire.here === 'running') {
    return 'running here' + end;
  }
  if (fire.here === 'ran') {
    return 'ran here' + end;
  }
  if (fire.here === 'failed') {
    return 'failed here' + end;
  }
  const said = {
    done: 'ran' + on,
    begun: 'running' + on,
    claimed: 'starting' + on,
    open: 'given back' + on,
    interrupted: 'interrupted' + on,
  }[fire.state];
  if (fire.here !== 'skipped') {
    return said ?? 'unknown';
  }
  const why = {
    held: 'skipped here: the lock was held' + (fire.pod && !said ? ' by ' + fire.pod : ''),
    'fire-claimed': 'skipped here: it ran elsewhere',
    shutdown: 'skipped here: this pod was closing',
  }[fire.why];
  return said ? said + ', ' + why : why;
}

const isBad = (fire) => fire.state === 'interrupted' || fire.here === 'failed';

const isTrouble = (view, health) => health === 'expired' || health === 'late' || (view.fires[0] !== undefined && isBad(view.fires[0]));

function holderText(view) {
  return view.holder ? view.holder.pod : view.exists ? 'Free' : 'Never held';
}

function methodText(view) {
  return view.holder?.method ?? view.methods.join(', ');
}

function leaseText(view, lease) {
  if (lease.health === 'free') {
    return '';
  }
  if (lease.health === 'endless') {
    return 'until released';
  }
  if (view.holder.granted) {
    return 'granted, not begun';
  }
  return lease.left <= 0 ? 'expired for ' + duration(-lease.left) : duration(lease.left) + ' left';
}

// --- rows

const list = byId('locks');
const sessionList = byId('sessions');

const watcher = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      const row = byRow.get(target);
      if (isIntersecting) {
        seen.add(row);
        draw(row);
      } else {
        seen.delete(row);
      }
    }
  },
  { rootMargin: '200px 0px' },
);

function makeRow(view) {
  const isSession = view.kind === 'session';
  const root = element('li', 'row');
  const row = { id: view.id, root, isSession, isHidden: false };
  const first = element('div');
  row.name = element('button', 'name cut');
  row.name.type = 'button';
  row.name.tabIndex = -1;
  row.method = element('div', 'sub cut');
  first.append(row.name, row.method);
  const second = element('div');
  row.pod = element('div', 'pod');
  row.podText = element('span', 'holder cut');
  row.pod.append(row.podText);
  row.since = element('div', 'sub cut');
  second.append(row.pod, row.since);
  const third = element('div');
  const bar = element('div', 'bar');
  row.fill = element('div', 'fill');
  bar.append(row.fill);
  row.left = element('div', 'sub left cut');
  third.append(bar, row.left);
  root.append(first, second, third);
  if (!isSession) {
    row.line = element('div', 'line');
    const fires = element('div');
    row.next = element('div', 'cut');
    row.last = element('div', 'sub cut');
    fires.append(row.next, row.last);
    const lane = element('div', 'time');
    row.lane = element('canvas', 'lane');
    row.lane.setAttribute('role', 'img');
    lane.append(row.lane);
    root.append(row.line, fires, lane);
  }
  // The rest when it comes near the screen.
  write(row.name, view.name);
  write(row.podText, holderText(view));
  row.lane?.setAttribute('aria-label', 'Who held it when');
  byRow.set(root, row);
  rows.set(view.id, row);
  watcher.observe(root);
  return row;
}

/** The place of a row: by name, and by slot. Rows are only added and removed, never moved. */
function place(row, view) {
  const parent = row.isSession ? sessionList : list;
  const all = parent.children;
  let from = 0;
  let to = all.length;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (compare(views.get(byRow.get(all[middle]).id) ?? view, view) < 0) {
      from = middle + 1;
    } else {
      to = middle;
    }
  }
  parent.insertBefore(row.root, all[from] ?? null);
}

function compare(a, b) {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : (a.slot ?? 0) - (b.slot ?? 0) || (a.id < b.id ? -1 : 1);
}

function removeRow(id) {
  const row = rows.get(id);
  if (row) {
    watcher.unobserve(row.root);
    seen.delete(row);
    rows.delete(id);
    row.root.remove();
  }
}

/** Writes what a row shows; called for rows on the screen only. */
function draw(row) {
  const view = views.get(row.id);
  if (!view || row.isHidden) {
    return;
  }
  const lease = leaseOf(view);
  setData(row.root, 'health', lease.health);
  const slot = view.permits === undefined ? [] : ['permit ' + (view.slot + 1) + ' of ' + view.permits];
  write(row.name, view.name);
  row.name.title = view.name;
  write(row.method, row.isSession ? locksUnder(view.id) : [...slot, methodText(view)].filter(Boolean).join(' · '));
  const pod = holderText(view);
  write(row.podText, pod);
  if (row.shownPod !== view.holder?.pod) {
    row.shownPod = view.holder?.pod;
    row.pod.querySelector('.dot')?.remove();
    if (view.holder) {
      row.pod.prepend(dot(view.holder.pod));
    }
  }
  write(row.since, sinceText(view));
  row.fill.style.transform = 'scaleX(' + lease.part.toFixed(3) + ')';
  write(row.left, leaseText(view, lease));
  if (!row.isSession) {
    drawLine(row, lineOf(view));
    drawFires(row, view);
    drawLane(row, view);
  }
}

function locksUnder(session) {
  let locks = 0;
  for (const { holder } of views.values()) {
    locks += holder?.session === session ? 1 : 0;
  }
  return locks + (locks === 1 ? ' lock is' : ' locks are') + ' held under it';
}

function sinceText(view) {
  const { holder } = view;
  if (!holder) {
    const last = view.holds?.at(-1);
    return last?.to === undefined ? '' : 'since ' + time(last.to) + ', after ' + last.pod;
  }
  const kind = holder.foreign ? ' · another client' : '';
  return (holder.since === undefined ? '' : 'for ' + duration(now() - holder.since)) + kind;
}

function drawLine(row, line) {
  const key = line.map(({ pod }) => pod).join('\n');
  if (row.shownLine === key) {
    return;
  }
  row.shownLine = key;
  const first = line.slice(0, 5).map(({ pod }) => dot(pod));
  row.line.dataset.none = String(line.length === 0);
  const text = line.length === 0 ? '–' : line.length + ' waiting';
  row.line.replaceChildren(...first, element('span', 'sub', text));
  row.line.title = line.slice(0, 12).map(({ pod }, index) => index + 1 + '. ' + pod).join('\n');
}

function drawFires(row, view) {
  const next = nextOf(view.id);
  const [last] = view.fires;
  write(row.next, next === undefined ? '' : next <= now() ? 'due' : 'next in ' + duration(next - now()));
  write(row.last, last ? time(last.at) + ' ' + outcome(last) : next === undefined ? '–' : '');
  row.last.parentElement.dataset.none = String(!last && next === undefined);
  row.last.classList.toggle('bad', last !== undefined && isBad(last));
  row.last.title = last ? outcome(last) : '';
}

/** Who held the lock when, up to now at the right edge. */
function drawLane(row, view) {
  const canvas = row.lane;
  const width = laneWidth;
  const height = 34;
  const scale = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const pen = canvas.getContext('2d');
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  const end = now();
  const start = end - span;
  const x = (at) => ((at - start) / span) * width;
  pen.fillStyle = palette.line;
  for (let part = 0; part < 5; part += 1) {
    pen.fillRect(Math.round((width * part) / 5), 0, 1, height);
  }
  pen.fillStyle = palette.track;
  pen.fillRect(0, 16, width, 2);
  for (const hold of view.holds) {
    const to = hold.to ?? end;
    if (to < start) {
      continue;
    }
    const left = Math.max(0, x(hold.from));
    const wide = Math.max(2, x(to) - left);
    pen.fillStyle = palette[colourOf(hold.pod)];
    pen.beginPath();
    pen.roundRect(left, 7, wide, 20, Math.min(5, wide / 2));
    pen.fill();
  }
  pen.fillStyle = palette.soft;
  for (const fire of view.fires) {
    if (fire.at >= start && fire.at <= end) {
      pen.beginPath();
      pen.arc(x(fire.at), 31.500, 2, 0, 7);
      pen.fill();
    }
  }
  const label = view.holder ? 'Held by ' + view.holder.pod : 'Free';
  const text = label + '; ' + view.holds.length + (view.holds.length === 1 ? ' hold was' : ' holds were') + ' seen';
  if (row.laneText !== text) {
    row.laneText = text;
    canvas.setAttribute('aria-label', text);
  }
}

list.addEventListener('pointermove', (event) => {
  const row = event.target instanceof HTMLCanvasElement && byRow.get(event.target.closest('.row'));
  if (!row) {
    return;
  }
  const box = event.target.getBoundingClientRect();
  const at = now() - span * (1 - (event.clientX - box.left) / box.width);
  const hold = views.get(row.id)?.holds.find(({ from, to }) => from <= at && at <= (to ?? now()));
  event.target.title = hold ? hold.pod + ', ' + time(hold.from) + ' – ' + (hold.to ? time(hold.to) : 'now') : '';
});

// --- the axis, by whose width all lanes go

let laneWidth = 300;
const axis = byId('axis');

function drawAxis() {
  const labels = [0, 1, 2, 3, 4, 5].map((part) => {
    const ago = (span / 5) * (5 - part);
    const label = element('span', '', ago === 0 ? 'now' : '−' + (ago < 120 * SECOND ? ago / SECOND + ' s' : ago < 7200 * SECOND ? ago / 60 / SECOND + ' min' : ago / 3600 / SECOND + ' h'));
    label.style.left = part * 20 + '%';
    return label;
  });
  axis.replaceChildren(...(laneWidth < 340 ? labels.filter((_, index) => index === 0 || index === 5) : labels));
}

new ResizeObserver(([{ contentRect }]) => {
  laneWidth = Math.max(60, Math.round(contentRect.width));
  drawAxis();
  tick();
}).observe(axis);

// --- filter and counts

function fits(view) {
  const { health } = leaseOf(view);
  const inMode =
    mode === 'all' ||
    (mode === 'held' && view.holder !== undefined) ||
    (mode === 'free' && view.holder === undefined) ||
    (mode === 'waiting' && lineOf(view).length > 0) ||
    (mode === 'trouble' && isTrouble(view, health));
  return inMode && (words === '' || matches(view));
}

function matches(view) {
  const text = [view.name, view.id, view.holder?.identity ?? '', methodText(view), ...lineOf(view).map(({ pod }) => pod)];
  return text.some((each) => each.toLowerCase().includes(words));
}

function show(row, view) {
  const isHidden = !row.isSession && !fits(view);
  if (row.isHidden !== isHidden) {
    row.isHidden = isHidden;
    row.root.hidden = isHidden;
  }
}

/** Looks at every view, and touches only what differs. */
function count() {
  const counts = { all: 0, held: 0, waiting: 0, trouble: 0, free: 0 };
  let shown = 0;
  let sessions = 0;
  for (const [id, view] of views) {
    const row = rows.get(id);
    if (view.kind !== 'lock') {
      sessions += view.kind === 'session' ? 1 : 0;
      continue;
    }
    const { health } = leaseOf(view);
    counts.all += 1;
    counts[view.holder ? 'held' : 'free'] += 1;
    counts.waiting += lineOf(view).length > 0 ? 1 : 0;
    counts.trouble += isTrouble(view, health) ? 1 : 0;
    if (row) {
      show(row, view);
      shown += row.isHidden ? 0 : 1;
    }
  }
  for (const [name, number] of Object.entries(counts)) {
    write(byId('count-' + name), String(number));
  }
  setData(document.querySelector('[data-mode=trouble]'), 'hot', String(counts.trouble > 0));
  byId('sessions-part').hidden = sessions === 0;
  byId('empty').hidden = shown > 0;
  if (shown === 0 && hasState) {
    const isFiltered = counts.all > 0;
    write(byId('empty-title'), isFiltered ? 'No lock matches' : 'No locks yet');
    write(byId('empty-text'), isFiltered ? 'Of ' + counts.all + ' locks, none fits what you look for.' : 'A lock appears here when a pod acquires it for the first time.');
    byId('empty-clear').hidden = !isFiltered;
  }
  if (!rows.get(tabId) || rows.get(tabId).isHidden) {
    tabTo(list.querySelector('.row:not([hidden])'));
  }
}

function look() {
  count();
  tick();
}

document.querySelector('.modes').addEventListener('click', (event) => choose(event, 'mode', (value) => {
  mode = value;
  look();
}));
document.querySelector('.spans').addEventListener('click', (event) => choose(event, 'span', (value) => {
  span = Number(value) * SECOND;
  drawAxis();
  tick();
}));

function choose(event, name, use) {
  const button = event.target.closest('button');
  if (button) {
    for (const each of button.parentElement.children) {
      each.setAttribute('aria-pressed', String(each === button));
    }
    use(button.dataset[name]);
  }
}

const filter = byId('filter');
filter.addEventListener('input', () => {
  words = filter.value.trim().toLowerCase();
  look();
});
byId('empty-clear').addEventListener('click', () => {
  filter.value = '';
  words = '';
  document.querySelector('[data-mode=all]').click();
  filter.focus();
});

// --- keyboard: one row is in the tab order, arrows go to the others

let tabId;

function tabTo(root) {
  const before = rows.get(tabId);
  if (before) {
    before.name.tabIndex = -1;
  }
  const row = root && byRow.get(root);
  tabId = row?.id;
  if (row) {
    row.name.tabIndex = 0;
  }
}

document.addEventListener('keydown', (event) => {
  const inField = event.target === filter;
  if (event.key === '/' && !inField && !document.querySelector('dialog[open]')) {
    event.preventDefault();
    filter.focus();
  } else if (event.key === 'Escape' && inField && filter.value !== '') {
    event.preventDefault();
    filter.value = '';
    words = '';
    look();
  } else if (event.key === 'ArrowDown' && inField) {
    event.preventDefault();
    list.querySelector('.row:not([hidden]) .name')?.focus();
  }
});
list.addEventListener('keydown', (event) => {
  const step = { ArrowDown: 'nextElementSibling', ArrowUp: 'previousElementSibling' }[event.key];
  let root = event.target.closest('.row');
  if (step === undefined || !root) {
    return;
  }
  event.preventDefault();
  do {
    root = root[step];
  } while (root && root.hidden);
  if (root) {
    byRow.get(root).name.focus();
    root.scrollIntoView({ block: 'nearest' });
  }
});
list.addEventListener('focusin', (event) => tabTo(event.target.closest('.row')));

// --- details, and the forced release

const details = byId('details');
const confirmation = byId('confirm');
let asked;

for (const parent of [list, sessionList]) {
  parent.addEventListener('click', (event) => {
    const root = event.target.closest('.row');
    if (root && getSelection().isCollapsed) {
      openId = byRow.get(root).id;
      drawDetails();
      details.showModal();
      byId('details-body').scrollTop = 0;
    }
  });
}
byId('details-close').addEventListener('click', () => details.close());
details.addEventListener('close', () => {
  const row = rows.get(openId);
  openId = undefined;
  row?.name.focus();
});
for (const dialog of [details, confirmation]) {
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) {
      dialog.close();
    }
  });
}

function facts(entries) {
  const made = element('dl', 'facts');
  for (const [name, value, className] of entries) {
    if (value !== undefined && value !== '') {
      made.append(element('dt', '', name), element('dd', className, String(value)));
    }
  }
  return made;
}

function listOf(title, entries, none) {
  const made = element('ul', 'list');
  for (const [mark, text, when, className] of entries) {
    const entry = element('li');
    const what = element('span', className, text);
    what.style.overflowWrap = 'anywhere';
    entry.append(mark, what, element('span', 'when', when));
    made.append(entry);
  }
  return [element('h3', '', title), entries.length > 0 ? made : element('p', 'sub', none)];
}

function drawDetails() {
  const view = views.get(openId);
  byId('details-foot').hidden = !mayRelease || view?.kind !== 'lock' || !view.holder;
  if (!view) {
    byId('details-body').replaceChildren(element('p', 'sub', 'Its Lease is gone.'));
    return;
  }
  const { holder } = view;
  const lease = leaseOf(view);
  const line = lineOf(view);
  const next = nextOf(view.id);
  write(byId('details-title'), view.name);
  const own = facts([
    ['State', holder ? (lease.health === 'expired' ? 'Expired: not renewed in time' : lease.health === 'late' ? 'Held, its renewal is late' : 'Held') : holderText(view)],
    ['Pod', holder?.pod],
    ['Method', methodText(view)],
    ['Identity', holder?.identity, 'identity'],
    ['Since', holder?.since === undefined ? undefined : time(holder.since) + ', for ' + duration(now() - holder.since)],
    ['Renewed', holder && lease.renewals !== undefined ? lease.renewals + (lease.renewals === 1 ? ' time' : ' times') + ', as far as was seen' : undefined],
    ['Deadline', leaseText(view, lease)],
    ['Lease lasts', holder?.leaseDuration === undefined ? undefined : duration(holder.leaseDuration)],
    ['Session', holder?.session, 'identity'],
    ['Client', holder?.foreign ? 'of another kind, such as client-go' : undefined],
    ['Slot', view.permits === undefined ? undefined : view.slot + 1 + ' of ' + view.permits],
    ['Changed hands', view.kind === 'lock' ? view.transitions + (view.transitions === 1 ? ' time' : ' times') : undefined],
    ['Lease object', view.id, 'identity'],
  ]);
  const parts = [own];
  if (view.kind === 'lock') {
    parts.push(
      ...listOf('Waiting, first in line first', line.map(({ pod }, index) => [element('span', 'place', String(index + 1)), pod, '']), 'Nobody waits in line.'),
      ...listOf(
        'Fires',
        [
          ...(next === undefined ? [] : [[element('span', 'place', '→'), 'next', time(next)]]),
          ...view.fires.map((fire) => [element('span', 'place', isBad(fire) ? '!' : '·'), outcome(fire), time(fire.at), isBad(fire) ? 'bad' : '']),
        ],
        'No schedule claims fires with this lock.',
      ),
      ...listOf(
        'Holds seen',
        view.holds.toReversed().map((hold) => [
          dot(hold.pod),
          hold.pod + (hold.method ? ' · ' + hold.method : ''),
          time(hold.from) + (hold.to === undefined ? ', held now' : ', for ' + duration(hold.to - hold.from)),
        ]),
        'None since somebody looked.',
      ),
    );
  }
  const body = byId('details-body');
  const { scrollTop } = body;
  body.replaceChildren(...parts);
  body.scrollTop = scrollTop;
}

byId('release').addEventListener('click', () => {
  const view = views.get(openId);
  if (!view?.holder) {
    return;
  }
  asked = { id: view.id, key: view.holder.key };
  write(byId('confirm-title'), ['Take “' + view.name + '” from', view.holder.pod].join(' ') + '?');
  write(byId('confirm-text'), 'The holder learns of it at its next renewal. Until then, two processes may believe that they hold the lock. This is the holder:');
  write(byId('confirm-holder'), view.holder.identity);
  write(byId('confirm-yes'), ['Release from', view.holder.pod].join(' '));
  byId('confirm-yes').disabled = false;
  byId('confirm-fault').hidden = true;
  confirmation.showModal();
});
byId('confirm-no').addEventListener('click', () => confirmation.close());
byId('confirm-yes').addEventListener('click', async () => {
  byId('confirm-yes').disabled = true;
  let fault;
  try {
    const answer = await fetch('force-release', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-k8s-lock-dashboard': '1' },
      body: JSON.stringify(asked),
    });
    const text = await answer.text();
    fault = answer.ok ? undefined : readMessage(text) ?? 'The server answered ' + answer.status + '.';
  } catch {
    fault = 'The server can not be reached.';
  }
  if (fault === undefined) {
    confirmation.close();
  } else {
    write(byId('confirm-fault'), fault);
    byId('confirm-fault').hidden = false;
  }
});

function readMessage(text) {
  try {
    const { message } = JSON.parse(text);
    return typeof message === 'string' ? message : undefined;
  } catch {
    return undefined;
  }
}

// --- the stream

let hasState = false;
let heardAt = Date.now();
let source;

function link(state, text) {
  document.body.dataset.link = state;
  write(byId('link-text'), text);
}

function watchState({ state, message }) {
  const isFailed = state === 'failed';
  link(isFailed ? 'failed' : 'live', isFailed ? 'Not up to date' : 'Live');
  byId('alert').hidden = !isFailed;
  write(byId('alert'), isFailed ? 'The locks can not be watched: ' + message : '');
}

function put(view) {
  const before = views.get(view.id);
  views.set(view.id, view);
  const row = rows.get(view.id);
  if (view.kind === 'line') {
    const first = rows.get(view.id.replace(/--line$/, ''));
    if (first && seen.has(first)) {
      draw(first);
    }
    return;
  }
  if (row && before && (before.name !== view.name || before.kind !== view.kind)) {
    removeRow(view.id);
  }
  const shown = rows.get(view.id) ?? makeRow(view);
  if (!shown.root.isConnected) {
    show(shown, view);
    place(shown, view);
  } else if (seen.has(shown)) {
    draw(shown);
  }
}

const HANDLERS = {
  snapshot(data) {
    hasState = true;
    mayRelease = data.allowForceRelease;
    plans = data.plans;
    document.title = data.title;
    write(byId('title'), data.title);
    byId('namespace').hidden = false;
    write(byId('namespace'), data.namespace);
    for (const pod of data.locks.flatMap(({ holder }) => holder?.pod ?? []).toSorted()) {
      colourOf(pod);
    }
    const present = new Set(data.locks.map(({ id }) => id));
    for (const id of Array.from(views.keys())) {
      if (!present.has(id)) {
        drop(id);
      }
    }
    for (const view of data.locks.toSorted(compare)) {
      put(view);
    }
    watchState(data.watch);
    look();
  },
  changes({ changes }) {
    for (const change of changes) {
      if (change.gone) {
        drop(change.id);
      } else if (change.renewed) {
        renew(change.renewed);
      } else {
        put(change);
      }
    }
    if (openId !== undefined && changes.some(({ id, renewed }) => (renewed?.id ?? id) === openId)) {
      drawDetails();
    }
    count();
  },
  plans(data) {
    plans = data.plans;
  },
  watch(data) {
    watchState(data);
  },
  beat() {},
};

function renew({ id, seenAt, renewals }) {
  const view = views.get(id);
  if (view?.holder) {
    view.holder.seenAt = seenAt;
    view.holder.renewals = renewals;
    const row = rows.get(id);
    if (row && seen.has(row)) {
      draw(row);
    }
  }
}

function drop(id) {
  views.delete(id);
  removeRow(id);
}

function connect() {
  source?.close();
  source = new EventSource('events');
  heardAt = Date.now();
  for (const [type, handle] of Object.entries(HANDLERS)) {
    source.addEventListener(type, (event) => {
      const data = JSON.parse(event.data);
      heardAt = Date.now();
      if (data.now !== undefined) {
        ahead = data.now - Date.now();
      }
      handle(data);
    });
  }
  source.addEventListener('error', () => {
    link('lost', 'Connection lost, trying again');
    if (source.readyState === EventSource.CLOSED) {
      setTimeout(connect, 5 * SECOND); // refused: a session may have ended
    }
  });
}

// --- time goes on: only what is on the screen

function tick() {
  if (document.hidden) {
    return;
  }
  for (const row of seen) {
    draw(row);
  }
}

setInterval(tick, SECOND / 2);
setInterval(() => {
  count();
  if (Date.now() - heardAt > 30 * SECOND) {
    link('lost', 'Connection lost, trying again');
    connect();
  }
}, SECOND);
document.addEventListener('visibilitychange', tick);
drawAxis();
connect();
`;
