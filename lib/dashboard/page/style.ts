/** The style of the page. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --bg: #f7f7f5; --panel: #ffffff; --text: #1b1d20; --soft: #5a6169; --line: #e4e4df; --hover: #f4f4f0;
  --accent: #3f51c9; --accent-soft: #eceefb; --good: #1d7a46; --warn: #8f5a00; --bad: #b3261e; --bad-soft: #fcecea;
  --track: #ecece7; --shadow: 0 1px 2px rgb(20 20 10 / 5%), 0 8px 24px -12px rgb(20 20 10 / 14%);
  --c0: #4c63d2; --c1: #c2571a; --c2: #2e8b57; --c3: #a8439c; --c4: #a07a10; --c5: #1a8a9a;
  --c6: #c43d5c; --c7: #6a8a1f; --c8: #7a52c7; --c9: #b0604a; --c10: #3a7fc0; --c11: #5f6f7d;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #0e1012; --panel: #15181b; --text: #e9ebee; --soft: #9ba4ae; --line: #262b31; --hover: #1a1e22;
    --accent: #9aa8ff; --accent-soft: #20264a; --good: #6fcf97; --warn: #e8b45a; --bad: #ff8a80; --bad-soft: #3a1d1b;
    --track: #23282d; --shadow: 0 1px 2px rgb(0 0 0 / 40%), 0 12px 32px -16px rgb(0 0 0 / 70%);
    --c0: #8095ff; --c1: #f0904f; --c2: #5fc48c; --c3: #e082d4; --c4: #dcb544; --c5: #4fc3d3;
    --c6: #f57f9a; --c7: #a9c957; --c8: #b295f5; --c9: #e59b84; --c10: #74b2ec; --c11: #9fb0bf;
  }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--bg); color: var(--text);
  font: 14px/1.45 ui-sans-serif, system-ui, -apple-system, "Segoe UI", "Inter", Roboto, "Liberation Sans", "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; -webkit-font-smoothing: antialiased;
}
h1, h2, h3, p { margin: 0; }
button, input { font: inherit; color: inherit; }
button { cursor: pointer; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 6px; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

.top { display: flex; align-items: center; justify-content: space-between; gap: 16px; padding: 22px clamp(16px, 3vw, 40px) 6px; }
.brand { display: flex; align-items: center; gap: 12px; min-width: 0; }
h1 { font-size: 22px; font-weight: 650; letter-spacing: -0.015em; overflow-wrap: anywhere; }
.chip { padding: 2px 9px; border: 1px solid var(--line); border-radius: 99px; background: var(--panel); color: var(--soft); font-size: 12px; overflow-wrap: anywhere; }
.link { display: flex; align-items: center; gap: 8px; color: var(--soft); font-size: 13px; white-space: nowrap; }
.pulse { width: 8px; height: 8px; border-radius: 50%; background: var(--soft); }
[data-link="live"] .pulse { background: var(--good); box-shadow: 0 0 0 3px color-mix(in srgb, var(--good) 18%, transparent); }
[data-link="failed"] .pulse, [data-link="lost"] .pulse { background: var(--bad); box-shadow: 0 0 0 3px color-mix(in srgb, var(--bad) 18%, transparent); }
[data-link="lost"] .board { opacity: 0.6; }

main { padding: 14px clamp(16px, 3vw, 40px) 64px; }
.alert { margin-bottom: 14px; padding: 11px 14px; border: 1px solid color-mix(in srgb, var(--bad) 35%, transparent); border-radius: 10px; background: var(--bad-soft); color: var(--bad); overflow-wrap: anywhere; }
.tools { display: flex; flex-wrap: wrap; gap: 10px 14px; align-items: center; margin-bottom: 14px; }
.modes, .spans { display: flex; padding: 3px; border-radius: 10px; background: var(--track); }
.modes button, .spans button { border: 0; border-radius: 7px; padding: 5px 11px; background: transparent; color: var(--soft); white-space: nowrap; }
.modes b { color: var(--text); font-weight: 620; margin-right: 2px; }
.modes button:hover, .spans button:hover { color: var(--text); }
[aria-pressed="true"] { background: var(--panel) !important; color: var(--text) !important; box-shadow: 0 1px 2px rgb(0 0 0 / 12%); }
.modes [data-hot="true"] b { color: var(--bad); }
.search { position: relative; flex: 1 1 220px; max-width: 420px; }
.search input { width: 100%; height: 36px; padding: 0 34px 0 12px; border: 1px solid var(--line); border-radius: 10px; background: var(--panel); }
.search input::placeholder { color: var(--soft); opacity: 1; }
.search kbd { position: absolute; right: 10px; top: 8px; padding: 0 6px; border: 1px solid var(--line); border-radius: 5px; color: var(--soft); font: 12px/18px inherit; }
.search input:focus + kbd, .search input:not(:placeholder-shown) + kbd { display: none; }
.spans { margin-left: auto; }

.board { border: 1px solid var(--line); border-radius: 14px; background: var(--panel); box-shadow: var(--shadow); }
.head, .row { display: grid; grid-template-columns: minmax(150px, 1.35fr) minmax(130px, 1.1fr) 120px minmax(90px, 0.7fr) minmax(150px, 1.05fr) minmax(200px, 2.3fr); column-gap: 20px; padding: 0 20px; }
.head { position: sticky; top: 0; z-index: 2; align-items: center; height: 38px; border-bottom: 1px solid var(--line); border-radius: 14px 14px 0 0; background: var(--panel); color: var(--soft); font-size: 12px; font-weight: 550; }
.axis { position: relative; height: 100%; }
.axis span { position: absolute; top: 11px; transform: translateX(-50%); font-weight: 450; white-space: nowrap; }
.axis span:first-child { transform: none; }
.axis span:last-child { transform: translateX(-100%); color: var(--accent); font-weight: 600; }
.locks { margin: 0; padding: 0; list-style: none; }
.row { align-items: center; min-height: 62px; padding-block: 10px; border-top: 1px solid var(--line); content-visibility: auto; contain-intrinsic-size: auto 62px; }
.row:first-child { border-top: 0; }
.row:last-child { border-radius: 0 0 14px 14px; }
.row:hover { background: var(--hover); }
.row > * { min-width: 0; }
.name { display: block; max-width: 100%; padding: 0; border: 0; background: none; font-weight: 600; text-align: left; letter-spacing: -0.005em; }
.name:hover { color: var(--accent); }
.cut { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; unicode-bidi: isolate; }
.sub { color: var(--soft); font-size: 12.500px; }
.pod { display: flex; align-items: center; gap: 8px; font-weight: 520; }
.dot { flex: none; width: 9px; height: 9px; border-radius: 3px; background: var(--soft); }
.c0 { background: var(--c0); } .c1 { background: var(--c1); } .c2 { background: var(--c2); } .c3 { background: var(--c3); }
.c4 { background: var(--c4); } .c5 { background: var(--c5); } .c6 { background: var(--c6); } .c7 { background: var(--c7); }
.c8 { background: var(--c8); } .c9 { background: var(--c9); } .c10 { background: var(--c10); } .c11 { background: var(--c11); }
.bar { height: 6px; margin: 3px 0 5px; border-radius: 3px; background: var(--track); overflow: hidden; }
.fill { height: 100%; width: 100%; border-radius: 3px; background: var(--good); transform-origin: left; transition: transform 0.5s linear; }
[data-health="endless"] .fill { background: var(--soft); opacity: 0.45; }
[data-health="late"] .fill { background: var(--warn); }
[data-health="expired"] .fill { background: var(--bad); }
[data-health="late"] .left { color: var(--warn); font-weight: 550; }
[data-health="expired"] .left { color: var(--bad); font-weight: 550; }
.row[data-health="free"] .holder, .row[data-health="free"] .left { color: var(--soft); font-weight: 400; }
.row[data-health="free"] .bar { visibility: hidden; }
.line { display: flex; flex-wrap: wrap; gap: 4px; align-items: center; }
.line .dot { width: 11px; height: 11px; border-radius: 50%; }
.bad { color: var(--bad); }
.lane { display: block; width: 100%; height: 34px; }

.empty { padding: 64px 24px; text-align: center; color: var(--soft); }
.empty h2 { margin-bottom: 6px; color: var(--text); font-size: 16px; font-weight: 600; overflow-wrap: anywhere; }
.empty button { margin-top: 16px; }
.sessions { margin-top: 22px; }
.sessions h2 { padding: 14px 20px 10px; border-bottom: 1px solid var(--line); font-size: 14px; font-weight: 600; }
.sessions .row { grid-template-columns: minmax(150px, 2fr) minmax(140px, 1fr) 160px; }
.plain, .danger { padding: 7px 14px; border: 1px solid var(--line); border-radius: 9px; background: var(--panel); font-weight: 550; }
.plain:hover { background: var(--hover); }
.danger { border-color: color-mix(in srgb, var(--bad) 45%, transparent); color: var(--bad); }
.danger:hover { background: var(--bad-soft); }
.danger:disabled { opacity: 0.5; cursor: default; }

dialog { color: var(--text); background: var(--panel); border: 1px solid var(--line); padding: 0; }
dialog::backdrop { background: rgb(10 12 16 / 40%); }
.sheet { position: fixed; inset: 0 0 0 auto; width: min(520px, 100vw); max-width: none; height: 100dvh; max-height: none; margin: 0; border-width: 0 0 0 1px; }
.sheet[open] { display: flex; flex-direction: column; }
.sheet-head { display: flex; align-items: flex-start; justify-content: space-between; gap: 16px; padding: 22px 24px 14px; }
.sheet-head h2 { font-size: 19px; font-weight: 650; letter-spacing: -0.01em; overflow-wrap: anywhere; unicode-bidi: isolate; }
.sheet-body { flex: 1; overflow: auto; padding: 0 24px 28px; outline-offset: -3px; }
.sheet-body h3 { margin: 24px 0 8px; color: var(--soft); font-size: 12px; font-weight: 600; }
.sheet-foot { padding: 14px 24px; border-top: 1px solid var(--line); text-align: right; }
.facts { display: grid; grid-template-columns: 120px minmax(0, 1fr); gap: 7px 14px; margin: 0; }
.facts dt { color: var(--soft); }
.facts dd { margin: 0; overflow-wrap: anywhere; unicode-bidi: isolate; }
.identity { font-family: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, "Liberation Mono", monospace; font-size: 12.500px; overflow-wrap: anywhere; }
.list { margin: 0; padding: 0; list-style: none; }
.list li { display: grid; grid-template-columns: 22px minmax(0, 1fr) auto; align-items: center; gap: 10px; padding: 7px 0; border-top: 1px solid var(--line); }
.list li:first-child { border-top: 0; }
.list .when { color: var(--soft); font-size: 12.500px; text-align: right; }
.list .place { color: var(--soft); text-align: center; }
.list .dot { justify-self: center; }
.ask { width: min(460px, calc(100vw - 32px)); padding: 24px; border-radius: 16px; box-shadow: 0 24px 64px -16px rgb(0 0 0 / 45%); }
.ask h2 { margin-bottom: 10px; font-size: 17px; font-weight: 650; overflow-wrap: anywhere; }
.ask p { color: var(--soft); }
.ask .identity { margin-top: 12px; padding: 10px 12px; border-radius: 9px; background: var(--track); color: var(--text); max-height: 30vh; overflow: auto; }
.ask .fault { margin-top: 12px; color: var(--bad); }
.ask-foot { display: flex; flex-wrap: wrap; justify-content: flex-end; gap: 10px; margin-top: 20px; }
.ask-foot .danger { background: var(--bad); color: #fff; border-color: transparent; max-width: 100%; overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) { .ask-foot .danger { color: #2a0d0a; } }

@media (max-width: 1080px) {
  .head > span:not(.axis) { display: none; }
  .head { grid-template-columns: 1fr; }
  .row { grid-template-columns: minmax(0, 1.2fr) minmax(0, 1fr); gap: 8px 20px; padding-block: 14px; contain-intrinsic-size: auto 150px; }
  .row .time { grid-column: 1 / -1; }
  .row [data-none="true"] { display: none; }
  .row[data-health="free"] .bar { display: none; }
  .sessions .row { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); contain-intrinsic-size: auto 90px; }
}
@media (max-width: 640px) {
  .top { padding-top: 16px; }
  .modes { overflow-x: auto; max-width: 100%; scrollbar-width: none; }
  .modes button { padding-inline: 9px; }
  .search { flex-basis: 100%; max-width: none; }
  .search input { height: 42px; font-size: 16px; }
  .search kbd { display: none; }
  .spans { margin: 0; width: 100%; }
  .spans button { flex: 1; }
  .modes button, .spans button { min-height: 34px; }
  .row, .head { padding-inline: 16px; }
  .facts { grid-template-columns: 96px minmax(0, 1fr); }
  .ask-foot button { flex: 1 1 100%; min-height: 44px; }
}
@media (prefers-reduced-motion: reduce) { .fill { transition: none; } }
`;
