// The style of report.html: light and dark, on a phone and on a desk, without a request.
//
// Must not know: what is shown.

export const STYLE = `
:root {
  color-scheme: light dark;
  --paper: #ffffff; --card: #f5f6f8; --ink: #16191f; --soft: #5a6270; --rule: #dde0e6;
  --c0: #0b62c4; --c1: #b8560b; --c2: #2b7d43; --c3: #8a3fb0; --c4: #b3263b; --c5: #5f6b7a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #12151a; --card: #1b2027; --ink: #e8eaee; --soft: #a0a8b5; --rule: #313843;
    --c0: #6cb0ff; --c1: #ffab5e; --c2: #6fd08c; --c3: #cf97f2; --c4: #ff8a98; --c5: #a7b1bf;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.25rem 1rem 3rem; max-width: 62rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums;
}
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.25rem 0 0.75rem; }
h3 { font-size: 0.95rem; margin: 0 0 0.4rem; }
p { margin: 0.35rem 0; max-width: 48rem; }
.soft, .axis, figcaption, dt, .value { color: var(--soft); }
.bad { color: var(--c4); font-weight: 600; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: 0.75rem;
  margin: 1.25rem 0 0; padding: 0; list-style: none; }
.cards li, section { background: var(--card); border-radius: 0.5rem; padding: 0.75rem 0.9rem; }
.cards b { display: block; font-size: 1.35rem; line-height: 1.3; }
.cards span { color: var(--soft); font-size: 0.85rem; }
.groups { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr));
  gap: 0.75rem; }
.bars { display: grid; grid-template-columns: auto 1fr auto; gap: 0.3rem 0.6rem;
  align-items: center; font-size: 0.85rem; }
.way { height: 0.9rem; background: var(--rule); border-radius: 0.2rem; overflow: hidden; }
.way i { display: block; height: 100%; }
.value { text-align: right; }
i.c0 { background: var(--c0); } i.c1 { background: var(--c1); } i.c2 { background: var(--c2); }
i.c3 { background: var(--c3); } i.c4 { background: var(--c4); } i.c5 { background: var(--c5); }
figure { margin: 0 0 1.25rem; }
figcaption, .axis { font-size: 0.85rem; margin: 0 0 0.5rem; }
.plot { display: grid; grid-template-columns: 4.2rem 1fr; grid-template-rows: 15rem 1.4rem; }
.plot svg { width: 100%; height: 100%; overflow: visible; border-bottom: 1px solid var(--soft); }
.plot line { stroke: var(--rule); vector-effect: non-scaling-stroke; }
.plot polyline { fill: none; stroke-width: 2; stroke-linejoin: round;
  vector-effect: non-scaling-stroke; }
polyline.c0 { stroke: var(--c0); } polyline.c1 { stroke: var(--c1); }
polyline.c2 { stroke: var(--c2); } polyline.c3 { stroke: var(--c3); }
polyline.c4 { stroke: var(--c4); } polyline.c5 { stroke: var(--c5); }
.left, .below { position: relative; font-size: 0.8rem; color: var(--soft); }
.left span { position: absolute; right: 0.5rem; transform: translateY(50%); white-space: nowrap; }
.below { grid-column: 2; }
.below span { position: absolute; top: 0.2rem; transform: translateX(-50%); white-space: nowrap; }
.below .end { transform: translateX(-100%); }
.axis { text-align: center; margin-top: 0.2rem; max-width: none; }
.legend { display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; list-style: none; margin: 0; padding: 0;
  font-size: 0.85rem; justify-content: center; }
.legend i { display: inline-block; width: 1rem; height: 0.25rem; margin-right: 0.4rem;
  vertical-align: middle; border-radius: 0.1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.85rem; }
th, td { padding: 0.35rem 0.6rem; text-align: right; border-bottom: 1px solid var(--rule);
  white-space: nowrap; font-weight: 400; }
thead th { color: var(--soft); }
th:first-child { text-align: left; padding-left: 0; }
dl { display: grid; grid-template-columns: auto 1fr; gap: 0.2rem 1rem; font-size: 0.9rem;
  margin: 0; }
dd { margin: 0; overflow-wrap: anywhere; }
@media print { body { max-width: none; } section, figure { break-inside: avoid; } }
`;
