"""The style sheet of the report page: light and dark by the reader's system, and for paper."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5b6470;--paper:#fff;--line:#d9dee4;--card:#f6f8fa;--accent:#0b5c8a;
--positive:#009e73;--negative:#d55e00;--neutral:#5b6470}
@media (prefers-color-scheme:dark){:root{--ink:#e8ebee;--soft:#a4adb8;--paper:#14181d;--line:#333b45;--card:#1c2229;
--accent:#6db8e3;--positive:#2fc79a;--negative:#f0854a;--neutral:#a4adb8}}
*{box-sizing:border-box}body{font:16px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:0}
main{max-width:960px;margin:0 auto;padding:32px 20px 64px}h1{font-size:1.75rem;line-height:1.25;margin:.2em 0 .5em}
h2{font-size:1.25rem;margin:2.2em 0 .6em}p,li{max-width:70ch}.soft,figcaption,.tick{color:var(--soft)}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:6px 10px;border-bottom:1px solid var(--line);vertical-align:top}th{color:var(--soft);
font-weight:600}td.n,th.n{text-align:right}.scroll{overflow-x:auto}svg{width:100%;height:auto;display:block}
svg text{font:13px system-ui,sans-serif;fill:var(--ink)}svg .tick{font-size:12px;fill:var(--soft)}
.chip{display:inline-block;border:1px solid currentColor;border-radius:999px;padding:1px 10px;font-size:.85rem;
white-space:nowrap}
.chip span{color:var(--ink)}td:first-child{min-width:150px}
.positive,.leaning_positive{color:var(--positive)}.negative,.leaning_negative{color:var(--negative)}
.neutral,.not_enough_evidence{color:var(--neutral)}.not_enough_evidence.chip{border-style:dashed}
svg line.positive,svg line.leaning_positive{stroke:var(--positive)}
svg line.negative,svg line.leaning_negative{stroke:var(--negative)}
svg line.neutral,svg line.not_enough_evidence{stroke:var(--neutral)}svg line.not_enough_evidence{stroke-dasharray:4 3}
svg line{stroke-width:2}svg circle.positive,svg circle.leaning_positive{fill:var(--positive);stroke:var(--positive)}
svg circle.negative,svg circle.leaning_negative{fill:var(--negative);stroke:var(--negative)}
svg circle.neutral,svg circle.not_enough_evidence{fill:var(--neutral);stroke:var(--neutral)}
svg circle.dot{fill:var(--accent);stroke:var(--accent)}svg circle.hollow{fill:var(--paper);stroke-width:2}
svg .band{fill:var(--line);opacity:.6}svg .zero,svg .grid{stroke:var(--line);stroke-width:1}
svg .line{fill:none;stroke-width:2}svg circle.line{stroke-width:2}svg .thin{stroke-width:1;opacity:.6}
svg .control{stroke-dasharray:5 4}svg circle.control{stroke-dasharray:none}
svg .s0{stroke:#0072b2}svg .s1{stroke:#009e73}svg .s2{stroke:#d55e00}
svg .s3{stroke:#cc79a7}svg .s4{stroke:#b58900}svg .s5{stroke:#6c71c4}
.pair figure{margin:0}.pair{display:flex;flex-wrap:wrap;gap:12px;margin:14px 0}
.pair img{max-width:100%;display:block;border-radius:6px}
.key{margin-right:14px;white-space:nowrap}.key i{display:inline-block;width:12px;height:12px;border-radius:3px;
margin-right:6px}
pre{background:var(--card);padding:12px 16px;overflow-x:auto;border-radius:8px;font-size:.85rem}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:12px;margin:20px 0}
.facts div{border:1px solid var(--line);border-radius:8px;padding:12px 14px}.facts b{display:block;font-size:1.35rem}
@media print{body{font-size:12px}main{padding:0;max-width:none}h2,figure,tr{break-inside:avoid}}
"""
