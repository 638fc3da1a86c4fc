// Every visible text whose contrast with what lies behind it is below WCAG AA, or below 1.5 where it is disabled; for
// page.evaluate.
() => {
  const parse = c => { const m = c.match(/[\d.]+/g) || [0, 0, 0, 0]; return m.map(Number).concat(m.length < 4 ? [1] : []); };
  const over = (top, under) => { const a = top[3]; return [0, 1, 2].map(i => top[i] * a + under[i] * (1 - a)).concat([1]); };
  const lum = c => { const f = c.slice(0, 3).map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * f[0] + .7152 * f[1] + .0722 * f[2]; };
  const behind = e => { const chain = []; for (let n = e; n; n = n.parentElement) chain.push(n);
    let c = [255, 255, 255, 1]; for (const n of chain.reverse()) c = over(parse(getComputedStyle(n).backgroundColor), c); return c; };
  const found = [];
  const walker = document.createTreeWalker(document.querySelector('.stApp'), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), e = walker.currentNode.parentElement;
    if (!text || !e || e.closest('svg, canvas, [data-testid=stIconMaterial], [aria-hidden=true], [data-testid=stSlider], style, script')) continue;
    const s = getComputedStyle(e), box = e.getBoundingClientRect();
    if (!box.width || !box.height || s.visibility === 'hidden' || box.height < 4) continue;
    let shown = 1; for (let n = e; n; n = n.parentElement) shown *= Number(getComputedStyle(n).opacity);
    if (shown < .05) continue;
    const bg = behind(e), raw = parse(s.color), fg = over([raw[0], raw[1], raw[2], raw[3] * shown], bg);
    const [hi, lo] = [lum(fg), lum(bg)].sort((a, b) => b - a), ratio = (hi + .05) / (lo + .05);
    const px = parseFloat(s.fontSize), large = px >= 24 || (px >= 18.66 && Number(s.fontWeight) >= 600);
    const off = e.closest('[disabled], [aria-disabled=true], label:has([disabled])');
    if (ratio < (off ? 1.5 : large ? 3 : 4.5)) found.push(`${ratio.toFixed(2)} ${text.slice(0, 60)}`);
  }
  return [...new Set(found)];
}
