package browser

import "fmt"

// lowContrast lists the texts that differ too little from what is behind them.
const lowContrast = `(() => {
	const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
	const channels = (colour) => {
		canvas.clearRect(0, 0, 1, 1);
		canvas.fillStyle = colour;
		canvas.fillRect(0, 0, 1, 1);
		return [...canvas.getImageData(0, 0, 1, 1).data];
	};
	const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const behind = (e) => {
		const layers = [];
		for (let at = e; at; at = at.parentElement) {
			const c = channels(getComputedStyle(at).backgroundColor);
			if (c[3]) layers.push(c);
			if (c[3] === 255) break;
		}
		return layers.reverse().reduce((under, c) => under.map((v, i) => v + (c[i] - v) * c[3] / 255), [255, 255, 255]);
	};
	const poor = [];
	for (const e of document.querySelectorAll('body *')) {
		if (!e.checkVisibility() || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
		const [a, b] = [light(channels(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
		const contrast = (a + 0.05) / (b + 0.05);
		if (contrast < 4.5) poor.push(contrast.toFixed(2) + ' ' + e.outerHTML.slice(0, 120));
	}
	return poor.join('\n');
})()`

// LowContrast lists the texts whose contrast with what is behind them is below
// 4.5 to 1 (WCAG 1.4.3), a line each; "" if all can be read.
func (w *Window) LowContrast() string {
	w.t.Helper()
	return Eval[string](w, lowContrast)
}

// Beyond lists what reaches beyond the window's right edge, a line each; "" if
// nothing has to be scrolled to sideways. What a box cuts off, or scrolls by
// itself, doesn't count.
func (w *Window) Beyond() string {
	w.t.Helper()
	return Eval[string](w, `(() => {
		const width = document.documentElement.clientWidth;
		const reach = (e) => {
			let right = e.getBoundingClientRect().right;
			for (let box = e.parentElement; box; box = box.parentElement) {
				if (getComputedStyle(box).overflowX !== 'visible') right = Math.min(right, box.getBoundingClientRect().right);
			}
			return right;
		};
		const wide = [...document.querySelectorAll('body *')].filter((e) => e.checkVisibility() && !e.closest('.unseen, thead') && reach(e) > width + 1);
		const all = wide.map((e) => e.outerHTML.slice(0, 200));
		if (document.documentElement.scrollWidth > width) all.unshift('the page is ' + document.documentElement.scrollWidth + ' pixels wide');
		return all.join('\n');
	})()`)
}

// Unreached presses Tab up to presses times and lists what can be operated but
// wasn't reached, or doesn't show that it has the focus, a line each.
func (w *Window) Unreached(presses int) string {
	w.t.Helper()
	w.Script("document.activeElement.blur(); window.reached = new Set(); window.unseenFocus = []; undefined")
	for range presses {
		w.Press("\t")
		if Eval[bool](w, `(() => {
			const at = document.activeElement;
			if (at === document.body) return false; // the browser's own turn
			if (reached.size > 1 && at === [...reached][0]) return true; // once round
			if (getComputedStyle(at).outlineStyle === 'none') unseenFocus.push('no focus is seen: ' + at.outerHTML.slice(0, 200));
			reached.add(at);
			return false;
		})()`) {
			break
		}
	}
	return Eval[string](w, fmt.Sprintf(`[...unseenFocus, ...[...document.querySelectorAll(%q)]
		.filter((e) => e.checkVisibility() && !e.disabled && e.tabIndex >= 0 && !reached.has(e)).map((e) => e.outerHTML.slice(0, 200))].join('\n')`,
		"a[href], button, input, select, textarea, summary"))
}
